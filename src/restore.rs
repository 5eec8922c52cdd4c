//! `hearthkey restore`: makes a home again out of a backup.

use std::path::PathBuf;

use clap::Args;
use hearthkey_gateway::{Restored, Sources};
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Failure, code};
use crate::table::facts;
use crate::words;

/// What `restore` is told.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The journal of the lost machine: its revocations.journal, or a directory with the files hearthkey-…-journal-….age.
    /// What it issued, renewed, suspended and revoked after the backup holds again. Without this option, the files beside
    /// the backup are used.
    #[arg(long, value_name = "FILE|DIR")]
    journal: Option<PathBuf>,
    /// A checkpoint of the log that a device or another machine has kept: a journal that was shortened is noticed by it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

/// What `restore --json` answers.
#[derive(Serialize)]
struct Answer<'a> {
    home: &'a str,
    data_dir: String,
    made_at: &'a str,
    log_size: u64,
    revocations_added: usize,
    foreign_lines: usize,
    journal_is_newer: bool,
    journal_at: Option<String>,
    journal_unreadable: &'a [String],
    renewed: Option<u64>,
    enrolled: Option<u64>,
    suspended: Option<u64>,
    slots: &'a [String],
    unknown: &'a str,
    doubt: Option<&'a str>,
}

impl Restore {
    /// Restores the home, and says what it does not know.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let data_dir = context.data_dir()?;
        let words = words::recovery_code()?;
        let sources = Sources {
            file: &self.file,
            journal: self.journal.as_deref(),
            checkpoint: self.checkpoint.as_deref(),
        };
        let restored = hearthkey_gateway::restore(&data_dir, sources, &words)
            .await
            .map_err(|error| {
                Failure::with_cause(
                    code::RESTORE,
                    "The home was not restored.",
                    &error,
                    "Check the file, the recovery code and the data directory.",
                )
            })?;
        let answer = Answer {
            home: &restored.home,
            data_dir: data_dir.display().to_string(),
            made_at: &restored.made_at,
            log_size: restored.log_size,
            revocations_added: restored.revocations_added,
            foreign_lines: restored.foreign_lines,
            journal_is_newer: restored.journal_is_newer,
            journal_at: journal_at(&restored),
            journal_unreadable: &restored.journal_unreadable,
            renewed: restored.brought.as_ref().map(|its| its.renewed),
            enrolled: restored.brought.as_ref().map(|its| its.enrolled),
            suspended: restored.brought.as_ref().map(|its| its.suspended),
            slots: &restored.slots,
            unknown: &restored.unknown,
            doubt: restored.doubt.as_deref(),
        };
        let shown = context
            .output
            .answer(&answer, || text(&restored, &answer.data_dir));
        shown?;
        for why in &restored.journal_unreadable {
            context
                .output
                .aside(&format!("WARNING: a part of the journal is missing: {why}"));
        }
        if let Some(doubt) = &restored.doubt {
            context.output.aside(&format!("WARNING: {doubt}"));
        }
        Ok(())
    }
}

fn journal_at(restored: &Restored) -> Option<String> {
    let at = restored.journal_at.as_ref();
    at.map(|at| at.display().to_string())
}

fn text(restored: &Restored, data_dir: &str) -> String {
    let added = (restored.revocations_added > 0).then(|| restored.revocations_added.to_string());
    let foreign = (restored.foreign_lines > 0)
        .then(|| format!("{} were not written by this home", restored.foreign_lines));
    let shown = facts(&[
        ("home", Some(restored.home.clone())),
        ("in", Some(data_dir.to_owned())),
        ("backup of", Some(restored.made_at.clone())),
        ("log records", Some(restored.log_size.to_string())),
        ("journal", journal_at(restored)),
        ("revocations from the journal", added),
        ("lines in the journal", foreign),
        ("unsealed with", Some(restored.slots.join(", "))),
    ]);
    format!(
        "{shown}\n\n{}\n\nStart it with the same --host names and the same ports as before: `hearthkey run`.",
        restored.unknown
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_home_says_what_it_does_not_know_and_how_it_is_started() {
        let told = text(
            &Restored {
                home: "attic-1".into(),
                made_at: "2026-01-31T12:00:00Z".into(),
                log_size: 9,
                revocations_added: 0,
                foreign_lines: 0,
                journal_is_newer: false,
                journal_at: None,
                journal_unreadable: Vec::new(),
                brought: None,
                slots: vec!["passphrase".into(), "recovery-code".into()],
                unknown: "It does not know much. Look.".into(),
                doubt: None,
            },
            "/var/lib/hearthkey",
        );
        assert!(
            told.contains("unsealed with  passphrase, recovery-code"),
            "{told}"
        );
        assert!(
            told.contains("\n\nIt does not know much. Look.\n\n"),
            "{told}"
        );
        assert!(!told.contains("from the journal"), "{told}");
    }
}
