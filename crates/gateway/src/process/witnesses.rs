//! Files that witness what the database holds, and were missing when the home opened.
//!
//! Both are made anew at once, so that nothing is amiss the next time. Therefore it is written down when one was missing, and
//! stays a finding until a person accepts it, however often the home opens again.

use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::id::HomeId;
use hearthkey_core::posture::witness::Unwritten;
use hearthkey_core::time::Timestamp;
use hearthkey_store::Store;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::registry::ReadError;
use tokio::time::timeout;

use crate::state::endings::PATIENCE;

/// A file that outlives the database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Witness {
    /// The revocation journal.
    Journal,
    /// The anchor of the log.
    Anchor,
}

impl Witness {
    fn setting(self) -> &'static str {
        match self {
            Self::Journal => "journal_missing_at",
            Self::Anchor => "anchor_missing_at",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Journal => "journal_missing",
            Self::Anchor => "anchor_missing",
        }
    }

    fn is_noted(self, store: &Store) {
        let noted = match self {
            Self::Journal => store.note_missing_journal(),
            Self::Anchor => store.note_missing_anchor(),
        };
        if let Err(error) = noted {
            tracing::warn!(%error, reason = self.reason(), "it will be reported again");
        }
    }

    /// When the home last opened without it: now, if that was so, or as it was written down.
    pub(crate) async fn missing_at(
        self,
        store: &Store,
        home: &HomeId,
        now: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, ReadError> {
        let Some(now) = now else {
            let noted = store.read(|registry| registry.setting(self.setting()))?;
            let noted = noted.and_then(|text| String::from_utf8(text).ok());
            return Ok(noted.and_then(|text| text.parse().ok()));
        };
        let entry = Entry::new(now, Actor::gateway(), "home.open", format!("home:{home}"));
        let write = Write::Setting(self.setting(), now.to_string().into_bytes());
        let change = Change::record(entry.ended(Outcome::Alert, self.reason())).write(write);
        // A home that is read-only, or whose disk is full or hangs, opens all the same and says so as long as it is open.
        match timeout(PATIENCE, store.commit(change)).await {
            Ok(Ok(_)) => self.is_noted(store),
            Ok(Err(error)) => {
                tracing::error!(%error, reason = self.reason(), "what was missing could not be stored");
            }
            Err(_) => {
                tracing::error!(
                    reason = self.reason(),
                    "the disk hangs: it will be reported again"
                );
            }
        }
        Ok(Some(now))
    }
}

/// The journal lacked what the registry has. It is given that again, so that nothing is amiss the next time; that it was is
/// in the log.
pub(crate) async fn gaps_are_recorded(
    store: &Store,
    home: &HomeId,
    now: Timestamp,
    lacking: &Unwritten,
) {
    if lacking.count() == 0 {
        return;
    }
    let entry = Entry::new(now, Actor::gateway(), "home.open", format!("home:{home}"))
        .with("devices", lacking.count())
        .ended(Outcome::Alert, "journal_incomplete");
    match timeout(PATIENCE, store.commit(Change::record(entry))).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::error!(%error, "what the journal lacked could not be recorded"),
        Err(_) => tracing::error!(
            "the disk does not respond: what the journal lacked is not recorded yet"
        ),
    }
}
