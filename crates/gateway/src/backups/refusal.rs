//! What people are told of backups that are not made or do not verify.

use crate::state::failure::{Failure, sentence};

/// For who names no place, where none is set.
pub(super) fn no_place() -> Failure {
    Failure::refused(
        &"no place for backups is set",
        "Name a directory on another disk or a mounted share. On the command line: `hearthkey backup set --to /mnt/usb/backups`, or `--to` for one backup.",
    )
}

/// What is wrong with a backup, and the remedy that the error ends with.
pub(super) fn of_backup(error: &dyn std::fmt::Display) -> Failure {
    let text = error.to_string();
    match text.rsplit_once(". ") {
        Some((detail, remedy)) => Failure::backup(&detail, &sentence(&remedy)),
        None => Failure::backup(
            &text,
            "Do not rely on this backup. Make a new one, and look at the home's own findings. On the command line: `hearthkey backup create`, `hearthkey check`.",
        ),
    }
}
