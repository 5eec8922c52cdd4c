//! Counting audit records over time, by how they ended.
//!
//! The newest records are looked at first, and no more of them than for a search. What lies further back is known by
//! its number alone: how many records there are, but not how they ended, nor whether they fit.

use std::ops::Range;

use hearthkey_core::audit::Outcome;

use crate::log_search::{BATCH, LOOKED_AT_MAX, RecordFilter};
use crate::registry::{ReadError, Registry};

/// How many records ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// It was done.
    pub done: u64,
    /// It was refused by a rule.
    pub refused: u64,
    /// It waits for a person.
    pub held: u64,
    /// It should not have happened.
    pub alert: u64,
}

/// A part of the log that was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Records that fit; where not all were looked at, those that were, or all there are where every record fits.
    pub records: u64,
    /// How those that were looked at ended.
    pub outcomes: Outcomes,
    /// Whether every record of this part was looked at.
    pub complete: bool,
}

impl Outcomes {
    fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Done => &mut self.done,
            Outcome::Refused => &mut self.refused,
            Outcome::Held => &mut self.held,
            Outcome::Alert => &mut self.alert,
        } += 1;
    }

    fn sum(&self) -> u64 {
        self.done + self.refused + self.held + self.alert
    }
}

/// The parts between edges, which are numbers of records in their order.
struct Parts<'a> {
    edges: &'a [u64],
    outcomes: Vec<Outcomes>,
}

impl Parts<'_> {
    fn count(&mut self, seq: u64, outcome: Outcome) {
        let place = self.edges.partition_point(|edge| *edge <= seq);
        if let Some(outcomes) = place
            .checked_sub(1)
            .and_then(|place| self.outcomes.get_mut(place))
        {
            outcomes.count(outcome);
        }
    }
}

impl Registry<'_> {
    /// Counts the records that fit, between each two of these numbers, which rise. [`LOOKED_AT_MAX`] are looked at, at
    /// most, the newest first.
    pub fn count_records(
        &self,
        filter: &RecordFilter,
        edges: &[u64],
    ) -> Result<Vec<Counted>, ReadError> {
        self.count_at_most(filter, edges, LOOKED_AT_MAX)
    }

    fn count_at_most(
        &self,
        filter: &RecordFilter,
        edges: &[u64],
        looked_at_max: u64,
    ) -> Result<Vec<Counted>, ReadError> {
        let (Some(from), Some(before)) = (edges.first(), edges.last()) else {
            return Ok(Vec::new());
        };
        let mut parts = Parts {
            edges,
            outcomes: vec![Outcomes::default(); edges.len() - 1],
        };
        let range = *from..*before;
        let looked_from = match filter.one_object() {
            Some(object) => self.count_of(filter, object, range, looked_at_max, &mut parts)?,
            None => self.count_all(filter, range, looked_at_max, &mut parts)?,
        };
        let counted = edges
            .windows(2)
            .zip(&parts.outcomes)
            .map(|(edges, outcomes)| Counted {
                records: match filter.is_empty() {
                    true => edges[1] - edges[0],
                    false => outcomes.sum(),
                },
                outcomes: *outcomes,
                complete: edges[0] >= looked_from || edges[0] == edges[1],
            });
        Ok(counted.collect())
    }

    /// Counts from the newest on; gives the number of the oldest record that was looked at.
    fn count_all(
        &self,
        filter: &RecordFilter,
        range: Range<u64>,
        looked_at_max: u64,
        parts: &mut Parts<'_>,
    ) -> Result<u64, ReadError> {
        let end = range.end.saturating_sub(looked_at_max).max(range.start);
        let sql = "SELECT seq, record FROM audit WHERE seq >= ?1 AND seq < ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut looked_from = range.end;
        while looked_from > end {
            let begin = looked_from.saturating_sub(BATCH).max(end);
            let mut rows = statement.query((begin, looked_from))?;
            while let Some(row) = rows.next()? {
                let record = row.get_ref(1)?.as_blob().unwrap_or_default();
                if let Some(glance) = filter.takes(record) {
                    parts.count(row.get(0)?, glance.outcome);
                }
            }
            looked_from = begin;
        }
        Ok(looked_from)
    }

    /// Counts the records about one thing, by the index of objects.
    fn count_of(
        &self,
        filter: &RecordFilter,
        object: &str,
        range: Range<u64>,
        looked_at_max: u64,
        parts: &mut Parts<'_>,
    ) -> Result<u64, ReadError> {
        let sql = "SELECT seq, record FROM audit WHERE object = ?1 AND seq >= ?2 AND seq < ?3
             ORDER BY seq DESC LIMIT ?4";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query((object, range.start, range.end, looked_at_max))?;
        let (mut looked_at, mut looked_from) = (0, range.end);
        while let Some(row) = rows.next()? {
            (looked_at, looked_from) = (looked_at + 1, row.get(0)?);
            let record = row.get_ref(1)?.as_blob().unwrap_or_default();
            if let Some(glance) = filter.takes(record) {
                parts.count(looked_from, glance.outcome);
            }
        }
        Ok(match looked_at < looked_at_max {
            true => range.start,
            false => looked_from,
        })
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A log of 100 records: each tenth is refused, each second about the lamp.
    fn log() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let schema =
            "CREATE TABLE audit (seq INTEGER PRIMARY KEY, record BLOB, hashes BLOB, object TEXT)";
        connection.execute_batch(schema).unwrap();
        for seq in 0..100 {
            let outcome = if seq % 10 == 0 { "refused" } else { "done" };
            let object = if seq % 2 == 0 {
                "device:lamp"
            } else {
                "device:hall"
            };
            let record = format!(
                r#"{{"action":"a","actor":{{"name":"uid:1","role":"r"}},"details":{{"x":1}},"object":"{object}","outcome":"{outcome}","seq":{seq},"time":"2026-01-01T00:00:00Z"}}"#
            );
            let sql = "INSERT INTO audit VALUES (?1, ?2, x'', ?3)";
            connection
                .execute(sql, (seq, record.as_bytes(), object))
                .unwrap();
        }
        connection
    }

    fn counted(filter: &RecordFilter, edges: &[u64], at_most: u64) -> Vec<(u64, u64, u64, bool)> {
        let log = log();
        let counted = Registry(&log)
            .count_at_most(filter, edges, at_most)
            .unwrap();
        counted
            .iter()
            .map(|part| {
                (
                    part.records,
                    part.outcomes.done,
                    part.outcomes.refused,
                    part.complete,
                )
            })
            .collect()
    }

    #[test]
    fn records_are_counted_by_how_they_ended_in_each_part() {
        let all = RecordFilter::default();
        let parts = counted(&all, &[0, 50, 50, 100], 1000);
        assert_eq!(
            parts,
            [(50, 45, 5, true), (0, 0, 0, true), (50, 45, 5, true)]
        );
        assert_eq!(counted(&all, &[95, 100], 1000), [(5, 5, 0, true)]);
        assert_eq!(counted(&all, &[0, 100, 100], 1000)[1], (0, 0, 0, true));
    }

    #[test]
    fn only_what_fits_is_counted_and_one_object_by_its_index() {
        let refused = RecordFilter {
            outcome: Some("refused".into()),
            ..RecordFilter::default()
        };
        assert_eq!(counted(&refused, &[0, 100], 1000), [(10, 0, 10, true)]);
        let lamp = RecordFilter {
            object: Some("device:lamp".into()),
            ..RecordFilter::default()
        };
        let parts = [(25, 20, 5, true), (25, 20, 5, true)];
        assert_eq!(counted(&lamp, &[0, 50, 100], 1000), parts);
        let devices = RecordFilter {
            object: Some("device:l*".into()),
            ..RecordFilter::default()
        };
        assert_eq!(counted(&devices, &[0, 50, 100], 1000), parts);
    }

    #[test]
    fn beyond_the_bound_the_number_is_known_and_how_they_ended_is_not() {
        let all = RecordFilter::default();
        let parts = counted(&all, &[0, 50, 100], 60);
        assert_eq!(parts, [(50, 9, 1, false), (50, 45, 5, true)]);
        let lamp = RecordFilter {
            object: Some("device:lamp".into()),
            ..RecordFilter::default()
        };
        let parts = counted(&lamp, &[0, 50, 100], 30);
        assert_eq!(parts, [(5, 4, 1, false), (25, 20, 5, true)]);
    }
}
