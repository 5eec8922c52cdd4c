//! The files beside the database: each is opened by its name in a directory that is held open, and is replaced whole.
//!
//! Nothing here follows a link, and nothing writes into a file that somebody else has put there.

mod lock;
mod room;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

pub use lock::{HomeLock, LOCK_FILE};
pub use room::ROOM_FILE;

/// The data directory, held open: its files are reached through it, also if something else takes its path.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    handle: File,
}

/// The database's name in the data directory.
pub const DATABASE_FILE: &str = "hearthkey.db";

/// For its owner alone.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The device and inode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

/// The database with its write-ahead log and the index of that.
const DATABASE_AND_LOG: [&str; 3] = [DATABASE_FILE, "hearthkey.db-wal", "hearthkey.db-shm"];

/// Which files the database was when the home opened. SQLite replaces none of them while a connection is open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DatabaseFiles([Option<Identity>; 3]);

impl DatabaseFiles {
    pub(crate) fn of(dir: &DataDir) -> io::Result<Self> {
        let [database, log, index] = DATABASE_AND_LOG.map(|name| dir.identity(name));
        Ok(Self([database?, log?, index?]))
    }

    /// Whether they are still the same. What is written into one that has lost its name is lost.
    pub(crate) fn are_still_there(&self, dir: &DataDir) -> Result<(), String> {
        let files = DATABASE_AND_LOG.into_iter().zip(self.0);
        for (name, then) in files {
            let now = dir.identity(name);
            if then.is_none() || now.is_ok_and(|now| now == then) {
                continue;
            }
            return Err(match name {
                DATABASE_FILE => "the database was removed or replaced while the gateway ran: stop the gateway, put the right one back, and start it".into(),
                _ => format!("the file {name} was removed or replaced while the gateway ran: stop the gateway in order, without killing it, and start it"),
            });
        }
        Ok(())
    }
}

impl DataDir {
    /// Opens a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            path: path.to_owned(),
            handle: handle.into(),
        })
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to it, and not to another directory that has taken its place.
    pub fn is_at_its_path(&self) -> io::Result<bool> {
        let (open, named) = (fstat(&self.handle)?, rustix::fs::stat(&self.path));
        match named {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Fails if the directory is another one by now: what is opened in it by its path would be another home's.
    pub(crate) fn still_there(&self) -> Result<(), String> {
        let path = self.path.display();
        match self.is_at_its_path() {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!(
                "the data directory {path} was moved or replaced while the gateway ran. Restart it"
            )),
            Err(error) => Err(format!("the data directory {path} cannot be read: {error}")),
        }
    }

    /// The names of what is in it, at most `limit`.
    pub fn names(&self, limit: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.handle)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." && names.len() < limit {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether only its owner can put files into it, and its owner is this user or root.
    pub fn is_private(&self) -> io::Result<bool> {
        let stat = fstat(&self.handle)?;
        let ours = stat.st_uid == rustix::process::geteuid().as_raw() || stat.st_uid == 0;
        let writable = Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
        Ok(ours && !writable)
    }

    /// Lets its owner write, its group read at most, and nobody else. Whom it shuts out already it does not let in.
    pub fn close_to_others(&self) -> io::Result<()> {
        let now = Mode::from_raw_mode(fstat(&self.handle)?.st_mode);
        let most = Mode::RWXU | Mode::RGRP | Mode::XGRP;
        Ok(rustix::fs::fchmod(&self.handle, now & most)?)
    }

    /// What tells a file from any other that is there at the same time.
    pub(crate) fn identity(&self, name: &str) -> io::Result<Option<Identity>> {
        match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(Identity(found.st_dev, found.st_ino))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes that a file is made anew, beside it: who opens the home next has to know, also if this is not written down
    /// anywhere else before.
    pub(crate) fn begin_anew(&self, marker: &str) {
        if let Err(error) = self.append(marker) {
            tracing::error!(%error, marker, "that a file was missing could not be stored for the next start");
        }
    }

    /// Whether there is something of this name, whatever it is.
    pub fn has(&self, name: &str) -> io::Result<bool> {
        match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The content of a file; nothing if there is none.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        // Without waiting, so that a pipe of this name holds nobody up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(file) => regular(file.into()),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => Err(error.into()),
        };
        let mut file = file.map_err(|error| about(name, &error))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// Creates a file that was not there.
    pub fn create(&self, name: &str) -> io::Result<File> {
        self.make(name, OFlags::WRONLY)
    }

    /// Creates a directory that was not there, for its owner alone.
    pub(crate) fn make_dir(&self, name: &str) -> io::Result<()> {
        rustix::fs::mkdirat(&self.handle, name, Mode::RWXU)?;
        if let Some((user, group)) = self.owner_for_root()? {
            let itself = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&self.handle, name, Some(user), Some(group), itself)?;
        }
        Ok(())
    }

    /// Opens a file to read and to append to, and creates it if it was not there.
    pub fn append(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::APPEND;
        let safely = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match openat(&self.handle, name, flags | safely, Mode::empty()) {
            Ok(file) => regular(file.into()),
            Err(Errno::NOENT) => self.make(name, flags),
            Err(error) => Err(error.into()),
        };
        opened.map_err(|error| about(name, &error))
    }

    /// Makes a new file. One that root makes in somebody's home is that user's: otherwise the gateway that runs as that
    /// user could not read it the next time.
    fn make(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let anew = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = openat(&self.handle, name, flags | anew, PRIVATE)?.into();
        // Whatever the umask is.
        rustix::fs::fchmod(&file, PRIVATE)?;
        if let Some((user, group)) = self.owner_for_root()? {
            rustix::fs::fchown(&file, Some(user), Some(group))?;
        }
        Ok(file)
    }

    /// Whose what root makes here is to be, if it is another's directory.
    fn owner_for_root(&self) -> io::Result<Option<(Uid, Gid)>> {
        let home = fstat(&self.handle)?;
        let is_anothers = rustix::process::geteuid().is_root() && home.st_uid != 0;
        Ok(is_anothers.then(|| (Uid::from_raw(home.st_uid), Gid::from_raw(home.st_gid))))
    }

    /// Lets its owner and group speak with a socket, and changes nothing else that may have its name by now.
    pub fn open_socket_to_group(&self, name: &str) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let socket: File = openat(&self.handle, name, flags, Mode::empty())?.into();
        if FileType::from_raw_mode(fstat(&socket)?.st_mode) != FileType::Socket {
            return Err(about(name, &io::Error::other("it is no socket")));
        }
        // No socket is opened like a file; by the number of its handle it is reached all the same (proc_pid_fd(5)).
        let by_number = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let both = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
        Ok(rustix::fs::chmod(by_number, both)?)
    }

    /// Fails if something of one of these names is neither a file nor a link to one.
    pub fn are_files(&self, names: &[&str]) -> io::Result<()> {
        for name in names {
            let error = match statat(&self.handle, *name, AtFlags::empty()) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => continue,
                Ok(_) => no_file(),
                Err(Errno::NOENT) if !self.has(name)? => continue,
                Err(Errno::NOENT) => io::Error::other("it is a link that leads nowhere"),
                Err(error) => error.into(),
            };
            return Err(about(name, &error));
        }
        Ok(())
    }

    /// Whether a name is that of an open file.
    pub fn is_still(&self, name: &str, file: &File) -> io::Result<bool> {
        let open = fstat(file)?;
        match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file; it is no error if there is none.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file another name, and waits until that is on the disk.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        renameat(&self.handle, from, &self.handle, to)?;
        self.sync()
    }

    /// Replaces a file so that a crash leaves the old content or the new, never half of one.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let draft = format!("{name}.new");
        // A draft that a crash has left, or that somebody has put there, is not written into.
        self.remove(&draft)?;
        let mut file = self.create(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        self.rename(&draft, name)
    }

    /// Waits until the names in it are on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// What is wrong with a file of this name, for the person who has to look at it.
fn about(name: &str, error: &io::Error) -> io::Error {
    let what = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::LOOP) => "it is a link, and no file".to_owned(),
        Some(Errno::ISDIR | Errno::NXIO) => no_file().to_string(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("{name}: {what}"))
}

/// The file, if it is a regular file: reading a pipe or a device would wait for its other end.
fn regular(file: File) -> io::Result<File> {
    match FileType::from_raw_mode(fstat(&file)?.st_mode).is_file() {
        true => Ok(file),
        false => Err(no_file()),
    }
}

fn no_file() -> io::Error {
    io::Error::other("it is a directory, a pipe, a socket or a device, and no file")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    pub(super) fn data_dir() -> (tempfile::TempDir, DataDir) {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir::open(place.path()).unwrap();
        (place, dir)
    }

    #[test]
    fn a_file_is_never_written_through_a_link_that_somebody_has_put_there() {
        let (place, dir) = data_dir();
        let victim = place.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        for name in ["key.new", "key", "journal"] {
            symlink(&victim, place.path().join(name)).unwrap();
        }
        dir.replace("key", b"secret").unwrap();
        assert!(dir.append("journal").is_err());
        assert!(dir.read("journal").is_err());
        assert!(dir.create("journal").is_err());
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        let key = std::fs::symlink_metadata(place.path().join("key")).unwrap();
        assert!(key.is_file());
        assert_eq!(key.mode() & 0o777, 0o600);
        assert_eq!(dir.read("key").unwrap().unwrap(), b"secret");
    }

    #[test]
    fn a_pipe_in_place_of_a_file_is_refused_and_waited_for_by_nobody() {
        let (place, dir) = data_dir();
        let mode = Mode::RUSR | Mode::WUSR;
        let pipe = place.path().join("slots.json");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
        symlink("nowhere", place.path().join("link")).unwrap();
        let link = dir.read("link").map(drop).unwrap_err();
        assert_eq!(link.to_string(), "link: it is a link, and no file");
        let link = dir.are_files(&["link"]).unwrap_err();
        assert_eq!(link.to_string(), "link: it is a link that leads nowhere");
        for error in [
            dir.read("slots.json").map(drop).unwrap_err(),
            dir.append("slots.json").map(drop).unwrap_err(),
            dir.are_files(&["journal", "slots.json"]).unwrap_err(),
        ] {
            assert!(error.to_string().contains("no file"), "{error}");
        }
        assert!(dir.are_files(&["journal"]).is_ok());
        dir.replace("slots.json", b"{}").unwrap();
        assert_eq!(dir.read("slots.json").unwrap().unwrap(), b"{}");
    }

    #[test]
    fn only_a_socket_is_opened_to_the_group() {
        let (place, dir) = data_dir();
        let (socket, victim) = (place.path().join("socket"), place.path().join("victim"));
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::fs::write(&victim, "precious").unwrap();
        std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&victim, place.path().join("link")).unwrap();
        symlink(&socket, place.path().join("other")).unwrap();
        dir.open_socket_to_group("socket").unwrap();
        for name in ["victim", "link", "other", "nothing"] {
            assert!(dir.open_socket_to_group(name).is_err(), "{name}");
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&socket), mode(&victim)), (0o660, 0o600));
    }

    #[test]
    fn what_root_makes_in_the_home_of_a_user_is_that_users() {
        let (place, dir) = data_dir();
        if !rustix::process::geteuid().is_root() {
            return println!("skipped: only root can make files for others");
        }
        std::os::unix::fs::chown(place.path(), Some(65_534), Some(65_534)).unwrap();
        dir.append("journal").unwrap();
        dir.replace("anchor", b"one").unwrap();
        dir.replace("anchor", b"two").unwrap();
        dir.make_dir("rekey").unwrap();
        let within = DataDir::open(&place.path().join("rekey")).unwrap();
        within.append("database").unwrap();
        for name in ["journal", "anchor", "rekey", "rekey/database"] {
            let made = std::fs::metadata(place.path().join(name)).unwrap();
            assert_eq!((made.uid(), made.gid()), (65_534, 65_534), "{name}");
        }
    }

    #[test]
    fn a_directory_that_another_has_taken_the_place_of_is_known() {
        let place = tempfile::tempdir().unwrap();
        let (home, away) = (place.path().join("home"), place.path().join("away"));
        std::fs::create_dir(&home).unwrap();
        let dir = DataDir::open(&home).unwrap();
        assert!(dir.is_at_its_path().unwrap());
        std::fs::rename(&home, &away).unwrap();
        assert!(!dir.is_at_its_path().unwrap());
        std::fs::create_dir(&home).unwrap();
        assert!(!dir.is_at_its_path().unwrap());
    }

    #[test]
    fn a_directory_that_others_can_write_is_not_private() {
        let (place, dir) = data_dir();
        assert!(dir.is_private().unwrap());
        for mode in [0o770, 0o707] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(place.path(), mode).unwrap();
            assert!(!dir.is_private().unwrap());
        }
    }

    #[test]
    fn closing_a_directory_takes_rights_and_gives_none() {
        let (place, dir) = data_dir();
        for (before, after) in [(0o700, 0o700), (0o750, 0o750), (0o755, 0o750)] {
            let mode = std::fs::Permissions::from_mode(before);
            std::fs::set_permissions(place.path(), mode).unwrap();
            dir.close_to_others().unwrap();
            let now = std::fs::metadata(place.path()).unwrap().mode() & 0o777;
            assert_eq!(now, after, "{before:o}");
        }
    }

    #[test]
    fn a_file_that_was_taken_away_or_replaced_is_not_the_one_that_is_open() {
        let (place, dir) = data_dir();
        let file = dir.append("journal").unwrap();
        assert!(dir.is_still("journal", &file).unwrap());
        std::fs::rename(place.path().join("journal"), place.path().join("old")).unwrap();
        assert!(!dir.is_still("journal", &file).unwrap());
        std::fs::write(place.path().join("journal"), "").unwrap();
        assert!(!dir.is_still("journal", &file).unwrap());
    }
}
