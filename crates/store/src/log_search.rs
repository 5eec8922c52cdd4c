//! Looking for audit records. They lie in the order of their times, except where home time went back: between two such places a
//! moment is found by halving.

use std::borrow::Cow;

use hearthkey_core::audit::{Outcome, Record};
use hearthkey_core::time::Timestamp;
use serde::Deserialize;

use crate::change_apply::NEWEST_DECISION;
use crate::registry::{ReadError, Registry};

/// Records that are looked at for one answer, at most.
pub const LOOKED_AT_MAX: u64 = 20_000;
/// Records about the clock that are looked at for places where home time went back, the newest.
const TURNS_LOOKED_AT: u64 = 256;
/// Records that are fetched at a time.
pub(crate) const BATCH: u64 = 500;

/// Which records are looked for: each text must be what is there, or begin it if it ends with `*`.
#[derive(Debug, Clone, Default)]
pub struct RecordFilter {
    /// Who.
    pub actor: Option<String>,
    /// What.
    pub action: Option<String>,
    /// To what.
    pub object: Option<String>,
    /// From which address.
    pub address: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
}

/// What of a record is looked at: not its details, which are most of it.
#[derive(Deserialize)]
pub(crate) struct Glance<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    actor: Who<'a>,
    #[serde(borrow)]
    object: Cow<'a, str>,
    pub(crate) outcome: Outcome,
}

#[derive(Deserialize)]
struct Who<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    address: Option<Cow<'a, str>>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Numbers and leaves, newest first.
    pub records: Vec<(u64, Vec<u8>)>,
    /// Records before this number were not looked at.
    pub looked_to: u64,
}

fn fits(pattern: Option<&String>, text: &str) -> bool {
    pattern.is_none_or(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => text == pattern,
    })
}

impl RecordFilter {
    pub(crate) fn is_empty(&self) -> bool {
        let all = [
            &self.actor,
            &self.action,
            &self.object,
            &self.address,
            &self.outcome,
        ];
        all.iter().all(|part| part.is_none())
    }

    /// The record, if it fits.
    pub(crate) fn takes<'a>(&self, record: &'a [u8]) -> Option<Glance<'a>> {
        let glance: Glance<'_> = serde_json::from_slice(record).ok()?;
        let address = glance.actor.address.as_deref().unwrap_or_default();
        let fits = fits(self.actor.as_ref(), &glance.actor.name)
            && fits(self.action.as_ref(), &glance.action)
            && fits(self.object.as_ref(), &glance.object)
            && fits(self.address.as_ref(), address)
            && fits(self.outcome.as_ref(), glance.outcome.as_str());
        fits.then_some(glance)
    }

    /// The one object that is looked for, if it is one: then its index is read.
    pub(crate) fn one_object(&self) -> Option<&str> {
        self.object.as_deref().filter(|name| !name.ends_with('*'))
    }
}

impl Registry<'_> {
    /// Records before a number and not before another, newest first, that fit; at most `limit`.
    pub fn search_records(
        &self,
        filter: &RecordFilter,
        (from, before): (u64, u64),
        limit: usize,
    ) -> Result<Found, ReadError> {
        if let Some(object) = filter.one_object() {
            return self.records_of(filter, object, (from, before), limit);
        }
        let mut found = Found {
            looked_to: before,
            ..Found::default()
        };
        let everything = filter.is_empty();
        let end = before.saturating_sub(LOOKED_AT_MAX).max(from);
        while found.looked_to > end && found.records.len() < limit {
            let begin = found.looked_to.saturating_sub(BATCH).max(end);
            let mut batch = self.all(
                "SELECT seq, record FROM audit WHERE seq >= ?1 AND seq < ?2 ORDER BY seq DESC",
                (begin, found.looked_to),
                |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)),
            )?;
            found.looked_to = begin;
            if !everything {
                batch.retain(|(_, record)| filter.takes(record).is_some());
            }
            let left = limit - found.records.len();
            if batch.len() > left {
                batch.truncate(left);
                found.looked_to = batch.last().map_or(begin, |(seq, _)| *seq);
            }
            found.records.extend(batch);
        }
        Ok(found)
    }

    /// The records about one thing, by the index of objects.
    fn records_of(
        &self,
        filter: &RecordFilter,
        object: &str,
        (from, before): (u64, u64),
        limit: usize,
    ) -> Result<Found, ReadError> {
        let mut records = self.all(
            "SELECT seq, record FROM audit
             WHERE object = ?1 AND seq >= ?2 AND seq < ?3
             ORDER BY seq DESC LIMIT ?4",
            (object, from, before, LOOKED_AT_MAX),
            |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)),
        )?;
        let all_looked_at = (records.len() as u64) < LOOKED_AT_MAX;
        let mut looked_to = records.last().map_or(from, |(seq, _)| *seq);
        if all_looked_at {
            looked_to = from;
        }
        records.retain(|(_, record)| filter.takes(record).is_some());
        if records.len() > limit {
            records.truncate(limit);
            looked_to = records.last().map_or(from, |(seq, _)| *seq);
        }
        Ok(Found { records, looked_to })
    }

    /// The number of the newest record of what was decided about a thing. That something was refused decides nothing.
    pub fn newest_record_about(&self, object: &str) -> Result<Option<u64>, ReadError> {
        self.one(NEWEST_DECISION, [object], |row| row.get(0))
    }

    /// The newest records about any of some things, at most `limit`. For each thing the index is read no further.
    pub fn records_about(
        &self,
        objects: &[String],
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        let sql =
            "SELECT seq FROM audit WHERE object = ?1 AND seq >= ?2 ORDER BY seq DESC LIMIT ?3";
        let first = self.first_here()?;
        let mut numbers: Vec<u64> = Vec::new();
        for object in objects {
            let params = (object, first, limit);
            numbers.extend(self.all(sql, params, |row| row.get::<_, u64>(0))?);
        }
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        numbers.dedup();
        numbers.truncate(limit);
        let mut records = Vec::with_capacity(numbers.len());
        for seq in numbers {
            let sql = "SELECT record FROM audit WHERE seq = ?1";
            let record = self.one(sql, [seq], |row| row.get::<_, Vec<u8>>(0))?;
            records.extend(record.map(|record| (seq, record)));
        }
        Ok(records)
    }

    /// When a record was written.
    pub fn record_time(&self, seq: u64) -> Result<Option<Timestamp>, ReadError> {
        let record = self.one("SELECT record FROM audit WHERE seq = ?1", [seq], |row| {
            row.get::<_, Vec<u8>>(0)
        })?;
        let record = record.and_then(|record| serde_json::from_slice::<Record>(&record).ok());
        Ok(record.map(|record| record.time))
    }

    /// When the newest record was written.
    pub fn last_record_time(&self) -> Result<Option<Timestamp>, ReadError> {
        let record = self.last_record()?;
        let record = record.and_then(|record| serde_json::from_slice::<Record>(&record).ok());
        Ok(record.map(|record| record.time))
    }

    /// When the first record was written that is here.
    pub fn first_record_time(&self) -> Result<Option<Timestamp>, ReadError> {
        self.record_time(self.first_here()?)
    }

    /// The numbers of the newest records with which home time went back, the newest first: records about `clock:…` that say so.
    fn turns_back(&self) -> Result<Vec<u64>, ReadError> {
        let records = self.all(
            "SELECT seq, record FROM audit WHERE object >= 'clock:' AND object < 'clock;'
             ORDER BY seq DESC LIMIT ?1",
            [TURNS_LOOKED_AT],
            |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)),
        )?;
        let is_back = |record: &[u8]| {
            serde_json::from_slice::<Record>(record)
                .is_ok_and(|record| record.details.get("back") == Some(&true.into()))
        };
        Ok(records
            .into_iter()
            .filter_map(|(seq, record)| is_back(&record).then_some(seq))
            .collect())
    }

    /// The number after the last of `size` records that is before a moment; the first here, if none of those here is. Where home time never went back, all from there on
    /// are not.
    pub fn first_record_at(&self, moment: Timestamp, size: u64) -> Result<u64, ReadError> {
        let (mut end, first) = (size, self.first_here()?);
        let here = first..size;
        let turns = self.turns_back()?.into_iter();
        for begin in turns.filter(|seq| here.contains(seq)).chain([first]) {
            let found = self.first_between(moment, (begin, end))?;
            if found > begin {
                return Ok(found);
            }
            end = begin;
        }
        Ok(first)
    }

    /// The first of these records, whose times rise, that is not before a moment.
    fn first_between(
        &self,
        moment: Timestamp,
        (mut low, mut high): (u64, u64),
    ) -> Result<u64, ReadError> {
        while low < high {
            let middle = low + (high - low) / 2;
            if self.record_time(middle)?.is_some_and(|time| time < moment) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
