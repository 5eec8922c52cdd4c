//! Files by their names in a directory that was opened, never through a link, and the lock that is one of them.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, fchown, fstat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};

/// For its owner alone.
pub(super) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An exclusive lock. It is given back by name, not by closing the file: a child process that is just being started
/// may hold a copy of the file.
#[derive(Debug)]
pub(super) struct Lock(pub(super) File);

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, closing the file gives the lock back a moment later.
        let _ = self.0.unlock();
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

pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    regular(rustix::fs::open(path, flags, Mode::empty())?.into())
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
