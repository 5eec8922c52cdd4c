//! Files by their names in a directory that was opened, never through a link, and the lock that is one of them.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, fchown, fstat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};

/// For its owner alone.
pub(super) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An exclusive lock, of what nobody else can open. It is given back by name, not by closing the file: a child process that
/// is just being started may hold a copy of the file.
#[derive(Debug)]
pub(super) struct Lock(pub(super) File);

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, closing the file gives the lock back a moment later.
        let _ = self.0.unlock();
    }
}

/// A directory that one process works in, held open: its files are reached through it, also if something else takes its
/// path.
#[derive(Debug)]
pub(super) struct Held {
    directory: File,
    _lock: Lock,
    /// The directory itself, where nobody else can open it: no file is removed from it to let a second writer in.
    _whole: Option<Lock>,
}

impl Held {
    /// Keeps other writers out of a directory whose lock is held.
    pub(super) fn new(directory: File, lock: Lock) -> Result<Self, TryLockError> {
        let mut whole = None;
        // What others can read, they can lock.
        let found = directory.metadata().map_err(TryLockError::Error)?;
        if found.mode() & 0o044 == 0 {
            let itself = directory.try_clone().map_err(TryLockError::Error)?;
            match itself.try_lock() {
                Ok(()) => whole = Some(Lock(itself)),
                Err(TryLockError::WouldBlock) => return Err(TryLockError::WouldBlock),
                // Some file systems lock no directory.
                Err(TryLockError::Error(_)) => {}
            }
        }
        Ok(Self {
            directory,
            _lock: lock,
            _whole: whole,
        })
    }

    /// The directory, if its path still leads to it: whoever uses the files looks for them there.
    pub(super) fn at(&self, path: &Path) -> io::Result<&File> {
        let open = self.directory.metadata()?;
        let is_it = |named: fs::Metadata| (named.dev(), named.ino()) == (open.dev(), open.ino());
        match fs::metadata(path).is_ok_and(is_it) {
            true => Ok(&self.directory),
            false => Err(io::Error::other(
                "the directory was moved or replaced while the agent ran: start it again",
            )),
        }
    }
}

pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Opens a file of a directory to write, for its owner alone, and creates it if it is not there.
pub(super) fn create(directory: &File, name: &str, more: OFlags) -> io::Result<File> {
    // Without waiting, so that a pipe of this name holds nobody up.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = flags | OFlags::CLOEXEC | more;
    let file = regular(openat(directory, name, flags, PRIVATE)?.into())?;
    // What root makes anew in a user's directory is that user's: otherwise the agent that runs as that user could not read it
    // the next time.
    let owner = fstat(directory)?;
    if more.contains(OFlags::EXCL) && geteuid().is_root() && owner.st_uid != 0 {
        let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
        fchown(&file, Some(user), Some(group))?;
    }
    Ok(file)
}

pub(super) fn open_file(directory: BorrowedFd<'_>, name: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    regular(openat(directory, name, flags, Mode::empty())?.into())
}

/// The file, if it is a regular file: reading a pipe or a device would wait for its other end.
fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

pub(super) fn remove(directory: &File, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceDirectory, DirectoryError, KEY, LOCK, NEXT_KEY};
    use super::*;

    #[test]
    fn a_lock_that_is_removed_lets_no_second_writer_in() {
        let temp = tempfile::tempdir().unwrap();
        let place = temp.path().join("device");
        let first = DeviceDirectory::open_to_enroll(&place).unwrap();
        fs::remove_file(place.join(LOCK)).unwrap();
        let second = DeviceDirectory::open_to_enroll(&place);
        assert!(matches!(second, Err(DirectoryError::InUse { .. })));
        drop(first);
        assert!(DeviceDirectory::open_to_enroll(&place).is_ok());
    }

    #[test]
    fn nothing_is_written_or_believed_in_a_directory_that_has_taken_the_place_of_the_devices() {
        let temp = tempfile::tempdir().unwrap();
        let (place, away) = (temp.path().join("device"), temp.path().join("away"));
        let directory = DeviceDirectory::open_to_enroll(&place).unwrap();
        directory.write(KEY, b"key").unwrap();
        fs::rename(&place, &away).unwrap();
        assert!(directory.read(KEY).is_err(), "it is no missing file");
        fs::create_dir(&place).unwrap();
        fs::write(place.join(NEXT_KEY), b"theirs").unwrap();
        assert!(directory.read(NEXT_KEY).is_err());
        assert!(directory.write(NEXT_KEY, b"secret").is_err());
        assert!(directory.rename(NEXT_KEY, KEY).is_err());
        assert!(directory.remove(NEXT_KEY).is_err());
        assert_eq!(fs::read(place.join(NEXT_KEY)).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
        fs::rename(&place, temp.path().join("theirs")).unwrap();
        fs::rename(&away, &place).unwrap();
        assert_eq!(directory.read(KEY).unwrap().unwrap().as_slice(), b"key");
    }
}
