//! One run of a program: a clean environment, one input, one bounded output, and no child left behind.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getuid, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::error::BridgeError;
use crate::limits::ANSWER_MAX_BYTES;
use crate::line::within;

/// What a program finds in its environment, whatever ours holds.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("LANG", "C.UTF-8"),
];

/// What a program left.
pub(crate) struct Output {
    pub(crate) stdout: Zeroizing<Vec<u8>>,
    /// Its beginning; the rest was read and thrown away.
    pub(crate) stderr: Zeroizing<Vec<u8>>,
    pub(crate) succeeded: bool,
}

/// Links that are followed from a program's path.
const LINKS_MAX: usize = 16;

/// Why this file must not be run, if so. A user who can write it, or replace it, could read the secrets that
/// it is given.
pub(crate) fn objection(program: &Path) -> Option<String> {
    if !program.is_absolute() {
        return Some("is no absolute path".into());
    }
    let found = match std::fs::metadata(program) {
        Ok(found) => found,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Some("is no executable file".into());
    }
    let places = match places_of(program) {
        Ok(places) => places,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    places
        .iter()
        .find_map(|place| match std::fs::metadata(place) {
            Ok(found) => belongs_to_others(place, &found),
            Err(error) => Some(format!("cannot be read: {}: {error}", place.display())),
        })
}

/// The file, and every directory in which somebody could put another in its place: above its path as it is written, above
/// what each link there leads to, and above the file itself.
fn places_of(program: &Path) -> io::Result<Vec<PathBuf>> {
    let mut places: Vec<PathBuf> = Vec::new();
    let mut path = program.to_owned();
    for _ in 0..LINKS_MAX {
        places.extend(path.ancestors().map(Path::to_owned));
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    let real = std::fs::canonicalize(program)?;
    places.extend(real.ancestors().map(Path::to_owned));
    places.sort();
    places.dedup();
    Ok(places)
}

fn belongs_to_others(place: &Path, found: &Metadata) -> Option<String> {
    let place = place.display();
    // In a sticky directory nobody renames what belongs to another.
    let is_sticky = found.is_dir() && found.permissions().mode() & 0o1000 != 0;
    if found.permissions().mode() & 0o022 != 0 && !is_sticky {
        return Some(format!(
            "is not safe: {place} can be written by others: chmod go-w {place}"
        ));
    }
    (found.uid() != 0 && found.uid() != getuid().as_raw()).then(|| {
        format!("is not safe: {place} belongs to another user: move the program, or chown {place}")
    })
}

/// Kills a program's whole process group when it is dropped, however the work ended.
///
/// It is dropped before the program is waited for, so that its id cannot have gone to somebody else.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is left in it: just as good.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// Runs a program: `input` to its standard input, and what it says until it ends.
pub(crate) async fn run(
    program: &Path,
    input: Zeroizing<Vec<u8>>,
    limit: Duration,
) -> Result<Output, BridgeError> {
    let at = program.display().to_string();
    if let Some(why) = objection(program) {
        return Err(BridgeError::Forbidden {
            at,
            why: format!("it {why}"),
        });
    }
    let unreachable = |error: io::Error| BridgeError::Unreachable {
        at: at.clone(),
        why: error.to_string(),
    };
    let mut child = Command::new(program)
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(unreachable)?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = pid
        .and_then(Pid::from_raw)
        .ok_or(BridgeError::ClosedEarly { at: at.clone() })?;
    let group = Group(pid);
    let ended = end_of(pid);
    let talked = within(limit, &at, talk(&mut child, input, ended, group, &at)).await;
    let status = child.wait().await.map_err(unreachable)?;
    let (stdout, stderr) = talked?;
    if status.code().is_none() {
        // Killed: whatever it has said, it was not done saying it.
        return Err(BridgeError::ClosedEarly { at });
    }
    Ok(Output {
        stdout,
        stderr,
        succeeded: status.success(),
    })
}

/// When a program has ended. It is not reaped by this, so that its id stays its own. The thread that waits is bounded by
/// the program's own life, which [`Group`] ends.
fn end_of(pid: Pid) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        // An error means that there is nothing to wait for any more.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), ended));
    })
}

type Heard = (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// Writes, reads both outputs, and kills what the program leaves behind as soon as it has ended: a child that holds the
/// outputs open would be waited for otherwise.
async fn talk(
    child: &mut Child,
    input: Zeroizing<Vec<u8>>,
    mut ended: JoinHandle<()>,
    group: Group,
    at: &str,
) -> Result<Heard, BridgeError> {
    let missing = || BridgeError::ClosedEarly { at: at.to_owned() };
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let exchange = async {
        tokio::try_join!(
            async {
                // A program that does not listen says so by its answer.
                let _ = stdin.write_all(&input).await;
                drop(stdin);
                Ok(())
            },
            all_of(stdout, at),
            beginning_of(stderr, at),
        )
    };
    let mut exchange = pin!(exchange);
    let ((), stdout, stderr) = tokio::select! {
        heard = &mut exchange => {
            let heard = heard?;
            // It has said all that it can; now it ends, or the time does.
            let _ = ended.await;
            heard
        }
        _ = &mut ended => {
            drop(group);
            exchange.await?
        }
    };
    Ok((stdout, stderr))
}

fn broken(at: &str) -> impl Fn(io::Error) -> BridgeError + '_ {
    move |_| BridgeError::ClosedEarly { at: at.to_owned() }
}

async fn all_of(
    output: impl AsyncRead + Unpin,
    at: &str,
) -> Result<Zeroizing<Vec<u8>>, BridgeError> {
    let mut heard = Zeroizing::new(Vec::with_capacity(ANSWER_MAX_BYTES + 1));
    let most = ANSWER_MAX_BYTES as u64 + 1;
    output
        .take(most)
        .read_to_end(&mut heard)
        .await
        .map_err(broken(at))?;
    match heard.len() > ANSWER_MAX_BYTES {
        true => Err(BridgeError::TooLong {
            at: at.to_owned(),
            most_bytes: ANSWER_MAX_BYTES,
        }),
        false => Ok(heard),
    }
}

async fn beginning_of(
    mut output: impl AsyncRead + Unpin,
    at: &str,
) -> Result<Zeroizing<Vec<u8>>, BridgeError> {
    let mut heard = Zeroizing::new(Vec::with_capacity(ANSWER_MAX_BYTES));
    let bounded = &mut output;
    let most = ANSWER_MAX_BYTES as u64;
    bounded
        .take(most)
        .read_to_end(&mut heard)
        .await
        .map_err(broken(at))?;
    tokio::io::copy(&mut output, &mut tokio::io::sink())
        .await
        .map_err(broken(at))?;
    Ok(heard)
}
