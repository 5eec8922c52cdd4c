//! The journal is put where the backups are, within seconds: what happens after a backup is known to a home that is restored.
//!
//! The journal is cut into files of [`SEGMENT_LINES`](hearthkey_core::backup::shipped::SEGMENT_LINES) lines by their numbers;
//! a file is put again, whole and encrypted as the backups are, when a line of it is new. A place that hangs holds up this
//! task alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::backup::Place;
use hearthkey_core::backup::shipped::{MARK_EVERY, Position, segment_name, segment_of};
use hearthkey_core::time::Timestamp;
use hearthkey_store::backup::{BackupError, Recipient, seal_lines};
use hearthkey_store::change::{Change, Write};
use hearthkey_store::journal::{Event, Head, Replay};
use hearthkey_store::registry::Registry;
use hearthkey_store::{CommitError, Store};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::attempt::aside;
use super::make::recipients_of;
use super::{Backups, journal_place};

/// What happens within so long is put there at once.
const GATHER: Duration = Duration::from_millis(500);
/// How often it is looked whether something is left to be put there.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// The setting that says up to which line of the journal the database holds everything. A backup has it inside.
pub(crate) const COVERED: &str = "journal_covered";
/// The setting with the same of the newest backup that was verified at the place.
const BACKED_UP: &str = "journal_backed_up";

/// What is at the place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct There {
    place: Place,
    recipients: Vec<String>,
    seq: u64,
    loose: usize,
}

/// Puts what is new in the journal at the place that is set, until the home closes.
pub(crate) async fn keep_shipping(backups: Arc<Backups>) {
    let mut head = backups.ctx.store().journal_file().head();
    let mut stopping = backups.ctx.stopping().subscribe();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut there = None;
    loop {
        let goes_on = tokio::select! {
            changed = head.changed() => changed.is_ok(),
            _ = ticks.tick() => true,
            () = backups.moved.notified() => true,
            _ = stopping.wait_for(|stop| *stop) => false,
        };
        if !goes_on {
            return;
        }
        sleep(GATHER).await;
        head.mark_unchanged();
        // The time first: what is written from now on is not among what the place is said to have.
        let now = backups.ctx.now();
        let newest = backups.ctx.store().journal_file().newest();
        backups.ship(&mut there, newest, now).await;
    }
}

impl Backups {
    async fn ship(&self, there: &mut Option<There>, head: Head, now: Timestamp) {
        if self.ctx.store().journal_file().owes()
            && let Err(error) = self.ctx.store().journal_all(None, Vec::new()).await
        {
            tracing::error!(%error, "the journal lacks what has happened");
        }
        let Ok(plan) = self.plan() else { return };
        self.ctx.shipped().planned(plan.is_some());
        let Some(plan) = plan else {
            *there = None;
            return;
        };
        self.mark().await;
        let recipients = match recipients_of(self.ctx.store(), Some(&plan)) {
            Ok(recipients) => recipients,
            Err(error) => {
                self.ctx.shipped().is_behind(now);
                return self.ctx.shipped().failed(error.to_string());
            }
        };
        let whom = recipients.iter().map(ToString::to_string).collect();
        let known = there
            .take()
            .filter(|its| its.place == plan.to && its.recipients == whom);
        if known.as_ref().is_some_and(|its| its.seq == head.seq) {
            self.ctx.shipped().knows(now, head.seq);
            *there = known;
            return;
        }
        self.ctx.shipped().is_behind(now);
        let (seq, loose) = known.as_ref().map_or((0, 0), |its| (its.seq, its.loose));
        let to = plan.to.clone();
        let put = aside(&self.ctx, move |store, goes_on| {
            Ok(put_newer(store, &to, &recipients, (seq, loose), goes_on))
        });
        match put.await.and_then(|put| put) {
            Ok((seq, loose)) => {
                *there = Some(There {
                    place: plan.to,
                    recipients: whom,
                    seq,
                    loose,
                });
                self.ctx.shipped().knows(now, seq);
            }
            Err(BackupError::Stopped) => {}
            Err(error) => {
                let why = match &error {
                    BackupError::Write(error) => error.to_string(),
                    error => error.to_string(),
                };
                tracing::warn!(why, "the journal could not be put where the backups are");
                self.ctx.shipped().failed(why);
                *there = known;
            }
        }
    }

    /// Says in the journal how far the log is, if it has grown and that was not said for a while.
    async fn mark(&self) {
        let (now, journal) = (self.ctx.now(), self.ctx.store().journal_file());
        let said_at = journal.newest().at;
        if now < said_at.after(MARK_EVERY) || !journal.log_has_grown() {
            return;
        }
        let marked = self
            .ctx
            .store()
            .journal_all(Some(now), vec![Event::Mark {}]);
        if let Err(error) = marked.await {
            tracing::warn!(%error, "the journal does not say how far the log is");
        }
    }

    /// Notes in the database up to which line of the journal it holds everything, before it is copied. What ends access is in
    /// the journal first: the line is one before which nothing of that kind is still on its way.
    pub(super) async fn note_covered(&self) -> Result<Option<Position>, CommitError> {
        let head = self.ctx.store().journal_file().newest();
        if !self.ctx.endings().nothing_pending().await {
            return Ok(None);
        }
        let covered = Position {
            seq: head.seq,
            tag: head.tag,
            at: head.at,
        };
        let text = serde_json::to_vec(&covered).unwrap_or_default();
        let change = Change::default().write(Write::Setting(COVERED, text));
        self.ctx.commit(change).await?;
        Ok(Some(covered))
    }

    /// A backup that covers so much was verified at the place: what the one before it covers is dropped from the journal, here
    /// and there. So two backups can be restored and followed by the journal.
    pub(super) async fn drop_what_is_backed_up(&self, covered: Position, place: &Place) {
        let before = self
            .ctx
            .store()
            .read(|registry| position(registry, BACKED_UP));
        let text = serde_json::to_vec(&covered).unwrap_or_default();
        let noted = self
            .ctx
            .commit(Change::default().write(Write::Setting(BACKED_UP, text)));
        if let Err(error) = noted.await {
            tracing::warn!(%error, "what a backup covers could not be noted");
            return;
        }
        let Ok(Some(before)) = before else { return };
        if let Err(error) = self.ctx.store().journal_file().drop_to(before.seq).await {
            tracing::warn!(%error, "the journal keeps what a backup covers");
            return;
        }
        let (place, home) = (place.clone(), self.ctx.id().clone());
        let removed = aside(&self.ctx, move |_, _| {
            Ok(journal_place::remove_before(
                &place,
                &home,
                segment_of(before.seq),
            ))
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(%error, "old parts of the journal stay where the backups are");
        }
    }
}

/// A line of the journal that a setting names.
pub(crate) fn position(
    registry: &Registry<'_>,
    setting: &str,
) -> Result<Option<Position>, hearthkey_store::registry::ReadError> {
    let text = registry.setting(setting)?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Puts the files there that hold lines after a number, and returns the number of the last line, and how many revocations
/// are held by themselves. Waits for the disk and the place.
fn put_newer(
    store: &Store,
    place: &Place,
    recipients: &[Recipient],
    (seq, loose): (u64, usize),
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<(u64, usize), BackupError> {
    let journal = store.journal_file();
    let content = journal.content().map_err(BackupError::Home)?;
    let home = store.vault().home();
    let put = |segment, lines: &str| -> Result<(), BackupError> {
        let file = seal_lines(lines.as_bytes(), recipients)?;
        let name = segment_name(home, segment);
        journal_place::put(place, &name, &file).map_err(BackupError::Write)
    };
    if content.loose.len() != loose || (seq == 0 && !content.loose.is_empty()) {
        let lines = journal.loose_lines(&content.loose);
        put(0, &lines.map_err(BackupError::Home)?)?;
    }
    for (segment, lines) in segments_after(&content, seq) {
        put(segment, &lines)?;
        if !goes_on() {
            return Err(BackupError::Stopped);
        }
    }
    let newest = content.chain.last().map_or(0, |line| line.entry.seq);
    Ok((newest, content.loose.len()))
}

/// The files that hold lines after a number, by their own numbers, each with all of its lines.
fn segments_after(content: &Replay, seq: u64) -> BTreeMap<u64, String> {
    let mut segments: BTreeMap<u64, String> = BTreeMap::new();
    for line in &content.chain {
        let segment = segment_of(line.entry.seq).max(1);
        let text = segments.entry(segment).or_default();
        text.push_str(&line.text);
        text.push('\n');
    }
    let newer = content.chain.iter().filter(|line| line.entry.seq > seq);
    let newer = newer.map(|line| segment_of(line.entry.seq).max(1)).min();
    segments.retain(|segment, _| newer.is_some_and(|newer| *segment >= newer));
    segments
}
