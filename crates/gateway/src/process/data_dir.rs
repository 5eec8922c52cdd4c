//! Where the home lives, if nobody says.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hearthkey_api::SOCKET_FILE;

/// Where the gateway's data is when it runs as a service.
const SYSTEM_DIR: &str = "/var/lib/hearthkey";

/// Nothing says where the data could be.
#[derive(Debug, thiserror::Error)]
#[error("neither XDG_DATA_HOME nor HOME names an absolute path")]
pub struct NoDataDir;

/// Why a directory cannot hold a home.
#[derive(Debug, thiserror::Error)]
pub enum UnfitDataDir {
    /// The kernel takes no socket under so long a path.
    #[error(
        "the path of the data directory is {over} bytes too long for the socket in it. Choose a --data-dir of at most {DATA_DIR_MAX_BYTES} bytes"
    )]
    TooLong {
        /// How many bytes are too many.
        over: usize,
    },
    /// Something else has this name.
    #[error("the data directory {0} is not a directory. Choose another --data-dir")]
    NotADirectory(PathBuf),
}

/// The longest path of a data directory: with the socket's name it fits into `sun_path` (unix(7)) and its last zero.
const DATA_DIR_MAX_BYTES: usize = 107 - 1 - SOCKET_FILE.len();

/// Whether a directory could hold a home, as far as its name and kind tell. It need not be there yet.
pub(crate) fn check_data_dir(path: &Path) -> Result<(), UnfitDataDir> {
    let length = path.as_os_str().as_bytes().len();
    if length > DATA_DIR_MAX_BYTES {
        let over = length - DATA_DIR_MAX_BYTES;
        return Err(UnfitDataDir::TooLong { over });
    }
    if path.exists() && !path.is_dir() {
        return Err(UnfitDataDir::NotADirectory(path.to_owned()));
    }
    Ok(())
}

/// What the default depends on.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Whether the program runs as root.
    pub root: bool,
    /// `$XDG_DATA_HOME`.
    pub xdg_data_home: Option<OsString>,
    /// `$HOME`.
    pub home: Option<OsString>,
}

impl Surroundings {
    /// Those of this process.
    pub fn here() -> Self {
        Self {
            root: rustix::process::geteuid().is_root(),
            xdg_data_home: std::env::var_os("XDG_DATA_HOME"),
            home: std::env::var_os("HOME"),
        }
    }

    /// The data directory for these surroundings. The XDG specification has relative paths ignored.
    pub fn data_dir(&self) -> Result<PathBuf, NoDataDir> {
        if self.root {
            return Ok(PathBuf::from(SYSTEM_DIR));
        }
        let absolute = |value: &Option<OsString>| {
            let path = PathBuf::from(value.as_ref()?);
            path.is_absolute().then_some(path)
        };
        let base = absolute(&self.xdg_data_home)
            .or_else(|| absolute(&self.home).map(|home| home.join(".local/share")));
        base.map(|base| base.join(Path::new("hearthkey")))
            .ok_or(NoDataDir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(root: bool, xdg: Option<&str>, home: Option<&str>) -> Option<PathBuf> {
        let surroundings = Surroundings {
            root,
            xdg_data_home: xdg.map(OsString::from),
            home: home.map(OsString::from),
        };
        surroundings.data_dir().ok()
    }

    #[test]
    fn a_directory_is_as_long_as_a_socket_in_it_can_be_and_no_longer() {
        let fits = PathBuf::from(format!("/{}", "x".repeat(DATA_DIR_MAX_BYTES - 1)));
        assert!(check_data_dir(&fits).is_ok());
        assert_eq!(fits.join(SOCKET_FILE).as_os_str().len(), 107);
        let refused = check_data_dir(&fits.join("y")).unwrap_err();
        assert!(
            refused.to_string().contains("2 bytes too long"),
            "{refused}"
        );
        let file = check_data_dir(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(file, UnfitDataDir::NotADirectory(_)), "{file}");
    }

    #[test]
    fn root_keeps_its_data_where_services_do() {
        assert_eq!(
            dir(true, Some("/x"), Some("/root")),
            Some(SYSTEM_DIR.into())
        );
    }

    #[test]
    fn a_person_keeps_it_in_the_data_home() {
        assert_eq!(
            dir(false, Some("/x"), Some("/home/a")),
            Some("/x/hearthkey".into())
        );
        assert_eq!(
            dir(false, None, Some("/home/a")),
            Some("/home/a/.local/share/hearthkey".into())
        );
    }

    #[test]
    fn a_relative_data_home_is_ignored() {
        assert_eq!(
            dir(false, Some("x"), Some("/home/a")),
            Some("/home/a/.local/share/hearthkey".into())
        );
    }

    #[test]
    fn without_any_home_the_directory_has_to_be_named() {
        assert_eq!(dir(false, None, None), None);
        assert_eq!(dir(false, Some(""), Some("")), None);
    }
}
