//! Where the home lives, if nobody says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where the gateway's data is when it runs as a service.
const SYSTEM_DIR: &str = "/var/lib/hearthkey";

/// Nothing says where the data could be.
#[derive(Debug, thiserror::Error)]
#[error("neither XDG_DATA_HOME nor HOME names an absolute path")]
pub struct NoDataDir;

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
