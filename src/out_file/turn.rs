//! Files that belong together are put in their places by one program at a time.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::directory_of;

/// How often it is looked whether it is one's turn, and how long is waited in between: a turn takes no longer than to give
/// files their names.
const LOOKS: u32 = 500;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// The right to put several files in their places together, given up when it is dropped.
pub struct Turn {
    path: PathBuf,
    _locked: File,
}

impl Turn {
    pub(super) async fn at(target: &Path) -> io::Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(".hearthkey-lock");
        let path = directory_of(target).join(name);
        for _ in 0..LOOKS {
            if let Some(locked) = lock_file(&path)? {
                return Ok(Self {
                    path,
                    _locked: locked,
                });
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let why = format!("another program has held {} for too long", path.display());
        Err(io::Error::other(why))
    }
}

/// The file of a turn, locked; nothing if it is another's turn. What somebody else has put there is neither waited for nor
/// removed.
fn lock_file(path: &Path) -> io::Result<Option<File>> {
    let in_the_way = || {
        let why = format!("{} is in the way. Remove it first", path.display());
        io::Error::other(why)
    };
    let safely = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let anew = safely | OFlags::CREATE | OFlags::EXCL;
    let file = match rustix::fs::open(path, anew, Mode::RUSR | Mode::WUSR) {
        Err(Errno::EXIST) => match rustix::fs::open(path, safely, Mode::empty()) {
            // Its former user has removed it.
            Err(Errno::NOENT) => return Ok(None),
            found => found.map_err(|_| in_the_way())?,
        },
        made => made?,
    };
    let file = File::from(file);
    let its = file.metadata()?;
    let own = its.uid() == rustix::process::geteuid().as_raw();
    if !its.is_file() || its.len() > 0 || its.nlink() > 1 || !own {
        return Err(in_the_way());
    }
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let named = fs::symlink_metadata(path);
    let is_it = named.is_ok_and(|named| (named.dev(), named.ino()) == (its.dev(), its.ino()));
    Ok(is_it.then_some(file))
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A file that stays locks nobody out.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::CWD;

    use super::*;
    use crate::out_file::OutFile;

    #[tokio::test]
    async fn what_somebody_has_put_in_the_place_of_a_turn_is_not_waited_for_and_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (text, pipe) = (dir.path().join("text"), dir.path().join("pipe"));
        let lock_of = |name: &str| dir.path().join(format!(".{name}.hearthkey-lock"));
        fs::write(lock_of("text"), "mine").unwrap();
        let (fifo, mode) = (rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR);
        rustix::fs::mknodat(CWD, lock_of("pipe"), fifo, mode, 0).unwrap();
        for path in [&text, &pipe] {
            let file = OutFile::begin(path, false).unwrap();
            assert!(file.take_turn().await.is_err(), "{}", path.display());
        }
        assert_eq!(fs::read(lock_of("text")).unwrap(), b"mine");
        assert!(fs::symlink_metadata(lock_of("pipe")).is_ok());
        // What a killed export has left is taken over.
        fs::write(lock_of("left"), "").unwrap();
        let file = OutFile::begin(&dir.path().join("left"), false).unwrap();
        drop(file.take_turn().await.unwrap());
        assert!(fs::symlink_metadata(lock_of("left")).is_err());
    }
}
