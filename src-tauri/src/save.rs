//! Files that a person keeps: WebKitGTK has no downloads from a scheme of one's own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tauri::{AppHandle, Manager};

/// The longest name of a file, in bytes.
const NAME_MAX_BYTES: usize = 120;
/// Files of one name that are kept side by side.
const SAME_NAME_MAX: u32 = 99;

/// Why a file was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The name could mean another place.
    #[error("{0:?} is no name for a file. Report this: the interface names its files itself")]
    Name(String),
    /// There is no place.
    #[error(
        "this user has no home directory to save files in. Set HOME, and start the window again"
    )]
    NoPlace,
    /// Too many of the same name.
    #[error("{0} and {SAME_NAME_MAX} others of that name exist already. Put some of them away")]
    Crowded(PathBuf),
    /// The file system.
    #[error("{path} cannot be written: {source}. Free or mend the disk, then try again")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Saves a text among the person's downloads, beside what is there. Answers where.
#[tauri::command]
pub async fn save_file(app: AppHandle, name: String, content: String) -> Result<String, String> {
    let place = app.path().download_dir().or_else(|_| {
        let home = app.path().home_dir();
        home.map(|home| home.join("Downloads"))
    });
    let place = place.map_err(|_| SaveError::NoPlace.to_string())?;
    let saved = save_in(&place, &name, content.as_bytes());
    saved
        .map(|path| path.display().to_string())
        .map_err(|error| error.to_string())
}

/// Writes a new file for its owner alone; one that is there is never touched.
fn save_in(place: &Path, name: &str, content: &[u8]) -> Result<PathBuf, SaveError> {
    if !is_plain(name) {
        return Err(SaveError::Name(name.to_owned()));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SaveError::Io { path, source }
    };
    let mut directory = DirBuilder::new();
    directory.recursive(true).mode(0o700);
    directory.create(place).map_err(failed(place))?;
    for n in 1..=SAME_NAME_MAX {
        let path = place.join(numbered(name, n));
        match new_file(&path) {
            Ok(mut file) => {
                let written = file.write_all(content).and_then(|()| file.sync_all());
                return written.map(|()| path.clone()).map_err(failed(&path));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path)(error)),
        }
    }
    Err(SaveError::Crowded(place.join(name)))
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Whether a name is one, and not a way to somewhere.
fn is_plain(name: &str) -> bool {
    let begins_well = name.starts_with(|c: char| c.is_alphanumeric());
    begins_well
        && name.len() <= NAME_MAX_BYTES
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
}

/// `log.jsonl`, `log (2).jsonl`, …
fn numbered(name: &str, n: u32) -> String {
    match (n, name.rsplit_once('.')) {
        (1, _) => name.to_owned(),
        (_, Some((stem, end))) => format!("{stem} ({n}).{end}"),
        (_, None) => format!("{name} ({n})"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_saved_for_its_owner_alone_and_none_is_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().join("Downloads");
        let first = save_in(&place, "kit.txt", b"one").unwrap();
        let second = save_in(&place, "kit.txt", b"two").unwrap();
        assert_eq!(second, place.join("kit (2).txt"));
        assert_eq!(std::fs::read(&first).unwrap(), b"one");
        assert_eq!(std::fs::read(&second).unwrap(), b"two");
        let mode = std::fs::metadata(&first).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_link_that_lies_in_wait_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        std::os::unix::fs::symlink(&target, place.path().join("kit.txt")).unwrap();
        let saved = save_in(place.path(), "kit.txt", b"one").unwrap();
        assert_eq!(saved, place.path().join("kit (2).txt"));
        assert!(!target.exists());
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let place = tempfile::tempdir().unwrap();
        for name in [
            "",
            ".bashrc",
            "../x",
            "a/b",
            "a\nb",
            "-rf",
            &"a".repeat(121),
        ] {
            let refused = save_in(place.path(), name, b"");
            assert!(matches!(refused, Err(SaveError::Name(_))), "{name}");
        }
    }
}
