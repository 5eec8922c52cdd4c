//! What the broker tells of devices that wants somebody's attention: two machines under one identity, a bound that was
//! reached. `core` judges; what was found is a finding, and the first sign of a copied key outlives a restart.

use hearthkey_broker::{Event, Refusal, Who};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::bound::Bound;
use hearthkey_core::device::DeviceState;
use hearthkey_core::id::DeviceId;
use hearthkey_core::posture::Each;
use hearthkey_core::posture::shared_identity::{
    Machine, Meeting, Present, SharedIdentities, SharedIdentity, side_by_side,
};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::Store;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::registry::ReadError;

use crate::devices::Devices;
use crate::state::locked;

/// Where the newest findings about shared identities are kept.
const SETTING: &str = "shared_identities";

/// What was found before the home was closed.
pub(crate) fn recalled(store: &Store) -> Result<SharedIdentities, ReadError> {
    let kept = store.read(|registry| registry.setting(SETTING))?;
    Ok(SharedIdentities::from_json(&kept.unwrap_or_default()))
}

fn record(found: &SharedIdentity, now: Timestamp) -> Entry {
    let [first, second] = &found.machines;
    let programs = [first, second].map(|machine| {
        let ja4 = machine.ja4.map(|ja4| ja4.to_string());
        ja4.unwrap_or_else(|| "unknown".into())
    });
    let object = format!("device:{}", found.device);
    let action = match found.apart {
        true => "session.elsewhere",
        false => "session.take_over",
    };
    Entry::new(now, Actor::gateway(), action, object)
        .because("two machines seem to use one identity")
        .with("client_id", found.client_id.clone())
        .with("takeovers_in_a_minute", found.takeovers)
        .with(
            "addresses",
            format!("{}, {}", first.address, second.address),
        )
        .with("ja4", programs.join(", "))
}

/// The bound that a refusal is about.
fn bound_of(why: &Refusal) -> Option<Bound> {
    match why {
        Refusal::Bound(bound) => Some(*bound),
        Refusal::TooManySessions(_) => Some(Bound::Sessions),
        _ => None,
    }
}

impl Devices {
    /// Takes note of two connections of one device that met; of the event [`Event::MachinesMet`] and of no other.
    pub(crate) async fn note_meeting(&self, event: Event) {
        let Event::MachinesMet {
            device,
            client_id,
            earlier,
            heard_ago_ms,
            later,
            times,
        } = event
        else {
            return;
        };
        let now = self.ctx.now();
        let heard_ago = Span::ms(i64::try_from(heard_ago_ms).unwrap_or(i64::MAX));
        let meeting = Meeting {
            device,
            client_id,
            earlier,
            heard_at: now.before(heard_ago),
            later,
            times,
        };
        let (found, kept) = {
            let mut known = locked(&self.shared_identities);
            let Some(found) = known.meet(meeting, now) else {
                return;
            };
            (found, known.to_json())
        };
        self.record_shared(&found, kept, now).await;
    }

    /// Takes note of a connection by which machines are told apart that never meet.
    pub(crate) async fn note_coming(&self, device: &DeviceId, client_id: &str, machine: Machine) {
        let now = self.ctx.now();
        let (found, kept) = {
            let mut known = locked(&self.shared_identities);
            let Some(found) = known.come(device, client_id, machine, now) else {
                return;
            };
            (found, known.to_json())
        };
        self.record_shared(&found, kept, now).await;
    }

    async fn record_shared(&self, found: &SharedIdentity, kept: Vec<u8>, now: Timestamp) {
        tracing::warn!(device = %found.device, "two machines seem to use one identity");
        let change = Change::record(record(found, now)).write(Write::Setting(SETTING, kept));
        if let Err(error) = self.ctx.commit(change).await {
            tracing::error!(%error, "that two machines use one identity could not be recorded");
        }
    }

    /// Takes note of a bound that a device has reached, if that is why it was refused.
    pub(crate) fn note_bound(&self, who: Option<&Who>, why: &Refusal) {
        if let (Some(Who::Device(device)), Some(bound)) = (who, bound_of(why)) {
            locked(&self.overloads).reach(device, bound, self.ctx.now());
        }
    }

    /// A device has a new key: what was noticed about the one before is over.
    pub(crate) async fn forget_signs(&self, device: &DeviceId) {
        locked(&self.overloads).forget(device);
        let kept = {
            let mut known = locked(&self.shared_identities);
            if !known.forget(device) {
                return;
            }
            known.to_json()
        };
        let change = Change::default().write(Write::Setting(SETTING, kept));
        if let Err(error) = self.ctx.commit(change).await {
            tracing::warn!(%error, "a finding that has ended could not be removed yet");
        }
    }

    /// Devices that seem to be two machines.
    pub(crate) fn found_shared(&self, now: Timestamp) -> Each {
        let is_active = |device: &DeviceId| {
            let access = self.ctx.access();
            access
                .device(device)
                .is_some_and(|known| known.state == DeviceState::Active)
        };
        let by_turns = locked(&self.shared_identities).findings(is_active, now);
        let sessions = self.ctx.broker().sessions().into_iter();
        let present = sessions.map(|session| Present {
            device: session.device,
            address: session.address.ip(),
            since: session.since,
        });
        side_by_side(present.collect(), now, by_turns)
    }

    /// Bounds that devices have reached lately.
    pub(crate) fn found_overloads(&self, now: Timestamp) -> Each {
        locked(&self.overloads).findings(now)
    }
}
