//! `hearthkey-bench`: measures the program `hearthkey` on this machine, and peers under the same load.
//!
//! Every measurement has a temporary home of its own and real clients on loopback. CPU is the
//! server's own, from the kernel; what the load costs is not in it. Only `issue` runs the gateway's
//! issuing journey in this process. Standard output carries one JSON value; the exit code is 0 if
//! there is one, 1 if the measurement stopped, 2 for a command line that is not valid.

mod clock;
mod failure;
mod found;
mod http;
mod issuing;
mod mosquitto;
mod openbao;
mod process;
mod program;
mod screens;
mod sessions;
mod stage;
mod traffic;
mod vault;
mod wire;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use crate::failure::{Failure, failed};
use crate::found::{Found, Latency};
use crate::program::Program;
use crate::sessions::Sessions;
use crate::traffic::Traffic;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    /// A CSR in, a certificate committed with its audit record.
    Issue,
    /// Mutual TLS and MQTT CONNECT, up to the CONNACK.
    Connect,
    /// Messages from publishers to subscribers who receive all of them.
    Publish,
    /// Retained messages to one reader.
    Retained,
    /// What is written to the disk for devices that enroll, connect and say nothing for two minutes.
    Idle,
    /// From the request to the client that sees its connection end.
    Revoke,
    /// From the start of the process to "ready".
    Start,
    /// A value out of the vault, once the record of it is on the disk.
    Read,
    /// An inventory that is full: listed, searched, checked.
    List,
    /// What the interface's screens ask in a home that is full of devices.
    Screens,
}

/// Whom to measure instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Peer {
    /// Debian's mosquitto, with the same keys.
    Mosquitto,
}

/// Measures the gateway on this machine, with peers under the same load.
#[derive(Debug, Parser)]
#[command(name = "hearthkey-bench", version)]
struct Bench {
    /// The program to measure [default: the `hearthkey` beside this one].
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// What to measure.
    operation: Operation,
    /// How many at the same time: requests, connections, publishers, or live sessions (`revoke`).
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=2000))]
    concurrency: u32,
    /// How many in all; for `publish`, from each publisher; for `start`, certificates stored.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// What is stored beforehand: certificates for `issue`, credentials for `read` and `list`, devices for `screens`.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2_000_000))]
    stored: u32,
    /// Subscribers of `publish`, each of which receives everything.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    subscribers: u32,
    /// The QoS of `publish`.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Messages that a publisher has on its way at once.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    window: u32,
    /// Publishers that keep the broker busy while `revoke` is measured.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    load: u32,
    /// Measure a peer under the same load.
    #[arg(long)]
    peer: Option<Peer>,
    /// OpenBao's program: `read` measures it beside the vault, in turns.
    #[arg(long, value_name = "PROGRAM")]
    openbao: Option<PathBuf>,
    /// Let `read` come over HTTPS, with tokens and proofs.
    #[arg(long, conflicts_with = "openbao")]
    https: bool,
}

/// A result. Rates are operations a second, times microseconds.
#[derive(Debug, Serialize)]
struct Measured {
    operation: Operation,
    peer: Option<Peer>,
    concurrency: u32,
    count: u32,
    seconds: f64,
    rate_per_s: f64,
    cpu_us_per_op: f64,
    latency_us: Option<Latency>,
    details: Value,
}

impl Bench {
    async fn measured(&self) -> Result<Measured, Failure> {
        let found = self.found(&Program::at(self.program.clone())?).await?;
        Ok(Measured {
            operation: self.operation,
            peer: self.peer,
            concurrency: self.concurrency,
            count: self.count,
            seconds: found.seconds,
            rate_per_s: found.operations / found.seconds,
            cpu_us_per_op: found.cpu_us as f64 / found.operations,
            latency_us: found.latency,
            details: found.details,
        })
    }

    async fn found(&self, program: &Program) -> Result<Found, Failure> {
        let (count, concurrency) = (self.count as usize, self.concurrency as usize);
        // A home that is to be full has something in it.
        let stored = self.stored.max(1) as usize;
        match self.operation {
            Operation::Issue => {
                issuing::issue(program, count, concurrency, self.stored as usize).await
            }
            Operation::Connect => self.sessions().connect(program).await,
            Operation::Publish => self.traffic().publish(program).await,
            Operation::Retained => self.traffic().retained(program).await,
            Operation::Idle => self.sessions().idle(program).await,
            Operation::Revoke => self.sessions().revoke(program).await,
            Operation::Start => issuing::start(program, count).await,
            Operation::Read if self.https => {
                vault::read_over_https(program, count, concurrency, stored).await
            }
            Operation::Read => {
                let openbao = self.openbao.as_deref();
                vault::read(program, count, concurrency, stored, openbao).await
            }
            Operation::List => vault::list(program, count, stored).await,
            Operation::Screens => screens::screens(program, count, stored).await,
        }
    }

    fn sessions(&self) -> Sessions {
        Sessions {
            concurrency: self.concurrency as usize,
            count: self.count,
            window: self.window,
            load: self.load as usize,
            is_peer: self.peer.is_some(),
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            publishers: self.concurrency as usize,
            subscribers: self.subscribers as usize,
            count: self.count,
            window: self.window,
            qos: self.qos,
            is_peer: self.peer.is_some(),
        }
    }
}

fn main() -> ExitCode {
    match answer(&Bench::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("The measurement stopped: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, and prints what was found.
fn answer(bench: &Bench) -> Result<(), Failure> {
    let cannot = |error: &dyn std::fmt::Display| failed("the result could not be printed", error);
    // The gateway's own work blocks in place, which needs more than one thread.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("this program could not start", &error))?;
    let measured = runtime.block_on(bench.measured())?;
    let line = serde_json::to_string(&measured).map_err(|e| cannot(&e))?;
    writeln!(std::io::stdout(), "{line}").map_err(|e| cannot(&e))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_in_itself() {
        Bench::command().debug_assert();
    }

    #[test]
    fn every_row_of_the_script_is_understood() {
        let script = include_str!("../../../scripts/bench.sh");
        let lines = script.lines().map(str::trim);
        let rows: Vec<_> = lines
            .filter_map(|line| line.strip_prefix("bench "))
            .collect();
        assert!(rows.len() > 20, "{rows:?}");
        for row in rows {
            // What the shell fills in is a number, or a path.
            let words = row.split(' ').map(|word| match word.contains('$') {
                true => "1000",
                false => word,
            });
            if let Err(error) =
                Bench::try_parse_from(std::iter::once("hearthkey-bench").chain(words))
            {
                panic!("{row}: {error}");
            }
        }
    }
}
