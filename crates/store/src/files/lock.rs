//! The right to work on a home: locks that one gateway holds.

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, flock, openat, statat};
use rustix::io::Errno;

use super::{DATABASE_FILE, DataDir, about, no_file};

/// A file that is locked beside the directory, for programs from before the directory was.
pub const LOCK_FILE: &str = "hearthkey.lock";

/// The right to work on a home, given up when it is dropped.
///
/// It outlives every connection to the database: closing a file gives up all that its process holds of it by `fcntl`, and so
/// what SQLite has locked.
#[derive(Debug)]
#[allow(dead_code)] // The locks are the open files.
pub struct HomeLock {
    /// None where directories cannot be locked.
    directory: Option<File>,
    file: File,
    /// None before a home is made.
    database: Option<File>,
}

/// What came of an attempt to lock a file.
#[derive(Debug, PartialEq, Eq)]
enum Locked {
    Ours,
    Others,
    /// The file system does not lock such a file.
    Never,
}

impl DataDir {
    /// Locks the home, by the directory itself: no file in it can be removed or replaced to let a second gateway in; and by
    /// its database, which may be in another directory by now. Returns nothing if another program holds the lock.
    ///
    /// NFS locks no directory, and makes one lock of `flock` and of what SQLite locks: there the lock file alone is held, and
    /// that the database has one name keeps others away from it.
    pub fn lock(&self) -> io::Result<Option<HomeLock>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory: File = openat(&self.handle, ".", flags, Mode::empty())?.into();
        let is_local = match attempt(flock(&directory, EXCLUSIVE))? {
            Locked::Ours => true,
            Locked::Never => false,
            Locked::Others => return Ok(None),
        };
        let file = self.append(LOCK_FILE)?;
        match flock(&file, EXCLUSIVE) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        self.has_no_other_name(DATABASE_FILE)?;
        let mut database = None;
        if is_local && self.has(DATABASE_FILE)? {
            let safely = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let flags = OFlags::RDONLY | safely;
            let open: File = openat(&self.handle, DATABASE_FILE, flags, Mode::empty())?.into();
            if attempt(flock(&open, EXCLUSIVE))? == Locked::Others {
                return Ok(None);
            }
            database = Some(open);
        }
        Ok(Some(HomeLock {
            directory: is_local.then_some(directory),
            file,
            database,
        }))
    }

    /// Fails if something of this name is a link, or a file that has another name, too: what is reached by two names may be
    /// in two homes.
    pub(crate) fn has_no_other_name(&self, name: &str) -> io::Result<()> {
        let stat = match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let error = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_nlink <= 1 => return Ok(()),
            FileType::RegularFile => io::Error::other(
                "it has another name, too (a hard link). Put a copy in its place, or remove the other name",
            ),
            FileType::Symlink => Errno::LOOP.into(),
            _ => no_file(),
        };
        Err(about(name, &error))
    }
}

const EXCLUSIVE: FlockOperation = FlockOperation::NonBlockingLockExclusive;

/// What an attempt to lock a file means. NFS answers `EBADF` or `ENOLCK` for what it does not lock.
fn attempt(answer: rustix::io::Result<()>) -> io::Result<Locked> {
    match answer {
        Ok(()) => Ok(Locked::Ours),
        Err(Errno::WOULDBLOCK) => Ok(Locked::Others),
        Err(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP) => Ok(Locked::Never),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::tests::data_dir;
    use super::*;

    #[test]
    fn a_home_has_one_lock_whatever_is_removed_from_it() {
        let (place, dir) = data_dir();
        let held = dir.lock().unwrap();
        assert!(held.is_some());
        let other = DataDir::open(place.path()).unwrap();
        assert!(other.lock().unwrap().is_none());
        std::fs::remove_file(place.path().join(LOCK_FILE)).unwrap();
        assert!(other.lock().unwrap().is_none());
        drop(held);
        assert!(other.lock().unwrap().is_some());
    }

    #[test]
    fn a_database_is_of_one_home_whatever_leads_to_it() {
        let (place, dir) = data_dir();
        let (elsewhere, other) = data_dir();
        let (here, there) = (
            place.path().join(DATABASE_FILE),
            elsewhere.path().join(DATABASE_FILE),
        );
        drop(dir.create(DATABASE_FILE).unwrap());
        let held = dir.lock().unwrap();
        assert!(held.is_some());
        symlink(&here, &there).unwrap();
        let why = other.lock().unwrap_err().to_string();
        assert_eq!(why, "hearthkey.db: it is a link, and no file");
        std::fs::remove_file(&there).unwrap();
        std::fs::hard_link(&here, &there).unwrap();
        let why = other.lock().unwrap_err().to_string();
        assert!(why.contains("hearthkey.db: it has another name"), "{why}");
        // The one that has it notices as well when it opens it.
        assert!(dir.has_no_other_name(DATABASE_FILE).is_err());
        std::fs::remove_file(&here).unwrap();
        assert!(other.lock().unwrap().is_none(), "it was only moved");
        drop(held);
        assert!(other.lock().unwrap().is_some());
    }

    #[test]
    fn a_file_system_that_locks_no_directory_is_no_other_gateway() {
        for never in [Errno::BADF, Errno::NOLCK] {
            assert_eq!(attempt(Err(never)).unwrap(), Locked::Never);
        }
        assert_eq!(attempt(Err(Errno::WOULDBLOCK)).unwrap(), Locked::Others);
        assert_eq!(attempt(Ok(())).unwrap(), Locked::Ours);
        assert!(attempt(Err(Errno::IO)).is_err());
    }
}
