//! Backups: a copy of the home as one age file, and back.
//!
//! | step | where |
//! | --- | --- |
//! | the database is copied while the writer goes on | `snapshot` |
//! | copy, slots, journal and checkpoint become one encrypted stream | `container` |
//! | the stream becomes the files of a home again | `unpack` |
//! | whose keys open it | `recipient` |
//! | the journal of the lost machine comes to that of the backup | `rejoin` |
//! | parts of the journal lie beside it | `segment` |

mod container;
mod error;
mod own;
mod recipient;
mod rejoin;
mod segment;
mod snapshot;
mod unpack;

pub use error::BackupError;
pub use own::{TRIAL_DIR, open_unpacked};
pub use recipient::{Identity, InvalidRecipient, Recipient};
pub use rejoin::{JournalGiven, add_journal, begin_run};
pub use segment::{open_lines, seal_lines};
pub use snapshot::{SNAPSHOT_FILE, Snapshot};
pub use unpack::{Unpacked, header_opens, peek, unpack};
