//! `hearthkey run`: the gateway itself, in the foreground.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use hearthkey_api::SOCKET_FILE;
use hearthkey_gateway::{Announce, RunConfig, RunEvent, SetupLink};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::audience;
use crate::context::Context;
use crate::failure::{Failure, code};
use crate::output::Output;
use crate::words;

/// What `run` is told.
#[derive(Debug, Args)]
pub struct Run {
    /// The MQTT address for devices: an address and a port, like `0.0.0.0:8883`.
    #[arg(long, value_name = "ADDR:PORT", value_parser = listening)]
    mqtt: SocketAddr,
    /// The HTTPS address for people and services: an address and a port, like `0.0.0.0:8443`. Without it
    /// there is no web interface, and only commands on this machine work.
    #[arg(long, value_name = "ADDR:PORT", value_parser = listening)]
    http: Option<SocketAddr>,
    /// Connections of devices at the same time; 2048 by default. Each needs an open file: raise the
    /// limit of open files with it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=65_536))]
    connections: Option<u32>,
    /// A DNS name or IP address under which devices reach the gateway; repeatable, the first one is
    /// given to new devices.
    /// It is only a name or address: no port, and not 0.0.0.0 or ::.
    #[arg(
        long = "host",
        value_name = "NAME",
        required = true,
        num_args = 1..,
        value_parser = hearthkey_gateway::check_host
    )]
    hosts: Vec<String>,
    /// Whether the gateway says in the local network where it is, by multicast DNS, so that agents find it when it has moved: `auto` does
    /// unless only this machine reaches it.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    announce: When,
}

/// When the gateway says where it is.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum When {
    #[default]
    Auto,
    On,
    Off,
}

impl From<When> for Announce {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::On => Self::On,
            When::Off => Self::Off,
        }
    }
}

/// One line of `run --json`.
#[derive(Serialize)]
struct EventLine<'a> {
    ready: bool,
    sealed: bool,
    mqtt: Option<SocketAddr>,
    http: Option<SocketAddr>,
    socket: &'a Path,
}

impl Run {
    /// The names under which devices reach the gateway.
    #[cfg(test)]
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Runs until SIGTERM or SIGINT. The passphrase is handed over and not kept, so that a gateway
    /// that was sealed later stays sealed.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let data_dir = context.data_dir()?;
        let stop = stop_signal()?;
        raise_open_files();
        let socket = data_dir.join(SOCKET_FILE);
        let output = context.output;
        let config = RunConfig {
            data_dir,
            mqtt: self.mqtt,
            http: self.http,
            connections_max: self.connections,
            hosts: self.hosts,
            announce: self.announce.into(),
            passphrase: words::in_environment()?,
        };
        let hosts = config.hosts.clone();
        let on_event = move |event| tell(output, &socket, &hosts, &event);
        hearthkey_gateway::run(config, on_event, stop)
            .await
            .map_err(|error| {
                Failure::with_cause(
                    code::RUN,
                    "The gateway did not start.",
                    &error,
                    "Check the address, the data directory and the messages above.",
                )
            })
    }
}

/// Asks for as many open files as this process may have: a session is one, and many systems begin
/// with 1024. What cannot be had limits the sessions, and nothing else.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the number of open files was not changed");
    }
}

/// The line of `run --json` that says how a new home gets its owner: the link itself on a terminal alone.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum SetupLine<'a> {
    Setup(&'a str),
    SetupFile(&'a Path),
}

/// Shows the link for the first owner where only a person sees it: other output may be a journal or a container's log,
/// which others read.
fn show_setup_link(output: Output, link: &SetupLink) {
    if audience::is_person() {
        let _ = output.answer(&SetupLine::Setup(link.url()), || link.url().to_owned());
        output.aside(
            "This home has no owner yet. Open the link above in a browser within three days. \
             It works once, and makes its first visitor the owner.",
        );
        return;
    }
    match link.keep() {
        Ok(file) => {
            let told = || {
                let file = file.display();
                format!("This home has no owner yet. The link that makes its first owner is in {file}.")
            };
            let _ = output.answer(&SetupLine::SetupFile(file), told);
            let file = file.display();
            output.aside(&format!(
                "Only the gateway's own user and root can read it: `sudo cat {file}` shows it, and `hearthkey person setup-link` creates another. It works once, within three days.",
            ));
        }
        Err(error) => output.aside(&format!(
            "This home has no owner yet, and the link for its first owner could not be written: {error}. \
             `hearthkey person setup-link` prints one.",
        )),
    }
}

/// Tells what became of the gateway. A reader that has gone away must not stop it.
fn tell(output: Output, socket: &PathBuf, hosts: &[String], event: &RunEvent) {
    let (word, mqtt, http) = match event {
        RunEvent::Ready { mqtt, http } => ("ready", Some(*mqtt), *http),
        RunEvent::Sealed => ("sealed", None, None),
        RunEvent::Setup(link) => {
            show_setup_link(output, link);
            return;
        }
    };
    let line = EventLine {
        ready: mqtt.is_some(),
        sealed: mqtt.is_none(),
        mqtt,
        http,
        socket,
    };
    let _ = output.answer(&line, || word.to_owned());
    match mqtt {
        Some(mqtt) => {
            output.aside(&format!("Devices connect to {}.", reached(hosts, mqtt)));
            if let Some(http) = http {
                let place = reached(hosts, http);
                output.aside(&format!("Web and API address: https://{place}."));
            }
        }
        None => output.aside(
            "The gateway is sealed: it issues nothing and serves no device. \
             Unseal it with `hearthkey unseal` on the same data directory.",
        ),
    }
}

/// Where a listener is reached: at its address if the server certificate names it, otherwise under the first --host. Another
/// address is refused by clients that check the certificate.
fn reached(hosts: &[String], listening: SocketAddr) -> String {
    let address = listening.ip();
    let is_named = |host: &String| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse() == Ok(address)
    };
    if hosts.iter().any(is_named) {
        return listening.to_string();
    }
    let first = hosts.first().map_or("", String::as_str);
    let bare = first.trim_start_matches('[').trim_end_matches(']');
    match bare.contains(':') {
        true => format!("[{bare}]:{}", listening.port()),
        false => format!("{bare}:{}", listening.port()),
    }
}

/// An address and a port to listen on.
fn listening(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{text} is not an IP address and a port. Write it like 0.0.0.0:8883, 127.0.0.1:8883 or [::]:8883"
        )
    })
}

/// Resolves at the first SIGTERM or SIGINT.
pub fn stop_signal() -> Result<impl Future<Output = ()> + Send, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::system("listen for signals", &error));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_names_the_address_and_the_socket() {
        let line = EventLine {
            ready: true,
            sealed: false,
            mqtt: "127.0.0.1:8883".parse().ok(),
            http: "127.0.0.1:8443".parse().ok(),
            socket: Path::new("/d/hearthkey.sock"),
        };
        assert_eq!(
            serde_json::to_value(line).unwrap(),
            serde_json::json!({
                "ready": true, "sealed": false, "mqtt": "127.0.0.1:8883",
                "http": "127.0.0.1:8443", "socket": "/d/hearthkey.sock"
            })
        );
    }

    #[test]
    fn a_listener_is_named_as_its_certificate_names_it() {
        let at = |hosts: &[&str], listening: &str| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            reached(&hosts, listening.parse().unwrap())
        };
        assert_eq!(at(&["gw.test"], "0.0.0.0:8443"), "gw.test:8443");
        assert_eq!(at(&["gw.test"], "127.0.0.1:8443"), "gw.test:8443");
        assert_eq!(
            at(&["gw.test", "127.0.0.1"], "127.0.0.1:8443"),
            "127.0.0.1:8443"
        );
        assert_eq!(at(&["::1"], "[::]:8443"), "[::1]:8443");
        assert_eq!(at(&["gw.test", "[::1]"], "[::1]:8443"), "[::1]:8443");
    }
}
