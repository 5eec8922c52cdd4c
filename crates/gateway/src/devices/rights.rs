//! Rights held against rights used: counted, shown, narrowed.

use crate::auth::permit::Permit;
use crate::state::Ctx;
use hearthkey_core::role::Act;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;

use hearthkey_api as api;
use hearthkey_core::access::{Cuts, DeviceAccess};
use hearthkey_core::audit::Entry;
use hearthkey_core::id::{DeviceId, ProfileName};
use hearthkey_core::profile::Rights;
use hearthkey_core::right::{Narrowing, Right, decide};
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::registry::{ReadError, Registry};
use hearthkey_store::rights::{KnownRights, RightWrite, Uses};

use crate::devices::Devices;
use crate::devices::issuance::DECISIONS_MAX;
use crate::devices::lifecycle::still_ending;
use crate::state::endings::{Decision, End, Ending};
use crate::state::failure::Failure;
use crate::state::locked;

impl Devices {
    /// Writes down which rights were used since the last time, by those who are connected or were.
    pub(crate) async fn note_rights_used(&self) {
        let now: BTreeSet<DeviceId> = self
            .ctx
            .broker()
            .sessions()
            .into_iter()
            .map(|session| session.device)
            .collect();
        let before = std::mem::replace(&mut *locked(&self.lately_connected), now.clone());
        let uses: Vec<Uses> = {
            let access = self.ctx.access();
            let devices = now.union(&before);
            devices
                .filter_map(|id| Some((id, access.device(id)?.rights(id))))
                .flat_map(|(device, rights)| {
                    let used = rights.take_uses();
                    used.into_iter().map(|((verb, filter), uses)| Uses {
                        device: device.clone(),
                        verb,
                        filter,
                        uses,
                    })
                })
                .collect()
        };
        if uses.is_empty() {
            return;
        }
        let write = Write::Right(RightWrite::Used(uses, self.ctx.now()));
        if let Err(error) = self.ctx.commit(Change::default().write(write)).await {
            tracing::warn!(%error, "the use of rights could not be noted");
        }
    }

    /// What the profile grants a device, whatever it is narrowed to. Of one that may come no disk is asked: rights are taken
    /// also while it does not answer.
    fn granted(&self, device: &DeviceId) -> Result<(ProfileName, Rights), Failure> {
        let in_force = |known: &DeviceAccess| {
            let rights = known.profile.rights(device, &known.environment);
            (known.profile.name.clone(), rights)
        };
        if let Some(granted) = self.ctx.access().device(device).map(in_force) {
            return Ok(granted);
        }
        let known = self.known(device)?.device;
        let profile = self.ctx.profile(&known.profile);
        let profile = profile.ok_or_else(|| Failure::not_found("profile", &known.profile))?;
        let rights = profile.rights(device, &known.environment);
        Ok((known.profile, rights))
    }

    /// What a device may do, and what of it it has done.
    pub(crate) async fn rights_view(&self, device: &DeviceId) -> Result<api::RightsView, Failure> {
        self.note_rights_used().await;
        let known = self
            .ctx
            .store()
            .read(|registry| registry.rights_of(device))?;
        self.rights_known(device, &known)
    }

    /// The same, with what is known of them.
    fn rights_known(
        &self,
        device: &DeviceId,
        known: &KnownRights,
    ) -> Result<api::RightsView, Failure> {
        let (profile, granted) = self.granted(device)?;
        let (in_force, object) = (self.narrowing(device), format!("device:{device}"));
        // What was taken in memory is taken, whether or not the registry has it yet.
        let narrowing = in_force.as_deref().or(known.narrowing.as_ref());
        let pending = self.ctx.endings().is_pending(&object) && in_force.is_some();
        let narrowed_at = known
            .narrowed_at
            .or_else(|| pending.then(|| self.ctx.now()));
        let held = granted.all().into_iter().map(|((verb, filter), is_ours)| {
            let used = known
                .uses
                .iter()
                .find(|used| used.verb == verb && used.filter == filter.as_str());
            let kept = narrowing.is_none_or(|narrowing| narrowing.keeps(verb, &filter));
            api::RightView {
                verb: verb.to_string(),
                filter: filter.as_str().to_owned(),
                kept: is_ours || kept,
                narrowable: !is_ours,
                uses: used.map_or(0, |used| used.uses),
                last_used_at: used.map(|used| used.last_used_at.to_string()),
            }
        });
        let rights: Vec<api::RightView> = held.collect();
        let unused = |right: &&api::RightView| right.narrowable && right.kept && right.uses == 0;
        Ok(api::RightsView {
            profile: profile.to_string(),
            since: known.since.map(|at| at.to_string()),
            narrowed_at: narrowed_at.map(|at| at.to_string()),
            unused: rights.iter().filter(unused).count(),
            rights,
        })
    }

    /// Leaves a device these of its rights. The others are taken at once, also if the disk does not take it. Its sessions
    /// are dropped, so that nothing that it has subscribed to goes on.
    pub(crate) async fn narrow(
        &self,
        permit: &Permit,
        device: &DeviceId,
        request: &api::NarrowRequest,
    ) -> Result<api::Narrowed, Failure> {
        let actor = self.author(permit, Act::DeviceChange, device)?;
        let granted: Vec<Right> = self
            .granted(device)?
            .1
            .all()
            .into_iter()
            .filter(|(_, is_ours)| !is_ours)
            .map(|((verb, filter), _)| (verb, filter.as_str().to_owned()))
            .collect();
        let keep = request.keep.iter().map(|right| {
            let verb = right
                .verb
                .parse()
                .map_err(|error| Failure::invalid(&error))?;
            Ok((verb, right.filter.clone()))
        });
        let keep = keep.collect::<Result<Vec<Right>, Failure>>()?;
        // A right that is named twice is kept once.
        let kept: HashSet<&Right> = keep.iter().collect();
        let taken = granted.len().saturating_sub(kept.len());
        let narrowing = decide(&granted, keep).map_err(|error| {
            Failure::refused(
                &error,
                "Look at its permissions again, and choose from them.",
            )
        })?;
        let object = format!("device:{device}");
        if !self.ctx.endings().has_room(&object, &actor.name) {
            return Err(still_ending(&object));
        }
        let entry = Entry::new(self.ctx.now(), actor, "device.narrow", object);
        let ending = self.cut_rights(device, narrowing, entry.with("rights_taken", taken));
        let durable = ending.durable_in_time().await;
        // They are taken, whether or not what they were used for can be read.
        let known = self.ctx.store().read(|registry| registry.rights_of(device));
        let known = known.unwrap_or_else(|error| {
            tracing::error!(%error, %device, "the use of rights could not be read");
            KnownRights::default()
        });
        let rights = self.rights_known(device, &known)?;
        Ok(api::Narrowed { rights, durable })
    }

    /// Takes rights from a device, without waiting for anything. What it had before and was not left is not given back
    /// until the registry has it.
    fn cut_rights(&self, device: &DeviceId, then: Narrowing, entry: Entry) -> Ending {
        let ending = {
            let mut access = self.ctx.access_mut();
            let decision = Decision::of(&entry, &then);
            if let Some(same) = self.ctx.endings().same(&entry.object, RIGHTS, &decision) {
                return same;
            }
            let before = access
                .device(device)
                .and_then(|known| known.narrowing.clone());
            let meanwhile = Arc::new(match before {
                Some(before) => before.within(&then),
                None => then.clone(),
            });
            access.narrow(device, Some(Arc::clone(&meanwhile)));
            let seen = access.cuts(device);
            // Under the lock, so that what was decided last is written last.
            self.ctx.endings().begin(RightsEnd {
                ctx: Arc::clone(&self.ctx),
                device: device.clone(),
                is_less: *meanwhile != then,
                then,
                seen,
                entry,
            })
        };
        self.ctx.broker().drop_device(device);
        ending
    }

    /// Gives a device all that its profile grants.
    pub(crate) async fn widen(
        &self,
        permit: &Permit,
        device: &DeviceId,
    ) -> Result<api::RightsView, Failure> {
        let actor = self.author(permit, Act::DeviceApprove, device)?;
        let _turn = self.ctx.turns().of(device).await;
        self.known(device)?;
        let object = format!("device:{device}");
        for _ in 0..DECISIONS_MAX {
            // In this order: a narrowing is pending as soon as it is in force, and is on record before it is pending no more.
            let seen = self.ctx.access().cuts(device);
            let newest = self.ctx.newest_about(&object)?;
            if !self.ctx.endings().settled(&object).await {
                return Err(still_ending(&object));
            }
            let entry = Entry::new(
                self.ctx.now(),
                actor.clone(),
                "device.widen",
                object.clone(),
            );
            let write = Write::Right(RightWrite::Widen(device.clone()));
            let change = Change::record(entry).write(write);
            match self
                .ctx
                .commit(change.expecting(object.clone(), newest))
                .await
            {
                Err(CommitError::Changed) if !crate::state::expected::is_expected() => continue,
                Ok(_) => give_back(&self.ctx, device, seen, None),
                Err(error) => {
                    // Where the end is not known, what the registry has holds.
                    if let CommitError::Unknown(_) = error {
                        let known = self
                            .ctx
                            .store()
                            .read(|registry| registry.rights_of(device))?;
                        give_back(&self.ctx, device, seen, known.narrowing.map(Arc::new));
                    }
                    return Err(error.into());
                }
            }
            return self.rights_view(device).await;
        }
        Err(CommitError::Conflict.into())
    }

    /// To what a device is narrowed, as it is in force.
    fn narrowing(&self, device: &DeviceId) -> Option<Arc<Narrowing>> {
        self.ctx.access().device(device)?.narrowing.clone()
    }
}

/// Takes up what the registry has, if nothing has been taken since the decision saw it.
fn give_back(ctx: &Ctx, device: &DeviceId, seen: Cuts, narrowing: Option<Arc<Narrowing>>) {
    {
        let mut access = ctx.access_mut();
        if access.cuts(device).is_narrowed_since(seen) {
            return;
        }
        access.narrow(device, narrowing);
    }
    ctx.broker().drop_device(device);
}

/// What tells these ends from others of a device.
const RIGHTS: &str = "rights";

/// A device that has lost rights in memory.
struct RightsEnd {
    ctx: Arc<Ctx>,
    device: DeviceId,
    /// What it keeps once the registry has it.
    then: Narrowing,
    /// Whether it keeps less until then.
    is_less: bool,
    /// How often its rights had been narrowed with this one.
    seen: Cuts,
    entry: Entry,
}

impl End for RightsEnd {
    fn object(&self) -> String {
        self.entry.object.clone()
    }

    fn kind(&self) -> String {
        RIGHTS.into()
    }

    fn replaces(&self) -> Option<Decision> {
        Some(Decision::of(&self.entry, &self.then))
    }

    fn change(&self) -> Change {
        let (device, then) = (self.device.clone(), self.then.clone());
        let write = RightWrite::Narrow(device, then, self.entry.time);
        Change::record(self.entry.clone()).write(Write::Right(write))
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        let known = registry.device(&self.device)?;
        // What the registry does not know has no rights in it.
        Ok(known.is_none()
            || registry.rights_of(&self.device)?.narrowing.as_ref() == Some(&self.then))
    }

    fn written(&self) {
        if self.is_less {
            let then = Some(Arc::new(self.then.clone()));
            give_back(&self.ctx, &self.device, self.seen, then);
        }
    }
}
