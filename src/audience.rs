//! Who sees standard output: a person at a terminal, the system's journal, or a program.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::net::{SocketAddrUnix, getpeername};

use crate::failure::{Failure, code};

/// The variable in which systemd names the device and inode of the stream that goes to its journal.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// What container engines put into the file systems of their containers.
const CONTAINER_MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Whether a person sees it. What init or a container's engine has started has nobody in front of it, even on a terminal:
/// what it prints there is kept in a log. Where this is unknown, nobody is there.
pub fn is_person() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    io::stdout().is_terminal()
        && is_started_by_somebody(std::process::id(), parent_id())
        && is_in_a_session_of_somebodys(&stat)
        && !CONTAINER_MARKS.iter().any(|mark| Path::new(mark).exists())
}

/// Refuses to print what opens something, or makes its reader a person of the home, where others read it, too.
pub fn may_see(what: &str) -> Result<(), Failure> {
    may_take(what)?;
    // What a pipe leads to cannot be seen. In a service of systemd, with nobody in front, it is the journal as a rule.
    let is_service = std::env::var_os(JOURNAL_STREAM).is_some_and(|named| !named.is_empty());
    let leads_on = rustix::fs::fstat(io::stdout()).is_ok_and(|stdout| is_pipe(stdout.st_mode));
    match is_service && leads_on && !is_somebody_in_front() {
        true => Err(not_printed(
            what,
            "Standard output is a pipe in a service of systemd, and may lead to the journal, which others read.",
        )),
        false => Ok(()),
    }
}

/// The same for what programs take through a pipe: it is refused where standard output is the journal itself.
pub fn may_take(what: &str) -> Result<(), Failure> {
    let named = std::env::var(JOURNAL_STREAM).unwrap_or_default();
    let stdout = rustix::fs::fstat(io::stdout());
    let is_named = stdout.is_ok_and(|stdout| is_journal(&named, stdout.st_dev, stdout.st_ino));
    // The variable is gone where `sudo` comes in between; the stream is the same.
    match is_named || peer().is_some_and(|path| is_journals(&path)) {
        true => Err(not_printed(
            what,
            "Standard output goes to the system's journal, which others read.",
        )),
        false => Ok(()),
    }
}

fn not_printed(what: &str, why: &str) -> Failure {
    Failure::local(
        code::SYSTEM,
        &format!("The {what} is not printed, and nothing was done."),
        why.into(),
        "Run it in a terminal, or send its output to a file that only you can read.",
    )
}

/// Whether a terminal is there beside standard output: desktops hand the variable of the journal on to it.
fn is_somebody_in_front() -> bool {
    io::stdin().is_terminal() || io::stderr().is_terminal()
}

fn is_pipe(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Fifo
}

/// Whether a process has a terminal, in a session that another than init leads: the fourth and the fifth field after the name
/// in `/proc/PID/stat` (proc_pid_stat(5)). A leader outside the container is 0.
fn is_in_a_session_of_somebodys(stat: &str) -> bool {
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = fields.split_ascii_whitespace().skip(3);
    let mut next = || fields.next()?.parse::<i64>().ok();
    matches!((next(), next()), (Some(leader), Some(terminal)) if leader > 1 && terminal != 0)
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
    fn a_session_that_init_or_nobody_leads_has_nobody_in_front_of_it() {
        let stat = |leader: i64, terminal: i64| {
            format!("812 (a (b) c) S 640 812 {leader} {terminal} 812 4194304 0")
        };
        assert!(is_in_a_session_of_somebodys(&stat(600, 34816)));
        for (leader, terminal) in [(1, 34816), (0, 34816), (600, 0)] {
            let stat = stat(leader, terminal);
            assert!(!is_in_a_session_of_somebodys(&stat), "{stat}");
        }
        for damaged in ["", "812 (a", "812 (a) S 1", "812 (a) S 1 2 x y"] {
            assert!(!is_in_a_session_of_somebodys(damaged), "{damaged}");
        }
    }

    #[test]
    fn a_pipe_is_told_from_a_file_and_a_socket() {
        assert!(is_pipe(0o010_600));
        assert!(!is_pipe(0o100_600) && !is_pipe(0o140_600));
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
