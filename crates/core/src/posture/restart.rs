//! What would be gone if the gateway stopped now: what the disk does not take, and the home itself without the files that
//! open it.

use crate::finding::{Finding, FindingKind, Severity};

/// A disk with less room than this, in bytes, takes no more.
const FULL_BELOW_BYTES: u64 = 1024 * 1024;

/// Whether the disk takes what is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Disk {
    /// It took what was written last.
    #[default]
    Takes,
    /// It did not, and has no room.
    Full,
    /// It did not, for another reason.
    Fails,
}

impl Disk {
    /// A disk that did not take what was written last, by the room that it has, in bytes, if that is known.
    pub fn failing(free_bytes: Option<u64>) -> Self {
        match free_bytes {
            Some(free) if free < FULL_BELOW_BYTES => Self::Full,
            _ => Self::Fails,
        }
    }
}

/// What is wrong with the disk.
pub fn of_disk(disk: Disk, object: &str) -> Option<Finding> {
    let (what, remedy) = match disk {
        Disk::Takes => return None,
        Disk::Full => (
            "The disk is full",
            "Free the disk that the data directory is on; no restart is needed.",
        ),
        Disk::Fails => (
            "The disk cannot be written",
            "Mend the disk that the data directory is on, or free this user's quota; the gateway's own messages name the \
             error. No restart is needed.",
        ),
    };
    let kind = FindingKind::StorageUnavailable;
    let finding = Finding::new(kind, Severity::Critical, object.to_owned(), "");
    let what = format!(
        "{what}: nothing is issued, given out or recorded. Devices stay connected. A revocation works while the gateway \
         runs, and is lost when it stops before the disk has taken it."
    );
    Some(finding.saying(what, remedy))
}

/// What is wrong with the files that open the home, by the names of those that are not there or open nothing.
pub fn of_unlock_files(unusable: &[&str], object: &str) -> Option<Finding> {
    if unusable.is_empty() {
        return None;
    }
    let names = unusable.join(" and ");
    // One that is accepted is not the other.
    let kind = FindingKind::UnlockMissing;
    let finding = Finding::new(kind, Severity::Critical, object.to_owned(), &names);
    let what = format!(
        "Removed or changed since the home was opened: {names}. The keys are in memory only: once the gateway stops, the home \
         may not open again."
    );
    // A change of the unlock methods writes the slots again, out of memory.
    let instead = match unusable {
        ["unseal.key"] => {
            "make a new key file. On the command line: `hearthkey unlock add-key-file`"
        }
        _ => {
            "issue a new recovery code, which writes slots.json again. On the command line: `hearthkey unlock recovery-code`"
        }
    };
    let remedy = format!(
        "Do not stop or seal the gateway before {names} is put back from a copy of the data directory. Without a copy: {instead}."
    );
    Some(finding.saying(what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "home:attic";

    #[test]
    fn a_disk_without_room_is_called_full_and_any_other_is_not() {
        assert_eq!(Disk::failing(Some(0)), Disk::Full);
        assert_eq!(Disk::failing(Some(FULL_BELOW_BYTES)), Disk::Fails);
        assert_eq!(Disk::failing(None), Disk::Fails);
        assert_eq!(of_disk(Disk::Takes, OBJECT), None);
        let said = |disk| of_disk(disk, OBJECT).unwrap().what;
        assert!(said(Disk::Full).starts_with("The disk is full"));
        assert!(!said(Disk::Fails).contains("full"));
    }

    #[test]
    fn each_file_that_is_missing_is_another_finding() {
        assert_eq!(of_unlock_files(&[], OBJECT), None);
        let key = of_unlock_files(&["unseal.key"], OBJECT).unwrap();
        let both = of_unlock_files(&["slots.json", "unseal.key"], OBJECT).unwrap();
        assert_ne!(key.id, both.id);
        assert!(both.remedy.contains("slots.json and unseal.key"));
    }
}
