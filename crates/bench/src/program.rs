//! The program under measurement, and the homes that it is measured on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStdout, Command};

use crate::clock::Stopwatch;
use crate::failure::{Failure, failed};
use crate::process::{Broker, Process};

/// The program `hearthkey`.
pub struct Program(PathBuf);

impl Program {
    /// The one that is named, or else the one beside this program.
    pub fn at(named: Option<PathBuf>) -> Result<Self, Failure> {
        let beside = || std::env::current_exe().map(|own| own.with_file_name("hearthkey"));
        let path = named.map_or_else(beside, Ok);
        let path = path.map_err(|error| failed("the program was not found", &error))?;
        match path.is_file() {
            true => Ok(Self(path)),
            false => Err(failed(
                "there is no program to measure. Build it, or name it with --program",
                &path.display(),
            )),
        }
    }

    fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(&self.0);
        command.arg("--json").arg("--data-dir").arg(home);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// A home that opens with a key file, in a directory.
    pub async fn make_home(&self, directory: &Path) -> Result<PathBuf, Failure> {
        let home = directory.join("home");
        let mut init = self.command(&home);
        init.args(["init", "--home", "Bench", "--slot", "keyfile"]);
        let cannot = |error: &dyn std::fmt::Display| failed("no home could be made", error);
        let made = init.output().await.map_err(|e| cannot(&e))?;
        match made.status.success() {
            true => Ok(home),
            false => Err(cannot(&String::from_utf8_lossy(&made.stdout))),
        }
    }

    /// Starts a gateway.
    pub async fn start(&self, home: &Path) -> Result<Broker, Failure> {
        Ok(self.start_with(home, &[]).await?.0)
    }

    /// Starts a gateway that services reach over HTTPS, and says where.
    pub async fn start_with_https(&self, home: &Path) -> Result<(Broker, SocketAddr), Failure> {
        let (gateway, said) = self.start_with(home, &["--http", "127.0.0.1:0"]).await?;
        let https = said["http"].as_str().and_then(|text| text.parse().ok());
        let https = https.ok_or_else(|| failed("there is no HTTPS listener", &said))?;
        Ok((gateway, https))
    }

    /// Starts a gateway with more arguments. Gives the first line that it prints with it.
    pub async fn start_with(&self, home: &Path, more: &[&str]) -> Result<(Broker, Value), Failure> {
        let cannot = |error: &dyn std::fmt::Display| failed("the gateway did not start", error);
        let mut run = self.command(home);
        run.args(["run", "--mqtt", "127.0.0.1:0", "--host", "localhost"]);
        run.args(more).stdout(Stdio::piped());
        let watch = Stopwatch::start();
        let mut child = run.spawn().map_err(|e| cannot(&e))?;
        let line = first_line(child.stdout.take())
            .await
            .map_err(|e| cannot(&e))?;
        let ready_us = watch.elapsed_us();
        let said: Value = serde_json::from_str(&line).map_err(|e| cannot(&e))?;
        let address = said["mqtt"].as_str().and_then(|text| text.parse().ok());
        let address = address.ok_or_else(|| cannot(&line))?;
        let gateway = Broker {
            process: Process::of(child),
            address,
            ready_us,
        };
        Ok((gateway, said))
    }
}

async fn first_line(stdout: Option<ChildStdout>) -> std::io::Result<String> {
    let mut line = String::new();
    if let Some(stdout) = stdout {
        BufReader::new(stdout).read_line(&mut line).await?;
    }
    Ok(line)
}

/// A directory that is gone in the end.
pub fn make_directory() -> Result<TempDir, Failure> {
    let made = tempfile::Builder::new()
        .prefix("hearthkey-bench-")
        .tempdir();
    made.map_err(|error| failed("no temporary directory could be made", &error))
}
