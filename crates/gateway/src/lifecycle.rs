//! An operator suspends, resumes or rotates a device.

use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::device::{Change as StateChange, DeviceState, StateRefusal};
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_store::change::{Change, Write};
use hearthkey_store::registry::{KnownDevice, ReadError};

use crate::home::Home;
use crate::problem::Failure;

/// A refused change of state, with the device that it is about.
pub(crate) fn refused_for(device: &DeviceId, refusal: &StateRefusal) -> Failure {
    let StateRefusal::Impossible { from, .. } = refusal;
    let remedy = match from {
        DeviceState::Pending => "It has not enrolled yet: let its claim expire, or retire it.",
        _ => "Open a new claim if the device is to come back.",
    };
    Failure::refused(&format!("the device {device}: {refusal}"), remedy)
}

impl Home {
    pub(crate) fn known(&self, device: &DeviceId) -> Result<KnownDevice, Failure> {
        let known = self.store.read(|registry| registry.device(device))?;
        known.ok_or_else(|| Failure::not_found("device", device))
    }

    /// The certificates of a device that could open the door now or in their grace.
    pub(crate) fn live_certificates(
        &self,
        device: &DeviceId,
    ) -> Result<Vec<Fingerprint>, ReadError> {
        let certificates = self
            .store
            .read(|registry| registry.certificates_of(device, 64))?;
        let live = certificates.into_iter().filter(|c| !c.state.is_over());
        Ok(live.map(|certificate| certificate.fingerprint).collect())
    }

    /// Suspends or resumes a device. Suspending cuts its sessions before it is answered.
    pub(crate) async fn change_state(
        &self,
        actor: Actor,
        device: &DeviceId,
        change: StateChange,
    ) -> Result<(DeviceState, usize), Failure> {
        let _turn = self.turns.of(device).await;
        let from = self.known(device)?.device.state;
        let to = change
            .decide(from)
            .map_err(|refusal| refused_for(device, &refusal))?;
        let action = match change {
            StateChange::Suspend => "device.suspend",
            _ => "device.resume",
        };
        let entry = Entry::new(self.now(), actor, action, format!("device:{device}"));
        let write = Write::DeviceState {
            device: device.clone(),
            from,
            to,
        };
        self.commit(Change::record(entry).write(write)).await?;
        self.access_mut().set_device_state(device, to);
        self.owe_notice(device);
        let dropped = match to {
            DeviceState::Active => 0,
            _ => self.broker.drop_device(device).sessions,
        };
        Ok((to, dropped))
    }

    /// Asks a device to renew now: its notice gets a window that starts at once.
    pub(crate) async fn rotate(
        &self,
        actor: Actor,
        device: &DeviceId,
    ) -> Result<DeviceState, Failure> {
        let _turn = self.turns.of(device).await;
        let state = self.known(device)?.device.state;
        if !state.can_renew() {
            let why = format!("the device {device} is {}", state.as_str());
            return Err(Failure::refused(
                &why,
                "Only an active device can renew: resume it, or open a claim.",
            ));
        }
        let now = self.now();
        let entry = Entry::new(now, actor, "device.rotate", format!("device:{device}"));
        let write = Write::AskRotation(device.clone(), now);
        self.commit(Change::record(entry).write(write)).await?;
        self.owe_notice(device);
        Ok(state)
    }
}
