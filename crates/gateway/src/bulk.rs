//! One act on many devices: what it will do is told before, and each fails by itself.
//!
//! Nothing here changes a device: each goes the way that it would go alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hearthkey_api as api;
use hearthkey_core::audit::Actor;
use hearthkey_core::bulk::{BulkAct, DEVICES_MAX, Foreseen, Standing, summary};
use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::device::{Change as StateChange, DeviceState};
use hearthkey_core::id::DeviceId;
use hearthkey_core::role::Scope;
use hearthkey_core::token::Binding;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::Stopwatch;
use crate::endings::PATIENCE;
use crate::home::Home;
use crate::problem::{Failure, sentence};

/// Devices that are worked on at a time: their commits share a transaction.
const AT_A_TIME: usize = 8;
/// What is shown of a name that is none, in characters.
const NAME_SHOWN: usize = 80;

/// The devices of a request that the caller reaches, and why not the others.
#[derive(Default)]
pub(crate) struct Named {
    /// How each stands.
    pub(crate) found: BTreeMap<DeviceId, Standing>,
    /// Names that are none, unknown, or out of reach, and what is said of them.
    pub(crate) missing: Vec<(String, Failure)>,
}

/// What was done to one device.
struct Done {
    state: DeviceState,
    sessions_dropped: usize,
    durable: bool,
}

impl Done {
    fn durably(state: DeviceState) -> Self {
        Self {
            state,
            sessions_dropped: 0,
            durable: true,
        }
    }

    fn told(&self, device: String) -> api::DeviceChanged {
        api::DeviceChanged {
            device,
            state: self.state.as_str().into(),
            sessions_dropped: self.sessions_dropped,
            durable: self.durable,
        }
    }
}

impl Home {
    /// Looks up the devices of a request. What lies in another environment is not there, as far as the caller is told.
    pub(crate) fn named_devices(
        &self,
        names: &[String],
        scope: Scope<'_>,
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
        let known = self.store.read(|registry| registry.devices_named(&ids))?;
        let (sessions, tokens) = (self.live_sessions(), self.bound_tokens());
        for (known, certificates) in known {
            let device = known.device;
            if scope.has(&device.environment) {
                let standing = Standing {
                    state: device.state,
                    sessions: sessions.get(&device.id).copied().unwrap_or_default(),
                    certificates,
                    tokens: tokens.get(&device.id).copied().unwrap_or_default(),
                };
                named.found.insert(device.id, standing);
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

    fn live_sessions(&self) -> BTreeMap<DeviceId, u64> {
        let mut counts = BTreeMap::new();
        for session in self.broker.sessions() {
            *counts.entry(session.device).or_default() += 1;
        }
        counts
    }

    /// How many tokens that are not revoked are bound to each device.
    fn bound_tokens(&self) -> BTreeMap<DeviceId, u64> {
        let mut counts = BTreeMap::new();
        for token in self.tokens.all() {
            if let (Binding::Device(device), None) = (&token.binding, token.revoked_at) {
                *counts.entry(device.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// Does it to each device, and says of each what became of it.
    pub(crate) async fn bulk(
        self: &Arc<Self>,
        actor: &Actor,
        (act, reason): (BulkAct, RevocationReason),
        named: Named,
        arrived: Stopwatch,
    ) -> api::BulkOutcome {
        let mut outcome = api::BulkOutcome {
            done: Vec::with_capacity(named.found.len()),
            failed: named.missing.into_iter().map(failed).collect(),
            sessions_dropped: 0,
            latency_us: 0,
            durable: true,
        };
        let mut left = named.found.into_keys();
        let mut running = JoinSet::new();
        let mut worked_on = HashMap::new();
        loop {
            while running.len() < AT_A_TIME
                && let Some(device) = left.next()
            {
                let (home, actor, id) = (Arc::clone(self), actor.clone(), device.clone());
                let task = running
                    .spawn(async move { home.act_on(actor, &id, (act, reason), arrived).await });
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
                Ok(done) => {
                    outcome.sessions_dropped += done.sessions_dropped;
                    outcome.durable &= done.durable;
                    outcome.done.push(done.told(device));
                }
                Err(failure) => outcome.failed.push(failed((device, failure))),
            }
        }
        outcome.done.sort_by(|a, b| a.device.cmp(&b.device));
        outcome.failed.sort_by(|a, b| a.device.cmp(&b.device));
        outcome.latency_us = arrived.elapsed_us();
        outcome
    }

    async fn act_on(
        self: &Arc<Self>,
        actor: Actor,
        device: &DeviceId,
        (act, reason): (BulkAct, RevocationReason),
        arrived: Stopwatch,
    ) -> Result<Done, Failure> {
        match act.change() {
            None => Ok(Done::durably(self.rotate(actor, device).await?)),
            Some(StateChange::Resume) => Ok(Done::durably(self.resume(actor, device).await?)),
            Some(StateChange::Suspend) => {
                let cut = self.suspend(actor, device).await?;
                Ok(Done {
                    state: cut.state,
                    sessions_dropped: cut.sessions_dropped,
                    durable: cut.durable,
                })
            }
            Some(change) => {
                let out = self.put_out(actor, device, (reason, change), arrived);
                let out = out.await?;
                // The registry may not have it yet, if the disk did not take it.
                let state = match change {
                    StateChange::Retire => DeviceState::Retired,
                    _ => DeviceState::Revoked,
                };
                Ok(Done {
                    state,
                    sessions_dropped: out.sessions_dropped,
                    durable: out.durable,
                })
            }
        }
    }

    /// Takes a device out for good, revoked or retired, and then the tokens that are bound to it.
    pub(crate) async fn put_out(
        self: &Arc<Self>,
        actor: Actor,
        device: &DeviceId,
        (reason, change): (RevocationReason, StateChange),
        arrived: Stopwatch,
    ) -> Result<api::Revoked, Failure> {
        let revoked = self
            .revoke(actor.clone(), device, (reason, change), arrived)
            .await?;
        // The device is out; a token that was bound to it opens nothing, and is said to be revoked too. What it has
        // borrowed is ended at bridges, which may take their time: the answer does not wait for them.
        let (home, bound_to) = (Arc::clone(self), device.clone());
        let tokens = tokio::spawn(async move {
            if let Err(failure) = home.end_access_of(&actor, &bound_to).await {
                tracing::warn!(device = %bound_to, why = failure.0.detail, "a token of a device that is out could not be revoked yet");
            }
        });
        // A panic there is written down by the runtime, and changes nothing about the device.
        let _ = timeout(PATIENCE, tokens).await;
        Ok(revoked)
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
