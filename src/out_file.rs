//! A file that the user names for an answer: written whole, never over another unasked, and never in place of a device or a
//! link.

mod turn;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::NamedTempFile;

use crate::failure::{Failure, code};
use turn::Turn;

/// An output file that is being written.
pub struct OutFile {
    /// As the user named it.
    named: PathBuf,
    place: Place,
}

enum Place {
    /// A new file beside its target, for its owner only. It goes again unless it is finished.
    Beside {
        draft: Draft,
        target: PathBuf,
        replace: bool,
    },
    /// A pipe, a terminal or another device: written through, as the user asked.
    Through(File),
}

/// What is not in its place yet.
enum Draft {
    /// It has no name, so that nothing of it is left if this program is ended.
    Nameless(File),
    /// It has one, where the file system supports no file without.
    Named(NamedTempFile),
}

impl OutFile {
    /// Begins to write for the owner alone. A file that is there is replaced only if that was asked for, and then where it
    /// lies: a link to it stays a link.
    pub fn begin(path: &Path, replace: bool) -> Result<Self, Failure> {
        Self::with_mode(path, replace, 0o600)
    }

    /// Begins to write what everybody may read, as far as the umask lets them.
    pub fn public(path: &Path, replace: bool) -> Result<Self, Failure> {
        Self::with_mode(path, replace, 0o666)
    }

    fn with_mode(path: &Path, replace: bool, mode: u32) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::file("write", path, &error);
        // As everywhere: a dash is the standard stream. A file of that name is ./-
        let path = match path.as_os_str() == "-" {
            true => Path::new("/dev/stdout"),
            false => path,
        };
        let there = fs::symlink_metadata(path).ok();
        let link = there.filter(|there| there.is_symlink());
        let place = match fs::metadata(path) {
            Ok(known) => match stream(path, &known) {
                Some(stream) => Place::Through(stream.map_err(failed)?),
                None if !known.is_file() => return Err(not_a_file(path)),
                None if !replace => return Err(there_already(path)),
                None if link.as_ref().is_some_and(is_anothers) => return Err(not_ours(path)),
                // A link that is put there from here on is replaced, and not followed.
                None => match link {
                    Some(_) => fs::canonicalize(path),
                    None => Ok(path.to_owned()),
                }
                .and_then(|target| Place::beside(target, true, mode))
                .map_err(failed)?,
            },
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            // A link that leads nowhere is somebody's, too.
            Err(_) if fs::symlink_metadata(path).is_ok() => return Err(not_a_file(path)),
            Err(_) => Place::beside(path.to_owned(), false, mode).map_err(failed)?,
        };
        let named = path.to_owned();
        Ok(Self { named, place })
    }

    /// Whether it goes into a pipe, a terminal or another device.
    pub fn is_stream(&self) -> bool {
        matches!(self.place, Place::Through(_))
    }

    /// Whether both become one file.
    pub fn is_where(&self, other: &Self) -> bool {
        let target = |file: &Self| match &file.place {
            Place::Beside { target, .. } => {
                let directory = fs::canonicalize(directory_of(target)).ok()?;
                Some(directory.join(target.file_name()?))
            }
            Place::Through(_) => None,
        };
        let target_here = target(self);
        target_here.is_some() && target_here == target(other)
    }

    /// Where to write to.
    pub fn writer(&mut self) -> &mut dyn Write {
        match &mut self.place {
            Place::Beside { draft, .. } => draft.writer(),
            Place::Through(file) => file,
        }
    }

    /// Waits for the others who put files where this one goes. A stream has no place.
    pub async fn take_turn(&self) -> Result<Option<Turn>, Failure> {
        match &self.place {
            Place::Beside { target, .. } => Turn::at(target)
                .await
                .map(Some)
                .map_err(|error| Failure::file("write", &self.named, &error)),
            Place::Through(_) => Ok(None),
        }
    }

    /// Waits until what was written is on the disk.
    pub fn sync(&mut self) -> Result<(), Failure> {
        let synced = match &mut self.place {
            Place::Beside { draft, .. } => draft.file().sync_all(),
            Place::Through(file) => file.flush(),
        };
        synced.map_err(|error| Failure::file("write", &self.named, &error))
    }

    /// Puts it where it belongs, whole.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.sync()?;
        self.put()
    }

    /// Puts what was synced where it belongs.
    pub fn put(self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::file("write", &self.named, &error);
        let (draft, target, replace) = match self.place {
            Place::Through(_) => return Ok(()),
            Place::Beside {
                draft,
                target,
                replace,
            } => (draft, target, replace),
        };
        match draft.put(&target, replace) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(there_already(&self.named))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes all of a text and finishes. Returns whether it went into a pipe, a terminal or another device: it may be
    /// standard output, where nothing else belongs then.
    pub fn write(path: &Path, bytes: &[u8], replace: bool) -> Result<bool, Failure> {
        let mut file = Self::begin(path, replace)?;
        file.writer()
            .write_all(bytes)
            .map_err(|error| Failure::file("write", path, &error))?;
        let is_stream = file.is_stream();
        file.finish()?;
        Ok(is_stream)
    }
}

impl Place {
    fn beside(target: PathBuf, replace: bool, mode: u32) -> io::Result<Self> {
        let draft = match nameless(directory_of(&target), mode) {
            Some(file) => Draft::Nameless(file),
            None => Draft::Named(
                partial()
                    .permissions(fs::Permissions::from_mode(mode))
                    .tempfile_in(directory_of(&target))?,
            ),
        };
        Ok(Self::Beside {
            draft,
            target,
            replace,
        })
    }
}

impl Draft {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Nameless(file) => file,
            Self::Named(file) => file,
        }
    }

    fn file(&self) -> &File {
        match self {
            Self::Nameless(file) => file,
            Self::Named(file) => file.as_file(),
        }
    }

    fn put(self, target: &Path, replace: bool) -> io::Result<()> {
        let named = match self {
            Self::Nameless(file) if !replace => return give_name(&file, target),
            // Nothing replaces a file but another with a name: it has one for that moment.
            Self::Nameless(file) => partial().make_in(directory_of(target), |path| {
                give_name(&file, path).and_then(|()| file.try_clone())
            })?,
            Self::Named(file) => file,
        };
        match replace {
            true => named.persist(target)?,
            false => named.persist_noclobber(target)?,
        };
        Ok(())
    }
}

fn partial() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".hearthkey-").suffix(".partial");
    builder
}

/// A new file without a name, if the file system has such and it can be given one later.
fn nameless(directory: &Path, mode: u32) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory, flags, Mode::from_raw_mode(mode));
    let file = File::from(file.ok()?);
    fs::metadata(by_number(&file)).is_ok().then_some(file)
}

/// Gives a file without a name this one; what has it already keeps it.
fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_FOLLOW;
    Ok(rustix::fs::linkat(CWD, by_number(file), CWD, path, flags)?)
}

fn by_number(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// The directory of a file.
fn directory_of(file: &Path) -> &Path {
    let named = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

/// What is written through: a pipe, a character device, or what this program's own output is.
fn stream(path: &Path, known: &Metadata) -> Option<io::Result<File>> {
    use std::os::fd::AsFd;
    let kind = known.file_type();
    let (stdout, stderr) = (io::stdout(), io::stderr());
    for own in [stdout.as_fd(), stderr.as_fd()] {
        let is_it = rustix::fs::fstat(own)
            .is_ok_and(|its| (its.st_dev, its.st_ino) == (known.dev(), known.ino()));
        if is_it {
            return Some(own.try_clone_to_owned().map(File::from));
        }
    }
    if kind.is_fifo() && is_anothers(known) {
        return Some(Err(io::Error::other("it is a pipe of another user")));
    }
    let through = kind.is_fifo() || kind.is_char_device();
    through.then(|| same_one(path, known))
}

/// Whether something belongs to another user, who is not root.
fn is_anothers(known: &Metadata) -> bool {
    ![0, rustix::process::geteuid().as_raw()].contains(&known.uid())
}

/// Opens what was looked at, and not what somebody has put in its place since.
fn same_one(path: &Path, known: &Metadata) -> io::Result<File> {
    let file = OpenOptions::new().write(true).open(path)?;
    let its = file.metadata()?;
    match (its.dev(), its.ino()) == (known.dev(), known.ino()) {
        true => Ok(file),
        false => Err(io::Error::other("it was replaced meanwhile")),
    }
}

fn there_already(path: &Path) -> Failure {
    Failure::there_already(path, "Choose another file, or add --replace.")
}

fn not_ours(path: &Path) -> Failure {
    Failure::local(
        code::SYSTEM,
        &format!("{} cannot be written to.", path.display()),
        "It is a link of another user, who decides where it leads. Nothing was written.".into(),
        "Choose another file.",
    )
}

fn not_a_file(path: &Path) -> Failure {
    Failure::local(
        code::SYSTEM,
        &format!("{} cannot be written to.", path.display()),
        "It is a directory, a disk, a socket, or a link that leads nowhere. Nothing was written."
            .into(),
        "Choose another file.",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn title<T>(result: Result<T, Failure>) -> String {
        match result {
            Err(Failure::Told { problem, .. }) => problem.title,
            _ => panic!("it was written"),
        }
    }

    #[test]
    fn what_was_put_in_place_of_a_pipe_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (looked_at, other) = (dir.path().join("pipe"), dir.path().join("other"));
        fs::write(&looked_at, "").unwrap();
        fs::write(&other, "mine").unwrap();
        let known = fs::metadata(&looked_at).unwrap();
        assert!(same_one(&looked_at, &known).is_ok());
        fs::remove_file(&looked_at).unwrap();
        symlink(&other, &looked_at).unwrap();
        assert!(same_one(&looked_at, &known).is_err());
        assert_eq!(fs::read(&other).unwrap(), b"mine");
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_if_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        OutFile::write(&path, b"one", false).unwrap();
        assert!(title(OutFile::write(&path, b"two", false)).ends_with("already exists."));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        OutFile::write(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        symlink(&file, &link).unwrap();
        assert!(title(OutFile::write(&link, b"one", true)).ends_with("cannot be written to."));
        fs::write(&file, "precious").unwrap();
        assert!(title(OutFile::write(&link, b"one", false)).ends_with("already exists."));
        OutFile::write(&link, b"one", true).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"one");
    }

    #[test]
    fn what_another_user_has_put_there_is_neither_followed_nor_written_into() {
        if !rustix::process::geteuid().is_root() {
            return println!("skipped: only root can make files for others");
        }
        let dir = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| dir.path().join(name));
        fs::write(&file, "precious").unwrap();
        symlink(&file, &link).unwrap();
        let (fifo, mode) = (rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR);
        rustix::fs::mknodat(CWD, &pipe, fifo, mode, 0).unwrap();
        for path in [&link, &pipe] {
            std::os::unix::fs::lchown(path, Some(65_534), Some(65_534)).unwrap();
        }
        assert!(title(OutFile::write(&link, b"secret", true)).ends_with("cannot be written to."));
        // If it were opened, this would wait for a reader.
        assert!(OutFile::write(&pipe, b"secret", true).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }

    #[test]
    fn a_device_is_written_through_and_stays_a_device() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("nothing");
        symlink("/dev/null", &link).unwrap();
        for path in [Path::new("/dev/null"), &link] {
            OutFile::write(path, b"one", true).unwrap();
            let kind = fs::metadata(path).unwrap().file_type();
            assert!(kind.is_char_device(), "{}", path.display());
        }
        assert!(title(OutFile::write(dir.path(), b"one", true)).ends_with("cannot be written to."));
    }

    #[test]
    fn a_draft_with_a_name_is_put_as_one_without_is() {
        for (n, replace) in [(0, false), (1, true)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(n.to_string());
            if replace {
                fs::write(&path, "earlier").unwrap();
            }
            let mut named = partial().tempfile_in(dir.path()).unwrap();
            named.write_all(b"new").unwrap();
            Draft::Named(named).put(&path, replace).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_secret_that_is_being_written_has_no_name_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut file = OutFile::begin(&path, false).unwrap();
        file.writer().write_all(b"secret").unwrap();
        let Place::Beside {
            draft: Draft::Nameless(_),
            ..
        } = &file.place
        else {
            return println!("skipped: this file system has no files without names");
        };
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn files_that_belong_together_are_put_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let first = OutFile::begin(&path, false).unwrap();
        let turn = first.take_turn().await.unwrap().unwrap();
        let mut other = tokio::spawn(async move {
            let second = OutFile::begin(&path, false).unwrap();
            drop(second.take_turn().await.unwrap());
        });
        let soon = tokio::time::timeout(std::time::Duration::from_millis(100), &mut other);
        assert!(soon.await.is_err(), "the first has not had its turn");
        drop(turn);
        other.await.unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_appears_meanwhile_is_not_written_over_and_no_draft_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let file = OutFile::begin(&path, false).unwrap();
        fs::write(&path, "meanwhile").unwrap();
        assert!(title(file.finish()).ends_with("already exists."));
        assert_eq!(fs::read(&path).unwrap(), b"meanwhile");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
