//! What the program says about itself on standard error.
//!
//! Nothing waits for whoever reads it: a log that has stopped, because its disk hangs, must not hold up a revocation.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Starts writing diagnostics. RUST_LOG decides how much, and otherwise the number of `-v`.
pub fn start(verbose: u8, service: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(directives(verbose, service)));
    tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(|event| {
            may_be_told(event.target(), event.level())
        }))
        .with(fmt::layer().with_writer(|| Unwaiting(io::stderr().lock())))
        .init();
}

/// What is written at a time, in bytes. A pipe that takes anything takes as much (pipe(7): PIPE_BUF).
const PART_BYTES: usize = 4096;

/// Texts that nobody took, since one was taken.
static LOST: AtomicU64 = AtomicU64::new(0);

/// A file that takes what it takes at once, and loses the rest.
struct Unwaiting<W>(W);

impl<W: Write + AsFd> Unwaiting<W> {
    fn takes(&self) -> bool {
        let at_once = Timespec::default();
        let mut file = [PollFd::new(&self.0, PollFlags::OUT)];
        // What cannot be asked, or has an error, says so when it is written.
        poll(&mut file, Some(&at_once)).map_or(true, |ready| ready > 0)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<bool> {
        for part in bytes.chunks(PART_BYTES) {
            if !self.takes() {
                return Ok(false);
            }
            self.0.write_all(part)?;
        }
        Ok(true)
    }
}

impl<W: Write + AsFd> Write for Unwaiting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lost = LOST.swap(0, Ordering::Relaxed);
        let told = match lost {
            0 => true,
            _ => self.put(
                format!("{lost} messages before this one were lost: nobody took them\n").as_bytes(),
            )?,
        };
        let untold = if told { 0 } else { lost };
        if !told || !self.put(bytes)? {
            LOST.fetch_add(untold + 1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.takes() {
            true => self.0.flush(),
            false => Ok(()),
        }
    }
}

/// The filter for a number of `-v`. A gateway tells what happens; a command is asked for an answer.
fn directives(verbose: u8, service: bool) -> &'static str {
    match (verbose, service) {
        (0, false) => "warn",
        (0, true) => "warn,hearthkey=info",
        (1, _) => "warn,hearthkey=debug",
        _ => "info,hearthkey=trace",
    }
}

/// Libraries may print whole packets and headers when they debug, and secrets with them: of theirs,
/// nothing below `info` is told, whatever RUST_LOG asks for.
fn may_be_told(target: &str, level: &tracing::Level) -> bool {
    target.starts_with("hearthkey") || *level <= tracing::Level::INFO
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_library_is_never_made_to_print_packets() {
        assert!(!may_be_told("rustls::client", &tracing::Level::TRACE));
        assert!(!may_be_told("hyper::proto", &tracing::Level::DEBUG));
        assert!(may_be_told("rustls::server", &tracing::Level::WARN));
        assert!(may_be_told(
            "hearthkey_gateway::revoke",
            &tracing::Level::TRACE
        ));
    }

    #[test]
    fn a_log_that_nobody_reads_holds_up_nothing_and_says_later_what_was_lost() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut log = Unwaiting(ours);
        let line = [b'x'; 2 * PART_BYTES];
        while LOST.load(Ordering::Relaxed) < 3 {
            log.write_all(&line).unwrap();
        }
        let mut taken = vec![0; 1024 * 1024];
        let length = theirs.read(&mut taken).unwrap();
        assert!(taken[..length].iter().all(|byte| *byte == b'x'));
        log.write_all(b"now").unwrap();
        drop(log);
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).unwrap();
        let rest = String::from_utf8(rest).unwrap();
        assert!(
            rest.ends_with("3 messages before this one were lost: nobody took them\nnow"),
            "{rest}"
        );
    }

    #[test]
    fn every_level_is_a_filter_that_parses() {
        for verbose in 0..4 {
            for service in [false, true] {
                assert!(
                    EnvFilter::builder()
                        .parse(directives(verbose, service))
                        .is_ok()
                );
            }
        }
    }
}
