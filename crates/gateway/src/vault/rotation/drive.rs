//! Driving the rotations that run, step by step, each as far as it goes. After a crash, too: what runs is read from the registry at
//! the start. Why a step may be taken twice: `steps.rs`.

use std::sync::Arc;
use std::time::Duration;

use hearthkey_api::RotationView;
use hearthkey_bridges::Progress;
use hearthkey_core::audit::Outcome;
use hearthkey_core::credential::CredentialId;
use hearthkey_core::finding::{Finding, FindingKind, Severity};
use hearthkey_core::rotation::{Next, Rotation, Step, TRIES_MAX};
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;

use crate::state::locked;
use crate::vault::Vault;
use crate::vault::bridge_places::BridgePlaces;
use crate::vault::credentials::object;
use crate::vault::rotation::steps::{Facts, Hindrance, note};
use crate::vault::views;

/// How long a rotation waits for a storage that takes nothing.
const STORAGE_WAIT: Duration = Duration::from_secs(1);

/// Drives the rotations that run, at start, when one changes, and when the time of one has come.
pub(crate) async fn rotate_what_is_due(home: Arc<Vault>) {
    let mut stopping = home.ctx.stopping().subscribe();
    let places = BridgePlaces::default();
    loop {
        let second = tokio::time::sleep(Duration::from_secs(1));
        match home
            .ctx
            .store()
            .read(|registry| registry.running_rotations())
        {
            Ok(running) => {
                let now = home.ctx.now();
                for (rotation, id) in home.unwanted(&running) {
                    drive(&home, &places, id, Some(rotation));
                }
                let ready = |rotation: &Rotation| matches!(rotation.next(now), Next::Take(_));
                for (id, _) in running.into_iter().filter(|(_, rotation)| ready(rotation)) {
                    drive(&home, &places, id, None);
                }
            }
            Err(error) => tracing::error!(%error, "the rotations could not be read"),
        }
        tokio::select! {
            () = home.rotations.notified() => {}
            () = second => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// Takes one rotation as far as it goes, unless that is being done; or ends what was made for one that is over.
fn drive(home: &Arc<Vault>, places: &BridgePlaces, id: CredentialId, over: Option<i64>) {
    let Some(place) = places.enter(&id.environment, id.name.bridge()) else {
        return;
    };
    if !locked(&home.driven).insert(id.clone()) {
        return;
    }
    let home = Arc::clone(home);
    let mut stopping = home.ctx.stopping().subscribe();
    tokio::spawn(async move {
        let steps = async {
            match over {
                Some(rotation) => home.settle_unwanted(rotation).await,
                None => while home.take_next(&id).await {},
            }
        };
        // A step that is given up half-way is taken again when the home opens.
        tokio::select! {
            () = steps => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        locked(&home.driven).remove(&id);
        drop(place);
        if over.is_none() {
            home.rotations.notify_one();
        }
    });
}

impl Vault {
    /// Takes the next step of a rotation; whether there may be another one at once.
    pub(in crate::vault) async fn take_next(&self, id: &CredentialId) -> bool {
        let now = self.ctx.now();
        let rotation = match self.ctx.store().read(|registry| registry.rotation(id)) {
            Ok(Some(rotation)) => rotation,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "a rotation could not be read");
                return false;
            }
        };
        let Next::Take(step) = rotation.next(now) else {
            return false;
        };
        let mut facts = Facts {
            id: id.clone(),
            asked_before: rotation.asked,
            rotation,
            bridge: None,
            now,
        };
        let bridge = match self.bridge_of(id) {
            // What is made needs no bridge to be stored.
            Err(_) if self.has_untaken(&facts.rotation) => Ok(None),
            found => found,
        };
        let taken = match bridge {
            Ok(bridge) => {
                facts.bridge = bridge;
                match self.begin_try(step, &mut facts).await {
                    Ok(()) => self.take(step, &facts).await,
                    Err(hindrance) => Err(hindrance),
                }
            }
            Err(failure) => Err(failure.into()),
        };
        match taken {
            Ok(()) | Err(Hindrance::Changed) => true,
            Err(Hindrance::Storage(why)) => {
                tracing::warn!(credential = %id, why, "a rotation is waiting for the storage");
                tokio::time::sleep(STORAGE_WAIT).await;
                false
            }
            Err(Hindrance::NoAnswer(why)) => {
                let asked = facts.rotation.asked;
                self.put_off(facts, why, 1, asked).await
            }
            Err(Hindrance::NotDone(why)) => {
                // That this try made nothing says nothing of one before it, nor of a value that is made and not stored.
                let asked = facts.asked_before || self.has_untaken(&facts.rotation);
                self.put_off(facts, why, 1, asked).await
            }
            Err(Hindrance::Stuck(why)) => {
                let asked = facts.rotation.asked;
                self.put_off(facts, why, TRIES_MAX, asked).await
            }
        }
    }

    /// Records that a bridge is about to be asked, and when at the earliest again. What cannot be recorded is not asked:
    /// a bridge is not called over and over by a gateway that forgets that it did, however it stops.
    async fn begin_try(&self, step: Step, facts: &mut Facts) -> Result<(), Hindrance> {
        let ends_switch = step == Step::Revoke && facts.rotation.step == Step::Switch;
        if facts.bridge.is_none() || ends_switch {
            return Ok(());
        }
        let mut begun = facts.rotation.clone();
        begun.not_before = begun.next_try(facts.now);
        begun.asked |= step == Step::Mint;
        // Who ends a rotation reads within a turn whether the bridge may be asked.
        let _turn = self.credential_turns.of(&facts.id).await;
        let entry = facts.entry("rotation.try").with("step", step.as_str());
        let write = VaultWrite::Rotate(begun.step, begun.clone());
        self.ctx.commit(Change::record(entry).vault(write)).await?;
        facts.rotation = begun;
        Ok(())
    }

    /// Remembers that a step got no answer, and when it is tried again, if at all. `asked`: whether the bridge may keep a
    /// value that is not known here.
    async fn put_off(&self, facts: Facts, why: String, tries: u32, asked: bool) -> bool {
        let mut rotation = facts.rotation.clone();
        rotation.tries = (rotation.tries + tries).min(TRIES_MAX);
        rotation.asked = asked;
        rotation.not_before = rotation.next_try(facts.now);
        let step = rotation.step;
        note(&mut rotation, format!("{}: {why}", step.as_str()));
        let held = rotation.tries >= TRIES_MAX;
        let outcome = if held {
            Outcome::Held
        } else {
            Outcome::Refused
        };
        let entry = facts
            .entry("rotation.wait")
            .ended(outcome, "no_answer")
            .with("step", rotation.step.as_str())
            .with("tries", rotation.tries);
        let mut change = Change::record(entry);
        if held {
            let finding = Finding::new(
                FindingKind::RotationHeld,
                Severity::High,
                object(&facts.id),
                "",
            );
            let finding = finding.saying(
                format!("Its rotation is held at the step {}: {why}", rotation.step.as_str()),
                format!("Fix that, then rotate again; or enter another value. On the command line: `hearthkey credential rotate {} --env {}`, with `--from-file FILE` or `-` for another value.", facts.id.name, facts.id.environment),
            );
            change = change.vault(VaultWrite::Finding(finding, facts.now));
        }
        let _turn = self.credential_turns.of(&facts.id).await;
        let kept = self
            .ctx
            .commit(change.vault(VaultWrite::Rotate(step, rotation)))
            .await;
        let has_changed = matches!(kept, Err(CommitError::Conflict));
        if has_changed && !asked {
            self.was_not_made(&facts).await;
        }
        has_changed
    }

    /// Remembers that the only try made nothing, whatever became of the rotation meanwhile.
    async fn was_not_made(&self, facts: &Facts) {
        let id = &facts.id;
        let Ok(Some(mut rotation)) = self.ctx.store().read(|registry| registry.rotation(id)) else {
            return;
        };
        if rotation.id != facts.rotation.id || !rotation.asked {
            return;
        }
        rotation.asked = false;
        let write = VaultWrite::Rotate(rotation.step, rotation);
        if let Err(error) = self.ctx.commit(Change::default().vault(write)).await {
            tracing::warn!(%error, credential = %id, "a rotation could not be kept");
        }
    }

    /// Keeps what a bridge reports while it works, for readers of its progress.
    pub(super) fn listening(&self, id: &CredentialId) -> Progress {
        let (says, id) = (Arc::clone(&self.bridge_says), id.clone());
        Progress::new(move |step| {
            let rest = step.remaining.filter(|_| step.waits_for_person);
            let rest = rest.map_or(String::new(), |rest| format!(" ({} s left)", rest.as_s()));
            locked(&says).insert(id.clone(), format!("{}{rest}", step.text));
        })
    }

    /// A rotation as it is shown, with what its bridge is doing.
    pub(crate) fn rotation_view(&self, id: &CredentialId, rotation: &Rotation) -> RotationView {
        let mut view = views::rotation(id, rotation, self.ctx.now());
        if !rotation.step.is_over() {
            // While a try is under way its next one has a time already; it rests when nobody is at it.
            view.rests &= !locked(&self.driven).contains(id);
            view.bridge_says = locked(&self.bridge_says).get(id).cloned();
        }
        view
    }
}
