//! Real repositories for the stories, with nothing of the machine's own configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub struct Repository {
    directory: TempDir,
}

impl Repository {
    pub fn new() -> Self {
        let repository = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
    }

    /// Runs git, which must go well, and returns what it says.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = command(self.path()).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits everything and returns the commit's id. Each commit is a day later than the one before.
    pub fn commit(&self, message: &str) -> String {
        let count: u32 = match command(self.path())
            .args(["rev-list", "--count", "--all"])
            .output()
        {
            Ok(output) => String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse()
                .unwrap_or(0),
            Err(error) => panic!("{error}"),
        };
        self.git(&["add", "-A"]);
        let date = format!("2026-01-{:02}T12:00:00Z", count + 1);
        let commit = command(self.path())
            .env("GIT_COMMITTER_DATE", &date)
            .env("GIT_AUTHOR_DATE", &date)
            .args(["commit", "-q", "--allow-empty", "-m", message])
            .status();
        assert!(commit.unwrap().success());
        self.git(&["rev-parse", "HEAD"])
    }
}

fn command(path: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args([
            "-c",
            "user.name=Story",
            "-c",
            "user.email=story@example.org",
            "-c",
            "protocol.file.allow=always",
        ])
        .arg("-C")
        .arg(path);
    command
}
