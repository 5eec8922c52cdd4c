//! What the window is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use hearthkey_gateway::{Announce, NoDataDir, RunConfig, Surroundings};

/// Hearthkey in a window: a home on this computer, and its interface.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Options {
    /// The home's data directory. Without it, that of this user.
    #[arg(long, value_name = "DIR", env = "HEARTHKEY_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where devices connect.
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8883")]
    mqtt: SocketAddr,
    /// Where other browsers and services come over HTTPS, too. Without it, this window is the only one.
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// A DNS name or IP address under which devices reach this computer; repeatable, the first one is given to new
    /// devices. Without it, this computer's name.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Say more on standard error; repeatable.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Options {
    /// How the gateway in this process is run. The words that open it are asked for in the window.
    pub fn config(self) -> Result<RunConfig, NoDataDir> {
        let data_dir = match self.data_dir {
            Some(named) => named,
            None => Surroundings::here().data_dir()?,
        };
        let hosts = match self.hosts.is_empty() {
            true => names_of(
                rustix::system::uname()
                    .nodename()
                    .to_string_lossy()
                    .as_ref(),
            ),
            false => self.hosts,
        };
        Ok(RunConfig {
            data_dir,
            mqtt: self.mqtt,
            http: self.http,
            connections_max: None,
            hosts,
            announce: Announce::default(),
            passphrase: None,
        })
    }
}

/// The names of a computer: on the local link it is found as NAME.local (RFC 6762).
fn names_of(computer: &str) -> Vec<String> {
    let is_host = !computer.is_empty()
        && !computer.starts_with('-')
        && computer
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    let mut names = Vec::new();
    if is_host && !computer.contains('.') {
        names.push(format!("{computer}.local"));
    }
    if is_host {
        names.push(computer.to_owned());
    }
    names.push("localhost".to_owned());
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computer_is_known_by_its_name_on_the_link_and_to_itself() {
        assert_eq!(names_of("attic"), ["attic.local", "attic", "localhost"]);
        assert_eq!(names_of("attic.lan"), ["attic.lan", "localhost"]);
    }

    #[test]
    fn a_name_that_no_certificate_may_hold_is_left_out() {
        for strange in ["", "my computer", "a_b", "-x"] {
            assert_eq!(names_of(strange), ["localhost"]);
        }
    }
}
