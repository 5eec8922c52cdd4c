//! The one-time link by which a home without an owner gets one, and the file in which it waits where no terminal shows it.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hearthkey_core::id::hex;
use hearthkey_store::keys::random;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat};
use zeroize::Zeroizing;

/// The file in the data directory.
const SETUP_FILE: &str = "setup-link";

/// A link that makes its first visitor the owner of the home: for a terminal or a private file, never for a log.
#[derive(Clone, PartialEq, Eq)]
pub struct SetupLink {
    url: Zeroizing<String>,
    file: PathBuf,
}

impl fmt::Debug for SetupLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetupLink(..)")
    }
}

impl SetupLink {
    pub(crate) fn new(url: String, data_dir: &Path) -> Self {
        Self {
            url: url.into(),
            file: file_in(data_dir),
        }
    }

    /// The link, for a terminal.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Writes the link into a file that the gateway's own user alone may read, in place of the one before, and gives
    /// its path. The gateway removes it when the link is used or replaced, or when it stops.
    pub fn keep(&self) -> io::Result<&Path> {
        let (Some(directory), Some(name)) = (self.file.parent(), self.file.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = openat(CWD, directory, flags, Mode::empty())?;
        let new = format!("{SETUP_FILE}.{}", hex(random::<8>().as_slice()));
        // A new file under a name that nobody could know, and so no link that somebody has put there.
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(openat(&directory, &new, flags | OFlags::CLOEXEC, mode)?);
        let written = file
            .write_all(format!("{}\n", *self.url).as_bytes())
            .and_then(|()| file.sync_all())
            // What has the name now is replaced, and not followed if it is a link.
            .and_then(|()| Ok(renameat(&directory, &new, &directory, name)?));
        if let Err(error) = written {
            let _ = unlinkat(&directory, &new, AtFlags::empty());
            return Err(error);
        }
        Ok(&self.file)
    }
}

/// Where the link of a home waits.
pub(crate) fn file_in(data_dir: &Path) -> PathBuf {
    data_dir.join(SETUP_FILE)
}

/// Removes a link that is good no more.
pub(crate) fn forget(file: &Path) {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, file = %file.display(), "a used setup link could not be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn link(directory: &Path) -> SetupLink {
        SetupLink::new("https://gateway:8443/setup#secret".into(), directory)
    }

    #[test]
    fn the_file_is_for_its_user_alone_and_goes_when_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let link = link(directory.path());
        let file = link.keep().unwrap();
        assert_eq!(
            fs::read_to_string(file).unwrap(),
            format!("{}\n", link.url())
        );
        assert_eq!(
            fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        link.keep().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        forget(file);
        forget(file);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_that_was_put_in_its_place_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other");
        fs::write(&other, "theirs").unwrap();
        let link = link(directory.path());
        symlink(&other, directory.path().join(SETUP_FILE)).unwrap();
        let file = link.keep().unwrap();
        assert!(!fs::symlink_metadata(file).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
    }

    #[test]
    fn what_is_told_of_it_does_not_hold_the_secret() {
        let text = format!("{:?}", link(Path::new("/d")));
        assert!(!text.contains("secret"), "{text}");
    }
}
