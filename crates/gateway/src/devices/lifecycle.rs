//! An operator suspends, resumes or rotates a device.

use crate::auth::permit::Permit;
use crate::devices::refused::refused_for;
use axum::http::StatusCode;
use hearthkey_api::code;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::device::{Change as StateChange, Device, DeviceState};
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::role::Act;
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::registry::{KnownDevice, ReadError};

use crate::devices::Devices;
use crate::devices::issuance::DECISIONS_MAX;
use crate::devices::revoke::{DeviceCut, Out};
use crate::state::clock::Stopwatch;
use crate::state::endings::Ending;
use crate::state::failure::Failure;

/// For what would give access to a thing whose end is not saved to disk yet.
pub(crate) fn still_ending(object: &str) -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::STORAGE,
        "Its access has ended, but this is not saved to disk yet.",
        format!("The end of the access of {object} is still being saved."),
        "Free space or repair the disk, and try again. No restart is needed.",
    )
}

impl Devices {
    pub(crate) fn known(&self, device: &DeviceId) -> Result<KnownDevice, Failure> {
        let known = self.ctx.store().read(|registry| registry.device(device))?;
        known.ok_or_else(|| Failure::not_found("device", device))
    }

    /// The certificates of a device that could connect now or in their grace.
    pub(crate) fn live_certificates(
        &self,
        device: &DeviceId,
    ) -> Result<Vec<Fingerprint>, ReadError> {
        let certificates = self
            .ctx
            .store()
            .read(|registry| registry.certificates_of(device, 64))?;
        let live = certificates.into_iter().filter(|c| !c.state.is_over());
        Ok(live.map(|certificate| certificate.fingerprint).collect())
    }

    /// A device as it is: what has been cut off in memory is so, whether or not the registry has it yet.
    pub(crate) fn lay_cuts_over(&self, known: &mut KnownDevice) {
        known.device.state = self.state_of(&known.device);
    }

    /// The state of a device, cut off in memory or not.
    pub(crate) fn state_of(&self, device: &Device) -> DeviceState {
        let state = self.ctx.access().device(&device.id).map(|its| its.state);
        let cut = state.filter(|state| *state == DeviceState::Suspended || state.is_over());
        cut.unwrap_or(device.state)
    }

    /// The state of a device, as it is in force.
    pub(crate) fn standing(&self, device: &DeviceId) -> Result<DeviceState, Failure> {
        let state = self.ctx.access().device(device).map(|known| known.state);
        match state {
            Some(state) => Ok(state),
            None => Ok(self.known(device)?.device.state),
        }
    }

    /// The environment of a device: from memory if it may come at all, so that no disk is waited for.
    pub(crate) fn environment_of(&self, device: &DeviceId) -> Result<EnvironmentName, Failure> {
        let in_force = self
            .ctx
            .access()
            .device(device)
            .map(|its| its.environment.clone());
        match in_force {
            Some(environment) => Ok(environment),
            None => Ok(self.known(device)?.device.environment),
        }
    }

    /// Who does this to a device, if they may. What lies beyond their reach is not there, as far as they are told.
    pub(super) fn author(
        &self,
        permit: &Permit,
        act: Act,
        device: &DeviceId,
    ) -> Result<Actor, Failure> {
        let environment = self.environment_of(device)?;
        let author = permit.actor_in(act, &environment).cloned();
        author.map_err(|_| Failure::not_found("device", device))
    }

    /// Cuts a device off for now. It is out at once, and that is written down then.
    pub(crate) fn suspend(
        &self,
        permit: &Permit,
        device: &DeviceId,
        arrived: Stopwatch,
    ) -> Result<Out, Failure> {
        let actor = self.author(permit, Act::DeviceChange, device)?;
        let to = StateChange::Suspend
            .decide(self.standing(device)?)
            .map_err(|refusal| refused_for(device, &refusal))?;
        let entry = Entry::new(
            self.ctx.now(),
            actor,
            "device.suspend",
            format!("device:{device}"),
        );
        let ending = self.cut_for_now(device, entry);
        let sessions_dropped = self.ctx.broker().drop_device(device).sessions;
        let latency_us = arrived.elapsed_us();
        Ok(Out {
            device: device.clone(),
            state: to,
            certificates_revoked: 0,
            sessions_dropped,
            latency_us,
            ending,
        })
    }

    /// Suspends a device in memory, and begins to write it down: under one lock, so that it is pending as soon as it is in
    /// force. What gives access again looks at both.
    pub(crate) fn cut_for_now(&self, device: &DeviceId, entry: Entry) -> Ending {
        let mut access = self.ctx.access_mut();
        access.cut_off(device, DeviceState::Suspended);
        self.ctx
            .endings()
            .begin(DeviceCut::suspension(&self.ctx, device, entry))
    }

    /// Lets a suspended device in again.
    pub(crate) async fn resume(
        &self,
        permit: &Permit,
        device: &DeviceId,
    ) -> Result<DeviceState, Failure> {
        let actor = self.author(permit, Act::DeviceChange, device)?;
        let _turn = self.ctx.turns().of(device).await;
        let object = format!("device:{device}");
        for _ in 0..DECISIONS_MAX {
            // In this order: a cut that is not among those seen keeps the device out, and one that is has been pending since,
            // or is on record behind the newest.
            let seen = self.ctx.access().cuts(device);
            let newest = self.ctx.newest_about(&object)?;
            if !self.ctx.endings().settled(&object).await {
                return Err(still_ending(&object));
            }
            let from = self.standing(device)?;
            let to = StateChange::Resume
                .decide(from)
                .map_err(|refusal| refused_for(device, &refusal))?;
            let entry = Entry::new(
                self.ctx.now(),
                actor.clone(),
                "device.resume",
                object.clone(),
            );
            let write = Write::DeviceState {
                device: device.clone(),
                from,
                to,
            };
            // What cuts it off meanwhile comes after this in the registry, or ends it.
            let change = Change::record(entry).write(write);
            let change = change.expecting(object.clone(), newest);
            match self.ctx.commit(change).await {
                Err(CommitError::Changed) if !crate::state::expected::is_expected() => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    return match self.ctx.access_mut().activate(device, seen) {
                        true => Ok(to),
                        false => Err(CommitError::Conflict.into()),
                    };
                }
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Asks a device to renew now: its notice gets a window that starts at once.
    pub(crate) async fn rotate(
        &self,
        permit: &Permit,
        device: &DeviceId,
    ) -> Result<DeviceState, Failure> {
        let actor = self.author(permit, Act::DeviceChange, device)?;
        let _turn = self.ctx.turns().of(device).await;
        let state = self.standing(device)?;
        if !state.can_renew() {
            let why = format!("the device {device} is {}", state.as_str());
            let remedy = match state {
                DeviceState::Pending => {
                    "It has not enrolled yet. Let it enroll with its claim code.".to_owned()
                }
                DeviceState::Suspended => format!(
                    "Resume it first. On the command line: `hearthkey device resume {device}`."
                ),
                _ => "Open a new claim if the device is to come back: it gets a new key then. On the command line: \
                      `hearthkey device claim --help`."
                    .to_owned(),
            };
            return Err(Failure::refused(&why, &remedy));
        }
        let now = self.ctx.now();
        let entry = Entry::new(now, actor, "device.rotate", format!("device:{device}"));
        let write = Write::AskRotation(device.clone(), now);
        self.ctx.commit(Change::record(entry).write(write)).await?;
        self.trust.owe_notice(device);
        Ok(state)
    }
}
