//! Who sees standard output: a person at a terminal, the system's journal, or a program.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};

use rustix::net::{SocketAddrUnix, getpeername};

use crate::failure::{Failure, code};

/// The variable in which systemd names the device and inode of the stream that goes to its journal.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// Whether a person sees it. What init or a container's engine has started has nobody in front of it, even on a terminal:
/// what it prints there is kept in a log.
pub fn is_person() -> bool {
    io::stdout().is_terminal() && is_started_by_somebody(std::process::id(), parent_id())
}

/// Refuses to print what opens something, or makes its reader a person of the home, where others read it, too.
pub fn may_see(what: &str) -> Result<(), Failure> {
    let named = std::env::var(JOURNAL_STREAM).unwrap_or_default();
    let stdout = rustix::fs::fstat(io::stdout());
    let is_named = stdout.is_ok_and(|stdout| is_journal(&named, stdout.st_dev, stdout.st_ino));
    // The variable is gone where `sudo` comes in between; the stream is the same.
    if is_named || peer().is_some_and(|path| is_journals(&path)) {
        return Err(Failure::local(
            code::SYSTEM,
            &format!("The {what} is not printed, and nothing was done."),
            "Standard output goes to the system's journal, which others read.".into(),
            "Run it in a terminal, or send its output to a file that only you can read.",
        ));
    }
    Ok(())
}

/// Where standard output goes, if that is a socket with a path.
fn peer() -> Option<PathBuf> {
    let peer = SocketAddrUnix::try_from(getpeername(io::stdout()).ok()??).ok()?;
    let path = peer.path_bytes()?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

fn is_journals(path: &Path) -> bool {
    path.ends_with("systemd/journal/stdout") || path.ends_with("systemd/journal/socket")
}

fn is_started_by_somebody(own: u32, parent: u32) -> bool {
    own != 1 && parent > 1
}

fn is_journal(named: &str, device: u64, inode: u64) -> bool {
    named == format!("{device}:{inode}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_process_of_a_container_has_nobody_in_front_of_it() {
        assert!(is_started_by_somebody(812, 640));
        for (own, parent) in [(1, 0), (7, 1), (812, 0)] {
            assert!(!is_started_by_somebody(own, parent), "{own} of {parent}");
        }
    }

    #[test]
    fn the_journal_is_known_by_the_path_of_its_socket() {
        assert!(is_journals(Path::new("/run/systemd/journal/stdout")));
        assert!(!is_journals(Path::new("/run/user/1000/other")));
        assert_eq!(peer(), None, "a test's output goes elsewhere");
    }

    #[test]
    fn the_journal_is_known_by_its_device_and_inode() {
        assert!(is_journal("8:12345", 8, 12_345));
        for named in ["", "8:1234", "9:12345", "12345"] {
            assert!(!is_journal(named, 8, 12_345), "{named}");
        }
    }
}
