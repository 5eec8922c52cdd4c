//! Which rows of a queue have changed. The library's queues have no names for their messages, so
//! what is in the database and what is in the queue are compared by content.

use std::hash::{DefaultHasher, Hash, Hasher};

use mqtt5::broker::storage::QueuedMessage;

/// Where the row numbers begin: in the middle, because messages are also put back in front.
const FIRST: u64 = 1 << 62;

/// One queue as the gateway has it.
#[derive(Debug, Default)]
pub(crate) struct QueueRows {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    number: u64,
    identity: u64,
}

/// What must be done to the rows. Deletions come first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueDiff {
    /// Row numbers to delete.
    pub(crate) delete: Vec<u64>,
    /// Row numbers to put, each with the place of its message in the queue.
    pub(crate) put: Vec<(u64, usize)>,
}

impl QueueRows {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.rows.iter().map(|row| row.number)
    }

    /// Adds a row that the gateway has. Rows are added in the order of their numbers.
    pub(crate) fn restored(&mut self, number: u64, identity: u64) {
        self.rows.push(Row { number, identity });
    }

    /// Makes the rows those of a queue with these messages, and says what that takes.
    pub(crate) fn become_queue(&mut self, identities: &[u64]) -> QueueDiff {
        let found = self.find(identities);
        let first = found.iter().position(Option::is_some);
        let run = first.map_or(0, |first| {
            found[first..].iter().take_while(|f| f.is_some()).count()
        });
        let after = first.unwrap_or(0) + run;
        let scattered = found[after..].iter().any(Option::is_some);
        let (front, run) = match first {
            Some(front) if !scattered => (front, run),
            _ => (0, 0),
        };

        let kept: Vec<Row> = found[front..front + run]
            .iter()
            .flatten()
            .map(|at| self.rows[*at])
            .collect();
        let delete = self
            .rows
            .iter()
            .filter(|row| !kept.contains(row))
            .map(|row| row.number)
            .collect();
        let before = kept.first().map_or(FIRST, |row| row.number) - front as u64;
        let behind = match (kept.last(), self.rows.last()) {
            (Some(last), _) | (None, Some(last)) => last.number + 1,
            (None, None) => FIRST,
        };
        let new_row = |place: usize| match place < front {
            true => Row {
                number: before + place as u64,
                identity: identities[place],
            },
            false => Row {
                number: behind + (place - front - run) as u64,
                identity: identities[place],
            },
        };
        let new_places = (0..front).chain(front + run..identities.len());
        let put: Vec<(u64, usize)> = new_places.map(|at| (new_row(at).number, at)).collect();
        let mut rows: Vec<Row> = (0..front).map(new_row).collect();
        rows.extend(kept);
        rows.extend((front + run..identities.len()).map(new_row));
        self.rows = rows;
        QueueDiff { delete, put }
    }

    /// For each message its row, as far as they follow each other in the same order.
    fn find(&self, identities: &[u64]) -> Vec<Option<usize>> {
        let mut from = 0;
        identities
            .iter()
            .map(|identity| {
                let at = self.rows[from..]
                    .iter()
                    .position(|row| row.identity == *identity)?;
                from += at + 1;
                Some(from - 1)
            })
            .collect()
    }
}

/// A message's content in one number.
pub(crate) fn identity(message: &QueuedMessage) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.topic.hash(&mut hasher);
    message.payload.hash(&mut hasher);
    (message.qos as u8, message.queued_at_secs, message.packet_id).hash(&mut hasher);
    (message.dup, message.retain).hash(&mut hasher);
    message.correlation_data.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(rows: &QueueRows) -> Vec<u64> {
        rows.numbers().collect()
    }

    #[test]
    fn appending_and_draining_touch_only_what_came_and_went() {
        let mut rows = QueueRows::default();
        let diff = rows.become_queue(&[1, 2, 3]);
        assert_eq!((diff.delete.len(), diff.put.len()), (0, 3));
        let diff = rows.become_queue(&[2, 3, 4]);
        assert_eq!(diff.delete, [FIRST]);
        assert_eq!(diff.put, [(FIRST + 3, 2)]);
        assert_eq!(rows.become_queue(&[2, 3, 4]), QueueDiff::default());
        assert_eq!(rows.become_queue(&[]).delete.len(), 3);
    }

    #[test]
    fn messages_put_back_in_front_come_before_the_rest() {
        let mut rows = QueueRows::default();
        rows.become_queue(&[5, 6]);
        let diff = rows.become_queue(&[3, 4, 5, 6, 7]);
        assert_eq!(diff.put, [(FIRST - 2, 0), (FIRST - 1, 1), (FIRST + 2, 4)]);
        assert!(numbers(&rows).is_sorted());
    }

    #[test]
    fn equal_messages_keep_one_row_each_and_any_change_keeps_the_order() {
        let mut rows = QueueRows::default();
        rows.become_queue(&[1, 1, 1, 2]);
        assert_eq!(rows.become_queue(&[1, 1, 2]).delete.len(), 1);
        for queue in [
            &[9, 1, 8, 1, 2][..],
            &[2, 1],
            &[7],
            &[7, 7, 1, 7],
            &[4, 7, 1, 5],
        ] {
            rows.become_queue(queue);
            assert_eq!(
                rows.rows.iter().map(|r| r.identity).collect::<Vec<_>>(),
                queue
            );
            let numbers = numbers(&rows);
            assert!(
                numbers.is_sorted() && numbers.windows(2).all(|w| w[0] != w[1]),
                "{numbers:?}"
            );
        }
    }
}
