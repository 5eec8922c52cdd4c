//! The device's directory: every file is written whole, synced and renamed into place; the key is readable by its owner only.
//!
//! Files are written by their names in the directory that was opened, and never through a link that somebody has put there.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, fchmod, renameat};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::checkpoint::SeenCheckpoint;
use crate::fingerprint::Fingerprint;
use crate::moment::Moment;
use crate::payload::Window;
pub use error::DirectoryError;
use error::at;
use files::{Held, Lock, PRIVATE, create, open_directory, open_file, remove};

mod error;
mod files;

pub(crate) const KEY: &str = "device.key";
pub(crate) const CERTIFICATE: &str = "device.crt";
pub(crate) const NEXT_KEY: &str = "next.key";
pub(crate) const NEXT_CERTIFICATE: &str = "next.crt";
pub(crate) const TRUST: &str = "trust.pem";
const STATE: &str = "state.json";
const LOCK: &str = "lock";

/// A device's directory.
#[derive(Debug)]
pub(crate) struct DeviceDirectory {
    path: PathBuf,
    /// Held while a process may write: two writers would tear the slots apart.
    held: Option<Held>,
}

/// What the device remembers beside its key, certificate and roots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) device: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Id of the claim that enrolled the device.
    pub(crate) claim: String,
    pub(crate) serial: String,
    pub(crate) not_after: Moment,
    pub(crate) renew_after: Moment,
    pub(crate) trust_bundle_sha256: Fingerprint,
    pub(crate) checkpoint: Option<SeenCheckpoint>,
    /// The notice that the newest renewal answered: seen again, it asks for nothing.
    pub(crate) answered: Option<Window>,
    /// When the current pair was put in its place without having been seen on a connection: whatever uses the files is the
    /// first to connect with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) handed_over: Option<Moment>,
    /// The hook has not ended well since then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) hook_owed: bool,
}

impl DeviceDirectory {
    /// Opens a directory for a new device, making it if need be, and keeps other writers out. The owner of the directory
    /// controls the device, so it has to be the user who enrolls it.
    pub(crate) fn open_to_enroll(path: &Path) -> Result<Self, DirectoryError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(|cause| at(path, cause))?;
        Self::open(path, &[geteuid().as_raw(), 0])
    }

    fn open(path: &Path, owners: &[u32]) -> Result<Self, DirectoryError> {
        let lock_path = path.join(LOCK);
        let failed = |cause| at(&lock_path, cause);
        let directory = open_directory(path).map_err(failed)?;
        let found = directory.metadata().map_err(|cause| at(path, cause))?;
        if !owners.contains(&found.uid()) {
            return Err(DirectoryError::NotPrivate {
                path: path.to_owned(),
                why: "it belongs to another user",
                remedy: format!(
                    "Run the agent as that user, for example `sudo -u '#{}' hearthkey-agent …`, or choose another directory",
                    found.uid()
                ),
            });
        }
        closed_to_writers(path, found.mode())?;
        let lock = match create(&directory, LOCK, OFlags::EXCL) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                create(&directory, LOCK, OFlags::empty())
            }
            made => made,
        }
        .map_err(failed)?;
        fchmod(&lock, PRIVATE).map_err(|cause| failed(cause.into()))?;
        let held = lock
            .try_lock()
            .and_then(|()| Held::new(directory, Lock(lock)));
        let held = held.map_err(|error| match error {
            fs::TryLockError::WouldBlock => DirectoryError::InUse {
                path: path.to_owned(),
            },
            fs::TryLockError::Error(cause) => failed(cause),
        })?;
        Ok(Self {
            path: path.to_owned(),
            held: Some(held),
        })
    }

    /// Opens a directory that holds a device, to write in. Root works in a user's, and leaves it that user's.
    pub(crate) fn open_existing(path: &Path) -> Result<Self, DirectoryError> {
        Self::read_only(path).require()?;
        let owner = fs::metadata(path).map_err(|cause| at(path, cause))?.uid();
        let (user, root) = (geteuid().as_raw(), 0);
        match user == root {
            true => Self::open(path, &[owner]),
            false => Self::open(path, &[user, root]),
        }
    }

    /// Fails if others can put files into the directory, or read or have made the key.
    pub(crate) fn require_private(&self) -> Result<(), DirectoryError> {
        let found = fs::metadata(&self.path).map_err(|cause| at(&self.path, cause))?;
        closed_to_writers(&self.path, found.mode())?;
        self.read(KEY).map(drop)
    }

    /// A directory to look at while another process may write in it: every file it shows is whole.
    pub(crate) fn read_only(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            held: None,
        }
    }

    /// Fails unless the directory holds the memory of an enrolled device.
    pub(crate) fn require(&self) -> Result<(), DirectoryError> {
        if self.path.join(STATE).is_file() {
            Ok(())
        } else {
            Err(DirectoryError::NotEnrolled {
                path: self.path.clone(),
            })
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of a file, wiped after use: it may be a key. `None` if there is no such file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, DirectoryError> {
        let path = self.path.join(name);
        let opened = match &self.held {
            Some(held) => held
                .at(&self.path)
                .and_then(|directory| open_file(directory.as_fd(), Path::new(name))),
            None => open_file(CWD, &path),
        };
        let mut file = match opened {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(at(&path, cause)),
        };
        if [KEY, NEXT_KEY].contains(&name) {
            self.require_own_key(&path, &file)?;
        }
        let mut bytes = Zeroizing::new(Vec::new());
        match file.read_to_end(&mut bytes) {
            Ok(_) => Ok(Some(bytes)),
            Err(cause) => Err(at(&path, cause)),
        }
    }

    /// Fails if somebody else has made a key, or can read it.
    fn require_own_key(&self, path: &Path, file: &File) -> Result<(), DirectoryError> {
        let failed = |cause| at(path, cause);
        let key = file.metadata().map_err(failed)?;
        let home = match &self.held {
            Some(held) => held.at(&self.path).and_then(File::metadata),
            None => fs::metadata(&self.path),
        };
        let home = home.map_err(failed)?;
        let shown = path.display();
        let (why, remedy) = if ![home.uid(), geteuid().as_raw(), 0].contains(&key.uid()) {
            let remedy = format!(
                "Its creator controls the device: remove it with `rm '{shown}'`, and enroll with a new claim"
            );
            ("the key belongs to another user", remedy)
        } else if key.mode() & 0o077 != 0 {
            let remedy = format!(
                "Close it with `chmod 600 '{shown}'`; if somebody else may have read it, revoke the device and enroll it again"
            );
            ("others than its owner can read or write the key", remedy)
        } else {
            return Ok(());
        };
        Err(DirectoryError::NotPrivate {
            path: path.to_owned(),
            why,
            remedy,
        })
    }

    /// The directory, to write in.
    fn to_write(&self) -> io::Result<&File> {
        let held = self.held.as_ref();
        held.ok_or_else(|| io::Error::other("it was opened to read only"))?
            .at(&self.path)
    }

    /// Writes a file so that, whenever the power goes, either the old or the new one is there, whole.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DirectoryError> {
        let draft = format!(".{name}.new");
        self.to_write()
            .and_then(|directory| {
                // A draft of a crashed writer may have lain open to other eyes: never write into it.
                remove(directory, &draft)?;
                let mut file = create(directory, &draft, OFlags::EXCL)?;
                file.write_all(bytes)?;
                file.sync_all()?;
                renameat(directory, &draft, directory, name)?;
                directory.sync_all()
            })
            .map_err(|cause| at(&self.path.join(name), cause))
    }

    /// Renames a file over another.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), DirectoryError> {
        self.to_write()
            .and_then(|directory| {
                renameat(directory, from, directory, to)?;
                directory.sync_all()
            })
            .map_err(|cause| at(&self.path.join(to), cause))
    }

    /// Removes a file; it is no error if there is none.
    pub(crate) fn remove(&self, name: &str) -> Result<(), DirectoryError> {
        self.to_write()
            .and_then(|directory| {
                remove(directory, name)?;
                directory.sync_all()
            })
            .map_err(|cause| at(&self.path.join(name), cause))
    }

    /// Reads the device's memory.
    pub(crate) fn state(&self) -> Result<State, DirectoryError> {
        let Some(bytes) = self.read(STATE)? else {
            return Err(DirectoryError::NotEnrolled {
                path: self.path.clone(),
            });
        };
        serde_json::from_slice(&bytes).map_err(|error| self.damaged(STATE, error.to_string()))
    }

    /// Writes the device's memory.
    pub(crate) fn write_state(&self, state: &State) -> Result<(), DirectoryError> {
        let mut json = serde_json::to_vec_pretty(state)
            .map_err(|error| self.damaged(STATE, error.to_string()))?;
        json.push(b'\n');
        self.write(STATE, &json)
    }

    pub(crate) fn damaged(&self, name: &str, why: impl ToString) -> DirectoryError {
        DirectoryError::Damaged {
            path: self.path.join(name),
            why: why.to_string(),
        }
    }
}

/// Fails if others than its owner can put files into a directory.
fn closed_to_writers(path: &Path, mode: u32) -> Result<(), DirectoryError> {
    if mode & 0o022 == 0 {
        return Ok(());
    }
    Err(DirectoryError::NotPrivate {
        path: path.to_owned(),
        why: "others than its owner can put files into it",
        remedy: format!("Close it with `chmod go-w '{}'`", path.display()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::fs::Mode;

    use super::*;
    use crate::explain::{Explain as _, Explanation};

    #[test]
    fn a_file_is_its_owners_alone_and_replaced_whole() {
        let temp = tempfile::tempdir().unwrap();
        let directory = DeviceDirectory::open_to_enroll(&temp.path().join("device")).unwrap();
        directory.write(KEY, b"one").unwrap();
        directory.write(KEY, b"two").unwrap();
        let path = directory.path().join(KEY);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let mode = fs::metadata(directory.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn the_draft_of_a_crashed_writer_is_no_obstacle() {
        let temp = tempfile::tempdir().unwrap();
        let directory = DeviceDirectory::open_to_enroll(temp.path()).unwrap();
        fs::write(temp.path().join(".device.key.new"), b"half").unwrap();
        directory.write(KEY, b"whole").unwrap();
        assert_eq!(directory.read(KEY).unwrap().unwrap().as_slice(), b"whole");
        assert!(!temp.path().join(".device.key.new").exists());
    }

    #[test]
    fn nothing_is_written_through_a_link_that_somebody_has_put_there() {
        let temp = tempfile::tempdir().unwrap();
        let victim = temp.path().join("victim");
        fs::write(&victim, b"precious").unwrap();
        let place = temp.path().join("device");
        let directory = DeviceDirectory::open_to_enroll(&place).unwrap();
        for name in [".device.key.new", KEY] {
            std::os::unix::fs::symlink(&victim, place.join(name)).unwrap();
        }
        directory.write(KEY, b"secret").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(fs::symlink_metadata(place.join(KEY)).unwrap().is_file());
        drop(directory);
        fs::remove_file(place.join(LOCK)).unwrap();
        std::os::unix::fs::symlink(&victim, place.join(LOCK)).unwrap();
        assert!(DeviceDirectory::open_to_enroll(&place).is_err());
    }

    #[test]
    fn a_pipe_in_place_of_a_file_is_refused_and_waited_for_by_nobody() {
        let temp = tempfile::tempdir().unwrap();
        let pipe = |name: &str| {
            let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR);
            rustix::fs::mknodat(rustix::fs::CWD, temp.path().join(name), kind, mode, 0).unwrap();
        };
        pipe(TRUST);
        let directory = DeviceDirectory::open_to_enroll(temp.path()).unwrap();
        let refused = directory.read(TRUST).unwrap_err();
        assert!(refused.to_string().contains("not a regular file"));
        directory.write(TRUST, b"roots").unwrap();
        drop(directory);
        fs::remove_file(temp.path().join(LOCK)).unwrap();
        pipe(LOCK);
        assert!(DeviceDirectory::open_to_enroll(temp.path()).is_err());
    }

    #[test]
    fn a_directory_has_one_writer_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let first = DeviceDirectory::open_to_enroll(temp.path()).unwrap();
        let second = DeviceDirectory::open_to_enroll(temp.path());
        assert!(matches!(second, Err(DirectoryError::InUse { .. })));
        drop(first);
        assert!(DeviceDirectory::open_to_enroll(temp.path()).is_ok());
    }

    #[test]
    fn whoever_can_read_the_directory_cannot_lock_the_device() {
        let temp = tempfile::tempdir().unwrap();
        let lock = temp.path().join(LOCK);
        fs::write(&lock, b"").unwrap();
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let readers = open_directory(temp.path()).unwrap();
        readers.try_lock().unwrap();
        let _held = DeviceDirectory::open_to_enroll(temp.path()).unwrap();
        let mode = fs::metadata(&lock).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, DirectoryError>) -> Explanation {
        let error = result.unwrap_err();
        assert!(
            matches!(error, DirectoryError::NotPrivate { .. }),
            "{error:?}"
        );
        error.explain()
    }

    #[test]
    fn a_directory_into_which_others_can_put_files_is_refused_with_what_closes_it() {
        for mode in [0o770, 0o777, 0o703] {
            let temp = tempfile::tempdir().unwrap();
            let open = fs::Permissions::from_mode(mode);
            fs::write(temp.path().join(STATE), b"{}").unwrap();
            fs::set_permissions(temp.path(), open).unwrap();
            let told = refusal(DeviceDirectory::open_to_enroll(temp.path()));
            assert!(told.remedy.contains("chmod go-w"), "{}", told.remedy);
            refusal(DeviceDirectory::open_existing(temp.path()));
            refusal(DeviceDirectory::read_only(temp.path()).require_private());
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_what_closes_it() {
        let temp = tempfile::tempdir().unwrap();
        let directory = DeviceDirectory::open_to_enroll(temp.path()).unwrap();
        for name in [KEY, NEXT_KEY] {
            directory.write(name, b"key").unwrap();
            let path = temp.path().join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let told = refusal(directory.read(name));
            assert!(
                told.remedy
                    .contains(&format!("chmod 600 '{}'", path.display())),
                "{}",
                told.remedy
            );
        }
    }

    #[test]
    fn root_enrolls_in_no_directory_and_with_no_key_of_another_user() {
        if !geteuid().is_root() {
            return println!("skipped: only root can make files for others");
        }
        let temp = tempfile::tempdir().unwrap();
        let chown = |path: &Path, user| std::os::unix::fs::chown(path, Some(user), None).unwrap();
        chown(temp.path(), 65_534);
        let told = refusal(DeviceDirectory::open_to_enroll(temp.path()));
        assert!(told.why.contains("another user"), "{}", told.why);
        assert!(told.remedy.contains("sudo -u '#65534'"), "{}", told.remedy);
        chown(temp.path(), 0);
        let directory = DeviceDirectory::open_to_enroll(temp.path()).unwrap();
        directory.write(KEY, b"key").unwrap();
        chown(&temp.path().join(KEY), 65_534);
        let told = refusal(directory.read(KEY));
        assert!(told.remedy.contains("rm '"), "{}", told.remedy);
    }

    #[test]
    fn what_root_writes_in_the_directory_of_a_user_is_that_users() {
        if !geteuid().is_root() {
            return println!("skipped: only root can make files for others");
        }
        let temp = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(temp.path(), Some(65_534), Some(65_534)).unwrap();
        fs::write(temp.path().join(STATE), b"{}").unwrap();
        let directory = DeviceDirectory::open_existing(temp.path()).unwrap();
        directory.write(KEY, b"key").unwrap();
        for name in [KEY, LOCK] {
            let made = fs::metadata(temp.path().join(name)).unwrap();
            assert_eq!((made.uid(), made.gid()), (65_534, 65_534), "{name}");
        }
    }

    #[test]
    fn an_empty_directory_says_how_to_enroll() {
        let temp = tempfile::tempdir().unwrap();
        let error = DeviceDirectory::open_existing(temp.path()).unwrap_err();
        let told = error.explain();
        assert_eq!(told.what, "The device's directory cannot be used");
        assert!(told.why.ends_with("holds no enrolled device"));
        assert_eq!(
            told.remedy,
            "Open a claim for the device at the gateway and run hearthkey-agent enroll with it"
        );
    }
}
