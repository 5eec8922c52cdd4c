//! Archives of the log: the file is written and verified by whoever asks, and never opened here. What is noted is which
//! records it has, their root hash and its SHA-256; only what is noted so can be dropped.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearthkey_api as api;
use hearthkey_core::audit::Entry;
use hearthkey_core::id::{Fingerprint, unhex};
use hearthkey_core::role::Act;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::log_start::{Archive, Extent, LogWrite};
use tokio::time::sleep;

use crate::audit::Audit;
use crate::auth::caller::Caller;
use crate::auth::local_code::Needed;
use crate::auth::permit::Permit;
use crate::state::failure::Failure;
use crate::state::locked;

/// How long records are advised to be kept here.
const KEPT_DAYS: u32 = 730;
/// The largest archive: what a number in JSON holds exactly.
const ARCHIVE_MAX_BYTES: u64 = 1 << 53;
/// How often, and how many times, it is looked whether new records are witnessed: for ten seconds.
const WITNESSED_EVERY: Duration = Duration::from_millis(100);
const WITNESSED_TRIES: u32 = 100;

/// Where a part of the log ends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SegmentEnd {
    /// Before this record.
    pub(crate) before: Option<u64>,
    /// Before this moment.
    pub(crate) until: Option<Timestamp>,
    /// So many days ago.
    pub(crate) keep_days: Option<u32>,
}

impl Audit {
    /// How large the log is, as it was last looked at. Waits for no disk.
    pub(crate) fn known_extent(&self) -> Extent {
        locked(&self.log_state).extent
    }

    /// Looks at how large the log is.
    pub(super) fn look_at_extent(&self) {
        match self.ctx.store().read(|registry| registry.log_extent()) {
            Ok(extent) => locked(&self.log_state).extent = extent,
            Err(error) => tracing::warn!(%error, "the size of the log is not known"),
        }
    }

    /// How large the log is, and which archives are known.
    pub(crate) fn log_extent(&self) -> Result<api::LogExtent, Failure> {
        let kept_from = self.ctx.now().before(Span::days(KEPT_DAYS.into()));
        let (extent, archives, advised_before) = self.ctx.store().read(|registry| {
            let extent = registry.log_extent()?;
            let advised = registry.first_record_at(kept_from, extent.size)?;
            Ok((extent, registry.archives()?, advised))
        })?;
        locked(&self.log_state).extent = extent;
        Ok(api::LogExtent {
            size: extent.size,
            first: extent.first,
            archived_before: extent.archived_before,
            bytes: extent.bytes,
            database_bytes: extent.database_bytes,
            free_bytes: extent.free_bytes,
            shortening: extent.is_being_shortened,
            advised_before,
            archives: archives.iter().map(view).collect(),
        })
    }

    /// What an archive of the oldest records here has beside them.
    pub(crate) fn segment(&self, end: SegmentEnd) -> Result<api::LogSegment, Failure> {
        let (store, size) = (self.ctx.store(), self.log_size());
        let days = end.keep_days.unwrap_or(KEPT_DAYS);
        let moment = || self.ctx.now().before(Span::days(days.into()));
        let before = match end.before {
            Some(before) => before,
            None => {
                let moment = end.until.unwrap_or_else(moment);
                store.read(|registry| registry.first_record_at(moment, size))?
            }
        };
        let Some(segment) = store.segment(before)? else {
            return Err(match before > size {
                true => Failure::not_found("log record", &before.saturating_sub(1)),
                false => Failure::refused(
                    &"the log has no record here that is as old as that",
                    "Nothing has to be archived.",
                ),
            });
        };
        let note = String::from_utf8(segment.checkpoint.note);
        Ok(api::LogSegment {
            first: segment.first,
            before,
            left: segment
                .left
                .iter()
                .map(|hash| STANDARD.encode(hash))
                .collect(),
            checkpoint: note.map_err(|error| Failure::internal(&error))?,
            key: store.vkey().to_owned(),
        })
    }

    /// An archive was written, and verified there.
    pub(crate) async fn note_archive(
        &self,
        permit: &Permit,
        request: api::LogArchiveRequest,
    ) -> Result<api::LogExtent, Failure> {
        let actor = permit.actor_at_home(Act::LogArchive)?.clone();
        let root = STANDARD.decode(&request.root).ok();
        let root = root.and_then(|root| <[u8; 32]>::try_from(root).ok());
        let root =
            root.ok_or_else(|| Failure::invalid(&"the root hash is not base64 of 32 bytes"))?;
        if request.bytes > ARCHIVE_MAX_BYTES {
            return Err(Failure::invalid(&format!(
                "an archive has at most {ARCHIVE_MAX_BYTES} bytes"
            )));
        }
        let archive = Archive {
            first: request.first,
            before: request.before,
            root,
            sha256: sha256(&request.sha256)?,
            bytes: request.bytes,
            at: self.ctx.now(),
        };
        let first_here = self.ctx.store().read(|registry| registry.first_here())?;
        if archive.first > first_here {
            return Err(Failure::refused(
                &format!(
                    "the archive begins with record {}, and the log here with record {first_here}",
                    archive.first
                ),
                "Archive from the first record that is here.",
            ));
        }
        let entry = self.entry_about(&archive, actor, "log.archive");
        let change = Change::record(entry).write(Write::Log(LogWrite::Archived(archive)));
        match self.ctx.commit(change).await {
            Ok(_) => self.log_extent(),
            Err(CommitError::Conflict) => Err(Failure::refused(
                &"the archive has other records than this log: its root hash is another",
                "Keep the file as evidence, and write a new archive.",
            )),
            Err(error) => Err(error.into()),
        }
    }

    fn entry_about(
        &self,
        archive: &Archive,
        actor: hearthkey_core::audit::Actor,
        action: &'static str,
    ) -> Entry {
        let home = format!("home:{}", self.ctx.id());
        Entry::new(self.ctx.now(), actor, action, home)
            .with("first", archive.first)
            .with("before", archive.before)
            .with("root", STANDARD.encode(archive.root))
            .with("sha256", archive.sha256.to_string())
            .with("bytes", archive.bytes)
    }

    /// The log begins later here from now on: the records of an archive are dropped.
    pub(crate) async fn shorten(
        &self,
        caller: &Caller,
        request: api::LogShortenRequest,
    ) -> Result<api::LogExtent, Failure> {
        let permit = caller.permitted(Act::LogShorten)?;
        let actor = permit.actor_at_home(Act::LogShorten)?.clone();
        let sha256 = sha256(&request.sha256)?;
        let _turn = self.turn.lock().await;
        let needed = Needed {
            act: Act::LogShorten,
            environment: None,
            why: "this drops records of the audit log from the home",
        };
        let shown = self
            .auth
            .shown_here(caller, needed, request.second_factor)
            .await?;
        self.is_witnessed(request.before).await;
        let archive = self.may_be_dropped(request.before, sha256)?;
        let first = archive.before;
        let change = Change::record(self.entry_about(&archive, actor, "log.shorten"))
            .write(Write::Log(LogWrite::BeginAt { first, sha256 }));
        match self.auth.commit_shown(change, shown).await {
            Ok(()) => {
                self.shortened.notify_one();
                self.log_extent()
            }
            Err(CommitError::Conflict) => Err(changed()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits a little until records that are new have been verified and are in the anchor: both come every second.
    async fn is_witnessed(&self, before: u64) {
        for _ in 0..WITNESSED_TRIES {
            let verified = locked(&self.log_state)
                .verified
                .as_ref()
                .map(|one| one.size);
            let is_verified = verified.is_some_and(|size| size >= before);
            let is_anchored = self.ctx.store().anchored_size() >= before;
            if is_verified && is_anchored
                || before > self.log_size()
                || self.log_problem().is_some()
            {
                return;
            }
            sleep(WITNESSED_EVERY).await;
        }
    }

    /// The archive whose records may be dropped.
    fn may_be_dropped(&self, before: u64, sha256: Fingerprint) -> Result<Archive, Failure> {
        let (first, archives, backup) = self.ctx.store().read(|registry| {
            Ok((
                registry.first_here()?,
                registry.archives()?,
                registry.newest_backup_record()?,
            ))
        })?;
        let known = |one: &Archive| one.before == before && one.sha256 == sha256;
        let archive = archives.into_iter().find(known).ok_or_else(|| {
            Failure::refused(
                &"this archive is not known here",
                "Write one first: only what was archived and verified is dropped. On the command line: `hearthkey log archive --out FILE`.",
            )
        })?;
        if before <= first || archive.first > first {
            return Err(changed());
        }
        if before >= self.log_size() {
            return Err(Failure::refused(
                &"no record would stay here",
                "Archive again with an earlier end.",
            ));
        }
        let verified = locked(&self.log_state)
            .verified
            .as_ref()
            .map(|one| one.size);
        if self.log_problem().is_some() || verified.is_none_or(|size| size < before) {
            return Err(Failure::refused(
                &"the gateway has not found these records to be what was signed",
                "Wait until it has verified its log. On the command line: `hearthkey status`.",
            ));
        }
        if self.ctx.store().anchored_size() < before {
            return Err(Failure::refused(
                &"the anchor file does not cover these records yet",
                "Try again in a few seconds.",
            ));
        }
        if backup.is_some_and(|backup| backup < before) {
            return Err(Failure::refused(
                &"the record of the newest backup is among them",
                "Make a backup first. On the command line: `hearthkey backup create`.",
            ));
        }
        Ok(archive)
    }
}

fn changed() -> Failure {
    Failure::refused(
        &"the log does not begin where this archive begins, or has been shortened since",
        "Look at what is here, and archive again. On the command line: `hearthkey log size`.",
    )
}

fn sha256(text: &str) -> Result<Fingerprint, Failure> {
    unhex(text)
        .map(Fingerprint)
        .ok_or_else(|| Failure::invalid(&"the SHA-256 is not 64 hexadecimal digits"))
}

fn view(archive: &Archive) -> api::LogArchiveView {
    api::LogArchiveView {
        first: archive.first,
        before: archive.before,
        root: STANDARD.encode(archive.root),
        sha256: archive.sha256.to_string(),
        bytes: archive.bytes,
        archived_at: archive.at.to_string(),
    }
}
