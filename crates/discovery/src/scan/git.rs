//! Running `git`, so that a repository of somebody else's can do nothing but be read.
//!
//! The executable is used instead of a library: it is on every machine that has a repository, reads every form that
//! repositories have, and costs no compilation. The repository's own configuration is not trusted: hooks, file system
//! monitors, pagers, signature programs, external diffs and fetching are switched off on the command line, which wins
//! over it. Variables of the environment that point git elsewhere are removed. Whether a repository of another user is
//! read at all is git's own decision (`safe.directory`), which stays in force.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The longest message of git that is shown, in characters.
const MESSAGE_MAX_CHARS: usize = 300;

const ENDED_EARLY: &str = "git ended early";

/// Why git could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git.
    #[error("git could not be started: {0}: install git, or put it on the PATH")]
    NoGit(#[source] io::Error),
    /// This is no repository.
    #[error("{} is no git repository: name its top directory, or a bare repository", .0.display())]
    NoRepository(PathBuf),
    /// The repository belongs to another user.
    #[error(
        "{} belongs to another user, so git does not read it: run the scan as that user, or trust it with \
         git config --global --add safe.directory {}", .0.display(), .0.display()
    )]
    ForeignOwner(PathBuf),
    /// The repository is damaged.
    #[error("{} cannot be read whole: {message}: run git fsck in it", path.display())]
    Damaged {
        /// The repository.
        path: PathBuf,
        /// What git says.
        message: String,
    },
}

/// A repository that can be asked.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    pub path: PathBuf,
}

/// A git that is answering.
pub(super) struct Answer {
    child: Child,
    pub stdout: BufReader<ChildStdout>,
    stderr: Option<std::thread::JoinHandle<String>>,
    path: PathBuf,
}

impl Repository {
    /// The repository whose top directory, worktree or bare directory this is. Directories above are not looked at.
    pub(super) fn open(path: &Path) -> Result<Self, GitError> {
        let path =
            std::path::absolute(path).map_err(|_| GitError::NoRepository(path.to_owned()))?;
        let repository = Self { path };
        let mut answer = repository.ask(&["rev-parse", "--git-dir"], Stdio::null())?;
        let mut text = String::new();
        let read = answer.stdout.read_to_string(&mut text);
        match answer.end() {
            Ok(()) if read.is_ok() => Ok(repository),
            Err(GitError::Damaged { message, .. }) if message.contains("dubious ownership") => {
                Err(GitError::ForeignOwner(repository.path))
            }
            Err(GitError::Damaged { message, .. }) if !message.contains("not a git repository") => {
                Err(GitError::Damaged {
                    path: repository.path,
                    message,
                })
            }
            Err(error @ GitError::NoGit(_)) => Err(error),
            _ => Err(GitError::NoRepository(repository.path)),
        }
    }

    /// Git, in this repository, with nothing of the environment that points it elsewhere.
    fn bare_command(&self) -> Command {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"GIT_") {
                command.env_remove(name);
            }
        }
        let above = self.path.parent().unwrap_or(&self.path);
        command
            .env("GIT_CEILING_DIRECTORIES", above)
            // No transport, whatever the repository's configuration allows: an old git has no other way, and some run programs.
            .env("GIT_ALLOW_PROTOCOL", "")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C");
        // A bare repository was named by the caller, which is what that setting asks for.
        command
            .args(["--no-pager", "-c", "safe.bareRepository=all"])
            .arg("-C")
            .arg(&self.path);
        command
    }

    fn command(&self) -> Command {
        let mut command = self.bare_command();
        command.args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ]);
        command.args([
            "-c",
            "protocol.allow=never",
            "-c",
            "log.showSignature=false",
        ]);
        command
    }

    /// Where git looks for this repository's hooks (`core.hooksPath`). Asking runs none.
    pub(super) fn hooks(&self) -> Result<PathBuf, GitError> {
        let mut command = self.bare_command();
        command.args(["rev-parse", "--path-format=absolute", "--git-path", "hooks"]);
        let (answer, _) = self.start(command, Stdio::null())?;
        self.first_line(answer).map(PathBuf::from)
    }

    /// Asks git, with nothing but these arguments.
    pub(super) fn ask(&self, arguments: &[&str], stdin: Stdio) -> Result<Answer, GitError> {
        let mut command = self.command();
        command.args(arguments);
        self.start(command, stdin).map(|(answer, _)| answer)
    }

    /// Asks git with another index than the repository's own.
    pub(super) fn ask_index(
        &self,
        arguments: &[&str],
        index: Option<&Path>,
    ) -> Result<Answer, GitError> {
        let mut command = self.command();
        if let Some(index) = index {
            command.env("GIT_INDEX_FILE", index);
        }
        command.args(arguments);
        self.start(command, Stdio::null()).map(|(answer, _)| answer)
    }

    /// Asks git, and goes on asking through what is returned beside the answer.
    pub(super) fn converse(&self, arguments: &[&str]) -> Result<(Answer, ChildStdin), GitError> {
        let mut command = self.command();
        command.args(arguments);
        match self.start(command, Stdio::piped())? {
            (answer, Some(stdin)) => Ok((answer, stdin)),
            (_, None) => Err(GitError::NoGit(io::Error::other("it has no input"))),
        }
    }

    /// What git prints in one line.
    pub(super) fn line(&self, arguments: &[&str]) -> Result<String, GitError> {
        self.first_line(self.ask(arguments, Stdio::null())?)
    }

    fn first_line(&self, mut answer: Answer) -> Result<String, GitError> {
        let mut line = String::new();
        let read = answer
            .stdout
            .read_line(&mut line)
            .map_err(|error| self.damaged(error));
        answer.end().and(read)?;
        Ok(line.trim_end_matches('\n').to_owned())
    }

    pub(super) fn damaged(&self, error: impl ToString) -> GitError {
        GitError::Damaged {
            path: self.path.clone(),
            message: error.to_string(),
        }
    }

    fn start(
        &self,
        mut command: Command,
        stdin: Stdio,
    ) -> Result<(Answer, Option<ChildStdin>), GitError> {
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(GitError::NoGit)?;
        let stdin = child.stdin.take();
        let stderr = child
            .stderr
            .take()
            .map(|stderr| std::thread::spawn(move || first_words(stderr)));
        let Some(stdout) = child.stdout.take() else {
            return Err(GitError::NoGit(io::Error::other("it has no output")));
        };
        let stdout = BufReader::with_capacity(256 * 1024, stdout);
        Ok((
            Answer {
                child,
                stdout,
                stderr,
                path: self.path.clone(),
            },
            stdin,
        ))
    }
}

impl Answer {
    /// Reads what is left, so that git does not wait for it.
    pub(super) fn drain(&mut self) {
        let _ = io::copy(&mut self.stdout, &mut io::sink());
    }

    /// Ends git at once.
    pub(super) fn stop(&mut self) {
        let _ = self.child.kill();
    }

    /// Waits for git's end, and says whether it went well.
    pub(super) fn end(mut self) -> Result<(), GitError> {
        self.drain();
        let status = self.child.wait().map_err(GitError::NoGit)?;
        let message = self
            .stderr
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let message = if message.is_empty() {
            ENDED_EARLY.to_owned()
        } else {
            message
        };
        Err(GitError::Damaged {
            path: self.path.clone(),
            message,
        })
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // A scan that stops early does not leave a git behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of two errors, the one that says more: git can tell better why it stopped.
pub(super) fn clearer(
    ours: Result<(), GitError>,
    gits: Result<(), GitError>,
) -> Result<(), GitError> {
    match (ours, gits) {
        (Err(ours), Err(GitError::Damaged { message, .. })) if message == ENDED_EARLY => Err(ours),
        (Err(_), Err(gits)) => Err(gits),
        (ours, gits) => ours.and(gits),
    }
}

/// The repository around a path: the nearest directory, from there upwards, that git would take for one.
pub fn repository_around(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let found = path.ancestors().find(|directory| {
        let bare = directory.join("HEAD").is_file()
            && directory.join("objects").is_dir()
            && directory.join("refs").is_dir();
        bare || directory.join(".git").exists()
    });
    found.map(Path::to_owned)
}

/// The first line of what git complains of. All of it is read, so that git never waits.
fn first_words(stderr: impl Read) -> String {
    let mut reader = BufReader::new(stderr);
    let mut first = Vec::new();
    let _ = reader.by_ref().take(4096).read_to_end(&mut first);
    let _ = io::copy(&mut reader, &mut io::sink());
    let text = String::from_utf8_lossy(&first);
    let told = text
        .lines()
        .find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let line = told.or_else(|| text.lines().next()).unwrap_or_default();
    let line = line
        .trim_start_matches("fatal: ")
        .trim_start_matches("error: ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE_MAX_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn no_repository_has_git_speak_to_anything_whatever_it_allows() {
        let repository = Repository {
            path: PathBuf::from("/srv/x.git"),
        };
        for command in [repository.bare_command(), repository.command()] {
            let of = |wanted: &str| {
                let mut envs = command.get_envs();
                envs.find(|(name, _)| *name == OsStr::new(wanted))
                    .and_then(|(_, value)| value)
            };
            assert_eq!(of("GIT_ALLOW_PROTOCOL"), Some(OsStr::new("")));
            assert_eq!(of("GIT_NO_LAZY_FETCH"), Some(OsStr::new("1")));
        }
    }
}
