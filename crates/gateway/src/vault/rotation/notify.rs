//! Telling places of use of rotations: those that are connected bridges and can be told.
//!
//! A pending notification is stored with the step that makes it true, so that neither a crash nor a place that is down loses
//! it. A notification is not a switch: a place confirms as always.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hearthkey_bridges::BridgeError;
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::credential::CredentialId;
use hearthkey_core::finding::{Finding, FindingKind, Severity};
use hearthkey_core::news::{Errand, Event, News};
use hearthkey_core::rotation::Rotation;
use hearthkey_core::time::Timestamp;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;
use tokio::task::JoinSet;

use crate::vault::Vault;
use crate::vault::bridge_places::BridgePlaces;
use crate::vault::credentials::object;

/// Errands that are looked at at a time: one for each place, also those that do not respond.
const DUE_MAX: u32 = 1000;

/// Notifies the places of use, until the home closes.
pub(crate) async fn tell_the_places(home: Arc<Vault>) {
    let mut stopping = home.ctx.stopping().subscribe();
    let telling = async {
        let mut telling = JoinSet::new();
        let mut underway = HashMap::new();
        let places = BridgePlaces::default();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            while let Some(ended) = telling.try_join_next_with_id() {
                underway.remove(&ended.map_or_else(|error| error.id(), |(task, ())| task));
            }
            let now = home.ctx.now();
            let due = match home
                .ctx
                .store()
                .read(|registry| registry.due_errands(now, DUE_MAX))
            {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "the pending notifications could not be read");
                    continue;
                }
            };
            for errand in due {
                if underway.values().any(|id| *id == errand.id) {
                    continue;
                }
                let environment = &errand.news.credential.environment;
                let Some(place) = places.enter(environment, &errand.news.place) else {
                    continue;
                };
                let (home, id) = (Arc::clone(&home), errand.id);
                let task = telling.spawn(async move {
                    home.tell(&errand).await;
                    drop(place);
                });
                underway.insert(task.id(), id);
            }
        }
    };
    // A notification that was interrupted is sent when the home opens.
    tokio::select! {
        () = telling => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

/// Why a place was not notified.
enum Deaf {
    /// It gave no answer, or a wrong one.
    NotNow(String),
    /// It cannot be notified at all.
    Never(String),
}

impl From<BridgeError> for Deaf {
    fn from(error: BridgeError) -> Self {
        let why = format!("{error}. {}", error.remedy());
        match error {
            BridgeError::CannotDo { .. } => Self::Never(why),
            _ => Self::NotNow(why),
        }
    }
}

fn not_told(news: &News, why: &str) -> Finding {
    let finding = Finding::new(
        FindingKind::NotTold,
        Severity::Medium,
        object(&news.credential),
        &news.place,
    );
    let (place, event, version) = (&news.place, news.event, news.version);
    finding.saying(
        format!(
            "{place} could not be notified of the current version {version} ({event}): {why}"
        ),
        format!(
            "Fix that: the notification is retried for an hour. Or have {place} fetch the value by hand."
        ),
    )
}

impl Vault {
    /// With the errands to the places that use a credential and can be notified about its rotation.
    pub(super) fn with_news(
        &self,
        change: Change,
        id: &CredentialId,
        (rotation, event, version): (&Rotation, Event, u32),
        now: Timestamp,
    ) -> Change {
        let can_be_told = |place: &&String| {
            let bridge = self
                .ctx
                .store()
                .read(|registry| registry.bridge(place, &id.environment));
            // What prevents one that is connected is found when it is notified.
            bridge.ok().flatten().is_some_and(|bridge| {
                let connected = self.connected(bridge);
                connected.map_or(true, |connected| connected.abilities.notify)
            })
        };
        let places = rotation.dependents.iter().filter(can_be_told);
        places.fold(change, |change, place| {
            let news = News {
                credential: id.clone(),
                place: place.clone(),
                event,
                version,
                deadline: rotation.deadline.filter(|_| event == Event::Switch),
            };
            change.vault(VaultWrite::Tell(news, now))
        })
    }

    async fn hears(&self, news: &News) -> Result<(), Deaf> {
        let environment = &news.credential.environment;
        let bridge = self
            .ctx
            .store()
            .read(|registry| registry.bridge(&news.place, environment));
        let bridge = bridge.map_err(|error| Deaf::NotNow(error.to_string()))?;
        let bridge = bridge.ok_or_else(|| Deaf::Never("it is no longer connected".into()))?;
        let connected = self
            .connected(bridge)
            .map_err(|failure| Deaf::NotNow(failure.0.detail))?;
        Ok(connected.connector.notify(news).await?)
    }

    /// Notifies a place, once the attempt and the time of the next one are stored: a gateway that can
    /// write nothing down tells nothing over and over.
    pub(in crate::vault) async fn tell(&self, errand: &Errand) {
        let news = &errand.news;
        let begun = self.ctx.now();
        let again = errand.after_failure(begun);
        let put_off = again.clone().unwrap_or_else(|| errand.clone());
        let put_off = Change::default().vault(VaultWrite::TellLater(put_off));
        let kept = match self.ctx.commit(put_off).await {
            Ok(_) => {
                let heard = self.hears(news).await;
                self.ctx
                    .commit(self.heard(errand, heard, again.is_some()))
                    .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, place = news.place, "the outcome of a notification cannot be stored");
        }
    }

    /// What is kept of a try.
    fn heard(&self, errand: &Errand, heard: Result<(), Deaf>, again: bool) -> Change {
        let (news, now) = (&errand.news, self.ctx.now());
        let entry = Entry::new(
            now,
            Actor::gateway(),
            "rotation.tell",
            object(&news.credential),
        )
        .with("place", news.place.clone())
        .with("event", news.event.as_str())
        .with("version", news.version);
        let (why, again) = match heard {
            Ok(()) => {
                return Change::record(entry)
                    .vault(VaultWrite::Told(errand.id))
                    .vault(VaultWrite::Settled(not_told(news, "").id, now));
            }
            Err(Deaf::NotNow(why)) => (why, again),
            Err(Deaf::Never(why)) => (why, false),
        };
        let outcome = if again {
            Outcome::Refused
        } else {
            Outcome::Held
        };
        let entry = entry
            .ended(outcome, "no_answer")
            .with("tries", errand.tries + 1);
        let change = Change::record(entry).vault(VaultWrite::Finding(not_told(news, &why), now));
        match again {
            true => change,
            false => change.vault(VaultWrite::Told(errand.id)),
        }
    }
}
