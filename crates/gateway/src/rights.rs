//! Rights held against rights used: counted, shown, narrowed.

use std::collections::BTreeSet;
use std::sync::Arc;

use hearthkey_api as api;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::id::DeviceId;
use hearthkey_core::profile::Rights;
use hearthkey_core::right::{Narrowing, Right, decide};
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::rights::{RightWrite, Uses};

use crate::home::{Home, locked};
use crate::problem::Failure;

impl Home {
    /// Writes down which rights were used since the last time, by those who are connected or were.
    pub(crate) async fn note_rights_used(&self) {
        let now: BTreeSet<DeviceId> = self
            .broker
            .sessions()
            .into_iter()
            .map(|session| session.device)
            .collect();
        let before = std::mem::replace(&mut *locked(&self.lately_connected), now.clone());
        let uses: Vec<Uses> = {
            let access = self.access();
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
        let write = Write::Right(RightWrite::Used(uses, self.now()));
        if let Err(error) = self.commit(Change::default().write(write)).await {
            tracing::warn!(%error, "the use of rights could not be noted");
        }
    }

    /// What the profile grants a device, whatever it is narrowed to.
    fn granted(&self, device: &DeviceId) -> Result<Rights, Failure> {
        let known = self.known(device)?.device;
        let profile = self.profile(&known.profile);
        let profile = profile.ok_or_else(|| Failure::not_found("profile", &known.profile))?;
        Ok(profile.rights(device, &known.environment))
    }

    /// What a device may do, and what of it it has done.
    pub(crate) async fn rights_view(&self, device: &DeviceId) -> Result<api::RightsView, Failure> {
        self.note_rights_used().await;
        let granted = self.granted(device)?;
        let profile = self.known(device)?.device.profile;
        let known = self.store.read(|registry| registry.rights_of(device))?;
        let held = granted.all().into_iter().map(|((verb, filter), is_ours)| {
            let used = known
                .uses
                .iter()
                .find(|used| used.verb == verb && used.filter == filter.as_str());
            let kept = known
                .narrowing
                .as_ref()
                .is_none_or(|narrowing| narrowing.keeps(verb, &filter));
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
            narrowed_at: known.narrowed_at.map(|at| at.to_string()),
            unused: rights.iter().filter(unused).count(),
            rights,
        })
    }

    /// Leaves a device these of its rights. Its sessions are dropped, so that nothing that it has subscribed to goes on.
    pub(crate) async fn narrow(
        &self,
        actor: Actor,
        device: &DeviceId,
        request: &api::NarrowRequest,
    ) -> Result<api::RightsView, Failure> {
        let _turn = self.turns.of(device).await;
        let granted: Vec<Right> = self
            .granted(device)?
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
        let taken = granted.len().saturating_sub(keep.len());
        let narrowing = decide(&granted, keep).map_err(|error| {
            Failure::refused(&error, "Look at its rights again, and choose among them.")
        })?;
        let now = self.now();
        let entry = Entry::new(now, actor, "device.narrow", format!("device:{device}"))
            .with("rights_taken", taken);
        let write = RightWrite::Narrow(device.clone(), narrowing.clone(), now);
        let change = Change::record(entry).write(Write::Right(write));
        self.commit_rights(device, change, Some(narrowing)).await?;
        self.rights_view(device).await
    }

    /// Gives a device all that its profile grants.
    pub(crate) async fn widen(
        &self,
        actor: Actor,
        device: &DeviceId,
    ) -> Result<api::RightsView, Failure> {
        let _turn = self.turns.of(device).await;
        self.known(device)?;
        let entry = Entry::new(
            self.now(),
            actor,
            "device.widen",
            format!("device:{device}"),
        );
        let write = Write::Right(RightWrite::Widen(device.clone()));
        let change = Change::record(entry).write(write);
        self.commit_rights(device, change, None).await?;
        self.rights_view(device).await
    }

    /// Commits what a device keeps of its rights, and takes it up. Where the end is not known, what the registry has holds.
    async fn commit_rights(
        &self,
        device: &DeviceId,
        change: Change,
        narrowing: Option<Narrowing>,
    ) -> Result<(), Failure> {
        let committed = self.commit(change).await;
        match &committed {
            Ok(_) => self.take_up(device, narrowing),
            Err(CommitError::Unknown(_)) => {
                let known = self.store.read(|registry| registry.rights_of(device))?;
                self.take_up(device, known.narrowing);
            }
            Err(_) => {}
        }
        Ok(committed.map(drop)?)
    }

    fn take_up(&self, device: &DeviceId, narrowing: Option<Narrowing>) {
        self.access_mut().narrow(device, narrowing.map(Arc::new));
        self.broker.drop_device(device);
    }
}
