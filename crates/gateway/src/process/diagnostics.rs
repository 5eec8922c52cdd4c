//! What the program says about itself on standard error.
//!
//! The gateway waits for nobody who keeps that: a log that has stopped, because its disk hangs or nobody reads its pipe, must
//! not hold up a revocation. So a thread of its own writes, and what it does not come to is lost, and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Starts writing diagnostics. RUST_LOG decides how much, and otherwise the number of `-v`. What is given back is kept until
/// the program ends, which it does not before what it has said is written, or before long.
#[must_use]
pub fn start(verbose: u8, service: bool) -> Option<Log> {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(directives(verbose, service)));
    // A command has said what it has to say before it ends, and nothing depends on it.
    let log = service.then(|| Log::begin(io::stderr())).flatten();
    let writer = match log.clone() {
        Some(log) => BoxMakeWriter::new(move || log.clone()),
        None => BoxMakeWriter::new(io::stderr),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(|event| {
            may_be_told(event.target(), event.level())
        }))
        .with(fmt::layer().with_writer(writer))
        .init();
    log
}

/// Messages that wait to be written, in number and in bytes. One more is lost.
const WAITING_MAX: usize = 4096;
const WAITING_MAX_BYTES: usize = 1024 * 1024;
/// How long the program's end waits for what was said.
const FAREWELL: Duration = Duration::from_secs(1);

enum Said {
    Text(Vec<u8>),
    /// Everything before it has been written, when this is answered.
    All(SyncSender<()>),
}

/// A log that is written by a thread of its own.
#[derive(Clone)]
pub struct Log {
    said: SyncSender<Said>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    /// Texts that were not taken, since one was.
    lost: AtomicU64,
}

impl Log {
    /// None if there is no thread to be had.
    fn begin(to: impl Write + Send + 'static) -> Option<Self> {
        let (said, heard) = sync_channel(WAITING_MAX);
        let counts = Arc::new(Counts::default());
        let its = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || its.write_all(&heard, to))
            .ok()?;
        Some(Self { said, counts })
    }

    /// Waits until what was said is written, but not for long.
    pub fn finish(self) {
        let (done, all) = sync_channel(1);
        if self.said.try_send(Said::All(done)).is_ok() {
            let _ = all.recv_timeout(FAREWELL);
        }
    }
}

impl Counts {
    fn write_all(&self, heard: &Receiver<Said>, mut to: impl Write) {
        // A reader that does not read does not block the gateway.
        for said in heard {
            match said {
                Said::Text(text) => {
                    let _ = to.write_all(&text);
                    self.waiting_bytes.fetch_sub(text.len(), Ordering::Relaxed);
                }
                Said::All(done) => {
                    let _ = to.flush();
                    let _ = done.try_send(());
                }
            }
        }
    }
}

impl Write for Log {
    /// Takes all of it at once, or loses it.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let Counts {
            waiting_bytes,
            lost,
        } = &*self.counts;
        let before = lost.swap(0, Ordering::Relaxed);
        let mut whole = match before {
            0 => Vec::new(),
            _ => {
                format!("{before} messages before this one were lost: they were not read\n").into()
            }
        };
        whole.extend_from_slice(text);
        let length = whole.len();
        let waiting = waiting_bytes.fetch_add(length, Ordering::Relaxed);
        let has_room = waiting + length <= WAITING_MAX_BYTES;
        if !has_room || self.said.try_send(Said::Text(whole)).is_err() {
            waiting_bytes.fetch_sub(length, Ordering::Relaxed);
            lost.fetch_add(before + 1, Ordering::Relaxed);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
/// nothing below `info` is logged, whatever RUST_LOG asks for.
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
        let mut log = Log::begin(ours).unwrap();
        let line = vec![b'x'; 64 * 1024];
        while log.counts.lost.load(Ordering::Relaxed) < 3 {
            log.write_all(&line).unwrap();
        }
        let reader = std::thread::spawn(move || {
            let mut all = String::new();
            theirs.read_to_string(&mut all).map(|_| all)
        });
        // There is room again once somebody reads.
        while log.counts.waiting_bytes.load(Ordering::Relaxed) + line.len() > WAITING_MAX_BYTES {
            std::thread::yield_now();
        }
        log.write_all(b"now").unwrap();
        log.clone().finish();
        drop(log);
        let all = reader.join().unwrap().unwrap();
        let told = "3 messages before this one were lost: they were not read\nnow";
        assert!(all.ends_with(told), "{}", all.trim_start_matches('x'));
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
