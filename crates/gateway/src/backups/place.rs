//! A directory that backups are put into. A file has its last name when all of it is on the disk, and not before.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use hearthkey_core::backup::{self, Place, UNFINISHED_SUFFIX};
use hearthkey_core::id::HomeId;
use hearthkey_core::time::{Span, Timestamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

/// Names in a place that are looked at.
const NAMES_MAX: usize = 10_000;

/// The directory, held open.
pub(super) struct Directory(File);

/// A backup at its place.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) bytes: u64,
}

impl Directory {
    /// Opens a place. It is never made here: where a disk is not mounted, its mount point would be filled instead.
    pub(super) fn open(place: &Place) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(place.path(), flags, Mode::empty()) {
            Ok(handle) => Ok(Self(handle.into())),
            Err(error) => Err(named(place.as_str(), error.into())),
        }
    }

    /// Whether it is on the disk of another directory.
    pub(super) fn shares_disk_with(&self, other: &Path) -> bool {
        let (own, other) = (fstat(&self.0), rustix::fs::stat(other));
        matches!((own, other), (Ok(own), Ok(other)) if own.st_dev == other.st_dev)
    }

    /// The backups of a home, in no order.
    pub(super) fn backups(&self, home: &HomeId) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for name in self.names()? {
            if backup::made_at(home, &name).is_none() {
                continue;
            }
            match statat(&self.0, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => found.push(Found {
                    name,
                    bytes: u64::try_from(stat.st_size).unwrap_or_default(),
                }),
                // Gone meanwhile, or no file.
                _ => {}
            }
        }
        Ok(found)
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if names.len() == NAMES_MAX {
                return Err(io::Error::other(format!(
                    "it holds more than {NAMES_MAX} files: use a directory for backups alone"
                )));
            }
            names.push(name);
        }
        Ok(names)
    }

    /// Opens a backup to read it.
    pub(super) fn read(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = openat(&self.0, name, flags, Mode::empty())?.into();
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is no file")),
        }
    }

    /// Removes a backup.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what was begun here for a home and never finished, as a crash leaves it.
    pub(super) fn sweep(&self, home: &HomeId) -> io::Result<()> {
        for name in self.names()? {
            if backup::is_unfinished(home, &name) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Puts a file in the place of one of its name, whole or not at all.
    pub(super) fn put(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let draft = format!("{name}{UNFINISHED_SUFFIX}");
        self.remove(&draft)?;
        let anew = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let private = Mode::RUSR | Mode::WUSR;
        let file = openat(&self.0, draft.as_str(), anew | OFlags::CLOEXEC, private)?;
        let mut file = File::from(file);
        let written = file.write_all(content).and_then(|()| file.sync_all());
        if let Err(error) = written {
            self.remove(&draft)?;
            return Err(error);
        }
        rustix::fs::renameat(&self.0, draft.as_str(), &self.0, name)?;
        self.sync()
    }

    /// The first second from a moment on that no backup of the home has in its name.
    pub(super) fn free_second(&self, home: &HomeId, at: Timestamp) -> Timestamp {
        let is_taken = |at: &Timestamp| {
            let name = backup::file_name(home, *at);
            statat(&self.0, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
        };
        let mut seconds = (0..60).map(|second| at.after(Span::s(second)));
        seconds.find(|at| !is_taken(at)).unwrap_or(at)
    }

    /// Begins a file.
    pub(super) fn begin(&self, name: String) -> io::Result<Unfinished<'_>> {
        if statat(&self.0, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(io::Error::other(format!("{name} is there already")));
        }
        let draft = format!("{name}{UNFINISHED_SUFFIX}");
        let anew = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let private = Mode::RUSR | Mode::WUSR;
        let file = openat(&self.0, draft.as_str(), anew | OFlags::CLOEXEC, private)?;
        Ok(Unfinished {
            directory: self,
            name,
            draft,
            file: file.into(),
        })
    }

    fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.0) {
            // Some file systems of networks and cameras sync no directory.
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A file that has not its last name yet. It is removed when it is dropped without having got that.
pub(super) struct Unfinished<'a> {
    directory: &'a Directory,
    name: String,
    draft: String,
    file: File,
}

impl Write for Unfinished<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Unfinished<'_> {
    /// Waits until all of it is on the disk, and returns what reads it from there, and its length in bytes.
    pub(super) fn written(&self) -> io::Result<(impl Read + use<>, u64)> {
        self.file.sync_all()?;
        let file = self.directory.read(&self.draft)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    }

    /// Gives it its last name. Nothing is replaced.
    pub(super) fn finish(self) -> io::Result<()> {
        let (at, draft, name) = (&self.directory.0, self.draft.as_str(), self.name.as_str());
        match rustix::fs::renameat_with(at, draft, at, name, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            // Not every file system can promise that. The name holds the second, and one backup is made at a time.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::renameat(at, draft, at, name)?;
            }
            Err(error) => return Err(error.into()),
        }
        self.directory.sync()
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // It is not there any more once it has its last name.
        if let Err(error) = self.directory.remove(&self.draft) {
            tracing::warn!(%error, draft = self.draft, "an unfinished backup could not be removed");
        }
    }
}

/// With the path that it is about.
fn named(path: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> HomeId {
        "attic".parse().unwrap()
    }

    fn name(s: i64) -> String {
        backup::file_name(&home(), Timestamp::from_s(s))
    }

    #[test]
    fn a_file_has_its_last_name_only_when_it_is_whole_and_replaces_nothing() {
        let place = tempfile::tempdir().unwrap();
        let at: Place = place.path().to_str().unwrap().parse().unwrap();
        let directory = Directory::open(&at).unwrap();
        let listed = || -> Vec<String> {
            let all = std::fs::read_dir(place.path()).unwrap();
            all.map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        let mut file = directory.begin(name(1)).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(listed(), [format!("{}{UNFINISHED_SUFFIX}", name(1))]);
        assert!(directory.backups(&home()).unwrap().is_empty());
        drop(file);
        assert!(listed().is_empty(), "what was given up is gone");
        let mut file = directory.begin(name(1)).unwrap();
        file.write_all(b"whole").unwrap();
        let (mut reader, bytes) = file.written().unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), bytes), ("whole", 5));
        file.finish().unwrap();
        assert_eq!(listed(), [name(1)]);
        assert!(directory.begin(name(1)).is_err());
        let at = |s| Timestamp::from_s(s);
        assert_eq!(directory.free_second(&home(), at(1)), at(2));
        std::fs::write(
            place.path().join(format!("{}{UNFINISHED_SUFFIX}", name(2))),
            "",
        )
        .unwrap();
        std::fs::write(place.path().join("other.unfinished"), "").unwrap();
        directory.sweep(&home()).unwrap();
        assert_eq!(listed().len(), 2, "what is of others stays");
        let found = directory.backups(&home()).unwrap();
        assert_eq!((found.len(), found[0].bytes), (1, 5));
        assert!(directory.shares_disk_with(place.path()));
    }

    #[test]
    fn a_place_that_is_not_there_is_not_made() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("usb");
        let at: Place = path.to_str().unwrap().parse().unwrap();
        let refused = Directory::open(&at).map(drop).unwrap_err().to_string();
        assert!(
            refused.contains("No such file") && refused.contains("usb"),
            "{refused}"
        );
        assert!(!path.exists());
    }
}
