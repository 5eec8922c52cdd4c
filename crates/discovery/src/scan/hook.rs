//! Installing a pre-commit hook that refuses commits with secrets in them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::git::{GitError, Repository};

/// The line by which a hook is known as ours.
const MARK: &str = "# hearthkey pre-commit, version 1\n";
const COMMAND: &str = "hearthkey credential scan --staged";
const SCRIPT: &str = "\
#!/bin/sh
# hearthkey pre-commit, version 1
# Refuses a commit that would carry a secret. Remove this file to stop that.
if ! command -v hearthkey >/dev/null 2>&1; then
  echo 'hearthkey is not on the PATH, so nothing was checked and the commit is refused.' >&2
  echo 'Install it, or commit with --no-verify.' >&2
  exit 1
fi
exec hearthkey credential scan --staged
";
/// The largest hook of somebody else's that is read, in bytes.
const HOOK_MAX_BYTES: u64 = 256 * 1024;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The hook.
    pub path: PathBuf,
    /// Whether it was there already, and nothing was written.
    pub already: bool,
    /// Whether it is outside the repository (`core.hooksPath`), where other repositories may use it, too.
    pub shared: bool,
}

/// Why the hook was not installed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The repository could not be asked.
    #[error(transparent)]
    Git(#[from] GitError),
    /// There is a hook of somebody else's.
    #[error("{} is another program's hook and was left as it is: add the line \"{COMMAND} || exit 1\" to it", .0.display())]
    Occupied(PathBuf),
    /// The hook could not be written.
    #[error("{} could not be written: {error}: check who may write there", path.display())]
    Unwritable {
        /// The hook.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// Installs the hook where git looks for it. Doing so twice changes nothing; a hook of others is never overwritten,
/// and one that runs our command is taken for installed.
pub fn install_hook(repository: &Path) -> Result<Installed, HookError> {
    let repository = Repository::open(repository)?;
    let directory = repository.hooks()?;
    let inside = PathBuf::from(repository.line(&[
        "rev-parse",
        "--path-format=absolute",
        "--git-common-dir",
    ])?);
    let shared = !directory.starts_with(&inside) && !directory.starts_with(&repository.path);
    let path = directory.join("pre-commit");
    let unwritable = |error| HookError::Unwritable {
        path: path.clone(),
        error,
    };
    let already = match fs::symlink_metadata(&path) {
        Ok(metadata) => is_ours(&path, &metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(unwritable(error)),
    };
    if !already {
        fs::create_dir_all(&directory)
            .and_then(|()| write(&path))
            .map_err(unwritable)?;
    }
    Ok(Installed {
        path,
        already,
        shared,
    })
}

/// Whether the hook that is there runs our command.
fn is_ours(path: &Path, metadata: &fs::Metadata) -> Result<bool, HookError> {
    let occupied = || HookError::Occupied(path.to_owned());
    if !metadata.is_file() || metadata.len() > HOOK_MAX_BYTES {
        return Err(occupied());
    }
    let text = fs::read(path).map_err(|error| HookError::Unwritable {
        path: path.to_owned(),
        error,
    })?;
    let text = String::from_utf8_lossy(&text);
    let runs = text
        .lines()
        .any(|line| !line.trim_start().starts_with('#') && line.contains(COMMAND));
    if text.contains(MARK) || runs {
        Ok(true)
    } else {
        Err(occupied())
    }
}

fn write(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o755);
    }
    let mut file = options.open(path)?;
    file.write_all(SCRIPT.as_bytes())
        .and_then(|()| file.sync_all())
        .inspect_err(|_| {
            let _ = fs::remove_file(path);
        })
}
