//! One act on many devices: its effect is shown before, and each fails by itself.
//!
//! Nothing here changes a device: each goes the way that it would go alone.

use crate::auth::permit::Permit;
use hearthkey_core::role::Act;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hearthkey_api as api;
use hearthkey_core::bulk::{BulkAct, DEVICES_MAX, Foreseen, Standing, summary};
use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::device::{Change as StateChange, DeviceState};
use hearthkey_core::id::{DeviceId, EnvironmentName};
use hearthkey_core::role::Scope;
use hearthkey_core::token::{Binding, Token};
use hearthkey_store::registry::KnownDevice;
use tokio::task::JoinSet;

use crate::auth::caller::Caller;
use crate::bulk::Bulk;
use crate::state::clock::Stopwatch;
use crate::state::endings;
use crate::state::failure::{Failure, sentence};

/// Devices that are rotated or resumed at a time: their commits share a transaction.
const AT_A_TIME: usize = 8;
/// What is shown of a name that is none, in characters.
const NAME_SHOWN: usize = 80;

/// What is done where the registry cannot be read, or does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Nothing, and that is said.
    Refuse,
    /// Devices are as the gateway has them without it, as for one that is cut off alone. It is asked about those alone that
    /// the gateway does not have.
    AsInForce,
}

/// The devices of a request that the caller reaches, and why not the others.
#[derive(Default)]
pub(crate) struct Named {
    /// The state of each.
    pub(crate) found: BTreeMap<DeviceId, Standing>,
    /// Names that are none, unknown, or out of reach, and what is said of them.
    pub(crate) missing: Vec<(String, Failure)>,
}

/// A device, its environment, its state, and how many live certificates it has.
type Known = (DeviceId, EnvironmentName, DeviceState, u64);

fn registered(known: Vec<(KnownDevice, u64)>) -> Vec<Known> {
    let one = |(known, certificates): (KnownDevice, u64)| {
        let device = known.device;
        (device.id, device.environment, device.state, certificates)
    };
    known.into_iter().map(one).collect()
}

impl Bulk {
    /// Looks up the devices of a request. What lies in another environment is not there, as far as the caller is told.
    pub(crate) fn named_devices(
        &self,
        names: &[String],
        scope: Scope<'_>,
        unread: Unread,
    ) -> Result<Named, Failure> {
        if names.is_empty() || names.len() > DEVICES_MAX {
            let why = format!("one request is about 1 to {DEVICES_MAX} devices");
            return Err(Failure::invalid(&why));
        }
        let mut named = Named::default();
        let mut ids = Vec::with_capacity(names.len());
        for name in names.iter().collect::<BTreeSet<_>>() {
            match name.parse::<DeviceId>() {
                Ok(id) => ids.push(id),
                Err(error) => {
                    let shown = name.chars().take(NAME_SHOWN).collect();
                    named.missing.push((shown, Failure::invalid(&error)));
                }
            }
        }
        let read = |ids: &[DeviceId]| {
            let store = self.ctx.store();
            store.read(|registry| registry.devices_named(ids))
        };
        let known = match unread {
            Unread::Refuse => registered(read(&ids)?),
            Unread::AsInForce => {
                let mut known = self.in_force(&ids);
                let found: BTreeSet<&DeviceId> = known.iter().map(|(id, ..)| id).collect();
                let others = ids.iter().filter(|id| !found.contains(id));
                let others: Vec<DeviceId> = others.cloned().collect();
                if !others.is_empty() {
                    match read(&others) {
                        Ok(others) => known.extend(registered(others)),
                        Err(error) => {
                            tracing::error!(%error, "devices that are to be cut off could not be read");
                        }
                    }
                }
                known
            }
        };
        let (sessions, tokens) = (self.live_sessions(), self.bound_tokens());
        for (id, environment, state, certificates) in known {
            if scope.has(&environment) {
                let standing = Standing {
                    state,
                    sessions: sessions.get(&id).copied().unwrap_or_default(),
                    certificates,
                    tokens: tokens.get(&id).copied().unwrap_or_default(),
                };
                named.found.insert(id, standing);
            }
        }
        for id in ids {
            if !named.found.contains_key(&id) {
                let failure = Failure::not_found("device", &id);
                named.missing.push((id.to_string(), failure));
            }
        }
        Ok(named)
    }

    /// Those of them that may come, without the number of their certificates.
    fn in_force(&self, ids: &[DeviceId]) -> Vec<Known> {
        let access = self.ctx.access();
        let known = |id: &DeviceId| {
            let known = access.device(id)?;
            Some((id.clone(), known.environment.clone(), known.state, 0))
        };
        ids.iter().filter_map(known).collect()
    }

    fn live_sessions(&self) -> BTreeMap<DeviceId, u64> {
        let mut counts = BTreeMap::new();
        for session in self.ctx.broker().sessions() {
            *counts.entry(session.device).or_default() += 1;
        }
        counts
    }

    /// How many tokens that are not revoked are bound to each device.
    fn bound_tokens(&self) -> BTreeMap<DeviceId, u64> {
        let mut counts = BTreeMap::new();
        for token in self.auth.tokens.all() {
            if let (Binding::Device(device), None) = (&token.binding, token.revoked_at) {
                *counts.entry(device.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// Does it to each device, and says of each what became of it.
    pub(crate) async fn bulk(
        self: &Arc<Self>,
        caller: &Caller,
        (act, reason): (BulkAct, RevocationReason),
        named: Named,
        arrived: Stopwatch,
    ) -> Result<api::BulkOutcome, Failure> {
        let permit = caller.permitted(Act::DeviceChange)?;
        let devices = named.found.into_keys();
        let mut outcome = match act.change() {
            Some(change) if change != StateChange::Resume => {
                self.cut_off_all(&permit, (change, reason), devices, arrived)
                    .await
            }
            _ => {
                self.act_on_each((caller, &permit), act, devices, arrived)
                    .await
            }
        };
        outcome.failed.extend(named.missing.into_iter().map(failed));
        outcome.done.sort_by(|a, b| a.device.cmp(&b.device));
        outcome.failed.sort_by(|a, b| a.device.cmp(&b.device));
        Ok(outcome)
    }

    /// Cuts devices off: every one of them is out before the disk, or a bridge, is waited for.
    async fn cut_off_all(
        self: &Arc<Self>,
        permit: &Permit,
        (change, reason): (StateChange, RevocationReason),
        devices: impl Iterator<Item = DeviceId>,
        arrived: Stopwatch,
    ) -> api::BulkOutcome {
        let mut outcome = nothing_yet();
        let (mut all, mut taken) = (Vec::new(), Vec::new());
        for device in devices {
            let out = match change {
                StateChange::Suspend => {
                    let out = self.devices.suspend(permit, &device, arrived);
                    out.map(|out| all.push(out))
                }
                _ => {
                    let out = self.devices.take_out(permit, &device, change, arrived);
                    out.map(|out| taken.push(out))
                }
            };
            if let Err(failure) = out {
                outcome.failed.push(failed((device.to_string(), failure)));
            }
            tokio::task::yield_now().await;
        }
        for out in taken {
            all.push(self.devices.hand_over(out, reason));
            // Each is looked up in the registry: other requests are not kept waiting for all of them.
            tokio::task::yield_now().await;
        }
        let mut for_good = BTreeSet::new();
        for out in &all {
            outcome.sessions_dropped += out.sessions_dropped;
            outcome.latency_us = outcome.latency_us.max(out.latency_us);
            if out.state.is_over() {
                for_good.insert(out.device.clone());
            }
        }
        let ((), bound_durable) = tokio::join!(
            endings::all_in_time(all.iter_mut().map(|out| &mut out.ending)),
            self.end_what_is_bound(permit, for_good),
        );
        outcome.durable = bound_durable;
        for out in all {
            let durable = out.ending.is_durable();
            outcome.durable &= durable;
            outcome.done.push(api::DeviceChanged {
                device: out.device.to_string(),
                state: out.state.as_str().into(),
                sessions_dropped: out.sessions_dropped,
                durable,
            });
        }
        outcome
    }

    /// Rotates or resumes devices, each when the registry has it. A caller whose access ends while some are in progress has nothing
    /// done to the others.
    async fn act_on_each(
        self: &Arc<Self>,
        (caller, permit): (&Caller, &Permit),
        act: BulkAct,
        mut left: impl Iterator<Item = DeviceId>,
        arrived: Stopwatch,
    ) -> api::BulkOutcome {
        let mut outcome = nothing_yet();
        let mut running = JoinSet::new();
        let mut worked_on = HashMap::new();
        loop {
            while running.len() < AT_A_TIME
                && let Some(device) = left.next()
            {
                if let Err(failure) = self.auth.is_still_in(caller) {
                    outcome.failed.push(failed((device.to_string(), failure)));
                    continue;
                }
                let (home, permit, id) = (Arc::clone(self), permit.clone(), device.clone());
                let task = running.spawn(async move {
                    match act.change() {
                        None => home.devices.rotate(&permit, &id).await,
                        Some(_) => home.devices.resume(&permit, &id).await,
                    }
                });
                worked_on.insert(task.id(), device.to_string());
            }
            let Some(ended) = running.join_next_with_id().await else {
                break;
            };
            let (task, done) = match ended {
                Ok((task, done)) => (task, done),
                Err(error) => (error.id(), Err(Failure::internal(&error))),
            };
            let device = worked_on.remove(&task).unwrap_or_default();
            match done {
                Ok(state) => outcome.done.push(api::DeviceChanged {
                    device,
                    state: state.as_str().into(),
                    sessions_dropped: 0,
                    durable: true,
                }),
                Err(failure) => outcome.failed.push(failed((device, failure))),
            }
        }
        outcome.latency_us = arrived.elapsed_us();
        outcome
    }

    /// Takes a device out for good, revoked or retired, and the tokens that are bound to it.
    pub(crate) async fn put_out(
        self: &Arc<Self>,
        permit: &Permit,
        device: &DeviceId,
        how: (RevocationReason, StateChange),
        arrived: Stopwatch,
    ) -> Result<api::Revoked, Failure> {
        let out = self.devices.revoke(permit, device, how, arrived)?;
        let (durable, bound_durable) = tokio::join!(
            out.ending.durable_in_time(),
            self.end_what_is_bound(permit, BTreeSet::from([out.device])),
        );
        Ok(api::Revoked {
            device: device.to_string(),
            certificates_revoked: out.certificates_revoked,
            sessions_dropped: out.sessions_dropped,
            latency_us: out.latency_us,
            durable: durable && bound_durable,
        })
    }

    /// The devices are out; a token that was bound to one opens nothing, and is said to be revoked too. Returns whether that
    /// is on the disk.
    async fn end_what_is_bound(
        self: &Arc<Self>,
        permit: &Permit,
        devices: BTreeSet<DeviceId>,
    ) -> bool {
        let bound = |token: &Token| match &token.binding {
            Binding::Device(device) => devices.contains(device),
            _ => false,
        };
        let (_, durable) = self.vault.revoke_tokens(permit, bound).await;
        durable
    }
}

fn nothing_yet() -> api::BulkOutcome {
    api::BulkOutcome {
        done: Vec::new(),
        failed: Vec::new(),
        sessions_dropped: 0,
        latency_us: 0,
        durable: true,
    }
}

fn failed((device, Failure(problem)): (String, Failure)) -> api::BulkFailure {
    api::BulkFailure { device, problem }
}

/// What an act would do.
pub(crate) fn preview(act: BulkAct, named: Named) -> api::BulkPreview {
    let hindrance = |(device, Failure(problem)): (String, Failure)| api::BulkHindrance {
        device,
        why: problem.title,
    };
    let mut cannot: Vec<_> = named.missing.into_iter().map(hindrance).collect();
    let (mut will, mut foreseen) = (Vec::new(), Vec::new());
    for (device, standing) in named.found {
        match act.foresee(&standing) {
            Ok(one) => {
                will.push(effect(&device, standing.state, &one));
                foreseen.push(one);
            }
            Err(error) => cannot.push(api::BulkHindrance {
                device: device.to_string(),
                why: sentence(&error),
            }),
        }
    }
    cannot.sort_by(|a, b| a.device.cmp(&b.device));
    api::BulkPreview {
        action: act.to_string(),
        says: summary(act, &foreseen, cannot.len()),
        will,
        cannot,
    }
}

fn effect(device: &DeviceId, from: DeviceState, foreseen: &Foreseen) -> api::BulkEffect {
    api::BulkEffect {
        device: device.to_string(),
        from: from.as_str().into(),
        state: foreseen.state.as_str().into(),
        sessions: foreseen.sessions,
        certificates: foreseen.certificates,
        tokens: foreseen.tokens,
        what: foreseen.what(),
    }
}
