//! `hearthkey`: the gateway and the operator's command line.
//!
//! This package parses, calls and prints. What may happen is decided in the gateway; apart from
//! `init`, `run`, `restore`, the offline `log verify` and `backup verify FILE`, and the manual, every command is a call to a
//! running gateway over the Unix socket in its data directory. Standard output carries the answer and nothing else: with
//! `--json` exactly one JSON value, errors included. Exit codes: 0 done, 1 refused or failed, 2 usage,
//! 3 a scan found something; `credential run` ends as its command did, or with 126 or 127 if there is none to run.

mod audience;
mod backup;
mod bridge;
mod check;
mod claim;
mod claim_text;
mod clock;
mod context;
mod conventions;
mod credential;
mod demo;
mod demo_report;
mod demo_vault;
mod device;
mod device_text;
#[cfg(test)]
mod documented;
mod environment;
mod export;
mod failure;
#[cfg(test)]
mod fake_gateway;
mod home;
mod init;
mod log;
mod log_archive;
mod log_text;
mod manual;
mod out_file;
mod output;
mod person;
mod profile;
mod progress;
mod restore;
mod run;
mod seal;
mod second_factor;
mod status;
mod stopwatch;
mod table;
mod token;
mod token_file;
mod token_text;
mod trust;
mod trust_install;
mod unlock;
mod url_path;
mod value;
mod words;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::context::{Context, Network};
use crate::failure::Failure;
use crate::output::Output;

/// The home's own certificate authority, MQTT server and vault.
#[derive(Debug, Parser)]
#[command(name = "hearthkey", version, propagate_version = true)]
struct Cli {
    /// The gateway's data directory [default: /var/lib/hearthkey for root, otherwise
    /// $XDG_DATA_HOME/hearthkey or ~/.local/share/hearthkey].
    #[arg(long, global = true, value_name = "DIR", env = "HEARTHKEY_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Print exactly one JSON value on standard output, for errors too; `run` and `log tail --follow`
    /// print one a line.
    #[arg(long, global = true)]
    json: bool,
    /// Log more on standard error: -v for debugging, -vv for everything. RUST_LOG is more precise.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    network: Network,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a home: its root of trust, its database and the slot that unlocks it.
    Init(init::Init),
    /// Run the gateway in the foreground until SIGTERM or SIGINT.
    Run(run::Run),
    /// Show the state of the gateway, also of a sealed one.
    Status,
    /// Remove the keys from memory: every device is disconnected, and nothing works until the gateway is unsealed.
    Seal,
    /// Unseal with a passphrase or the recovery code, from the terminal or HEARTHKEY_PASSPHRASE.
    Unseal,
    /// Unlock methods: the key file, passphrases and the recovery code that unseal this home.
    #[command(subcommand)]
    Unlock(unlock::Unlock),
    /// Backups: make, verify, list, schedule.
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Make a home again out of a backup, on a machine without one, with the recovery code from the terminal or
    /// HEARTHKEY_RECOVERY_CODE.
    Restore(restore::Restore),
    /// The home as a whole: replace its keys.
    #[command(subcommand)]
    Home(home::Home),
    /// The gateway's clock: what it shows, and whether it is trusted.
    Clock(clock::Clock),
    /// Devices: claim, see, suspend, rotate, retire, revoke.
    #[command(subcommand)]
    Device(device::Device),
    /// Profiles: the permissions of a kind of device.
    #[command(subcommand)]
    Profile(profile::Profile),
    /// Environments: trust zones, each with an issuing CA of its own.
    #[command(subcommand)]
    Environment(environment::Environment),
    /// Credentials: the secrets of bridges and clouds, and the inventory of every key.
    #[command(subcommand)]
    Credential(Box<credential::Credential>),
    /// Bridges: the systems whose credentials the vault keeps, tests and replaces.
    #[command(subcommand)]
    Bridge(bridge::Bridge),
    /// Show the findings, or check the credentials that a repository uses.
    Check(check::Check),
    /// People: who may log in with a browser, in which role.
    #[command(subcommand)]
    Person(person::Person),
    /// Service tokens: access of programs to credentials, for a time.
    #[command(subcommand)]
    Token(token::Token),
    /// Roots and revocation lists for those who check the home's certificates.
    #[command(subcommand)]
    Trust(trust::Trust),
    /// The audit log.
    #[command(subcommand)]
    Log(log::Log),
    /// Print the HTTP contract, as OpenAPI 3.1.
    Openapi,
    /// Show how it works: a temporary home with real devices on loopback, end to end.
    Demo(demo::Demo),
    /// Print the completion script of a shell.
    Completions(manual::Completions),
    /// Print the manual page, or write those of all commands.
    Man(manual::Manual),
    /// Print the version.
    Version,
}

/// The command line with what holds for every command.
fn command() -> clap::Command {
    conventions::apply(Cli::command())
}

/// Reads a command line.
fn parsed<I>(line: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<std::ffi::OsString> + Clone,
{
    let mut matches = command().try_get_matches_from(line)?;
    refuse_another_gateway(&matches)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command()))
}

/// Refuses to leave a flag unheeded: what makes or runs a home does so on this machine. A variable of the environment
/// is for other commands, and stays.
fn refuse_another_gateway(matches: &clap::ArgMatches) -> Result<(), clap::Error> {
    let Some((name @ ("init" | "run" | "restore" | "home"), given)) = matches.subcommand() else {
        return Ok(());
    };
    let typed = |id: &&str| given.value_source(id) == Some(ValueSource::CommandLine);
    let flags = ["gateway", "token_file", "root", "client_cert", "client_key"];
    match flags.iter().find(|id| typed(id)) {
        None => Ok(()),
        Some(id) => Err(command().error(
            ErrorKind::ArgumentConflict,
            format!(
                "`{name}` works on this machine and asks no gateway: leave out --{}",
                id.replace('_', "-")
            ),
        )),
    }
}

fn main() -> ExitCode {
    let cli = match parsed(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let is_service = matches!(cli.command, Command::Run(_));
    let log = hearthkey_gateway::diagnostics::start(cli.verbose, is_service);
    let output = Output::new(cli.json);
    let context = Context::new(cli.data_dir, cli.network, output);
    let done = obey(cli.command, &context);
    if let Some(log) = log {
        log.finish();
    }
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.failure(&failure),
    }
}

fn obey(command: Command, context: &Context) -> Result<(), Failure> {
    // The gateway's own work blocks in place, which needs more than one thread.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores + hearthkey_gateway::WORKERS_SPARE)
        .enable_all()
        .build()
        .map_err(|error| Failure::system("start", &error))?;
    runtime.block_on(async {
        match command {
            Command::Init(init) => init.obey(context).await,
            Command::Run(run) => run.obey(context).await,
            Command::Status => status::show(context).await,
            Command::Seal => seal::seal(context).await,
            Command::Unseal => seal::unseal(context).await,
            Command::Backup(command) => command.obey(context).await,
            Command::Restore(restore) => restore.obey(context).await,
            Command::Home(home) => home.obey(context).await,
            Command::Unlock(command) => command.obey(context).await,
            Command::Clock(command) => command.obey(context).await,
            Command::Device(command) => command.obey(context).await,
            Command::Profile(command) => command.obey(context).await,
            Command::Environment(command) => command.obey(context).await,
            Command::Credential(command) => command.obey(context).await,
            Command::Bridge(command) => command.obey(context).await,
            Command::Check(check) => check.obey(context).await,
            Command::Person(command) => command.obey(context).await,
            Command::Token(command) => command.obey(context).await,
            Command::Trust(command) => command.obey(context).await,
            Command::Log(command) => command.obey(context).await,
            Command::Openapi => contract(context),
            Command::Demo(demo) => demo.obey(context).await,
            Command::Completions(completions) => completions.obey(context, self::command()),
            Command::Man(manual) => manual.obey(context, self::command()),
            Command::Version => manual::version(context),
        }
    })
}

/// The contract, as it is committed: indented, with a newline at its end.
fn contract(context: &Context) -> Result<(), Failure> {
    let contract = serde_json::to_string_pretty(&hearthkey_gateway::openapi());
    let contract = contract.map_err(|error| Failure::garbled(&error.to_string()))?;
    context.output.bytes(format!("{contract}\n").as_bytes())
}

/// Answers a command line that cannot be obeyed, or one that asks for help.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os()
        .take_while(|argument| argument != OsStr::new("--"))
        .any(|argument| argument == OsStr::new("--json"));
    if json && error.use_stderr() {
        return Output::new(true).failure(&Failure::usage(&error.to_string()));
    }
    if json && error.kind() == ErrorKind::DisplayVersion {
        // A reader that has gone away needs no version.
        let _ = Output::new(true).json_line(&manual::Version::HERE);
        return ExitCode::SUCCESS;
    }
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::EXIT_USAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        parsed(std::iter::once("hearthkey").chain(line.split(' ')))
    }

    #[test]
    fn the_command_line_is_consistent_in_itself() {
        command().debug_assert();
    }

    #[test]
    fn a_restore_and_what_follows_it_are_understood() {
        let sha256 = "ab".repeat(32);
        for line in [
            "restore a.age --data-dir /d",
            "restore a.age --journal revocations.journal --data-dir /d",
            "restore a.age --journal /mnt/usb --checkpoint state.json --data-dir /d",
            "device waiting",
            &format!("device readmit lamp --certificate {sha256} --person anna"),
            "device readmit lamp --profile generic --owner anna --purpose light",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn every_fixed_command_is_understood() {
        let key = "ab".repeat(32);
        for line in [
            "init --home attic --slot keyfile",
            "init --home attic --slot passphrase --json",
            "run --mqtt 127.0.0.1:8883 --host gateway.home.arpa --host 192.168.1.2 -vv",
            "--data-dir /tmp/x status --json",
            "seal",
            "unseal",
            "unlock list --json",
            "unlock add-passphrase --name anna --replace --person anna",
            "unlock add-key-file",
            "unlock recovery-code --person anna --json",
            "unlock remove key-file --yes",
            "clock confirm",
            "backup create --to /mnt/usb --json",
            "backup create --person anna",
            "backup verify hearthkey-attic-20260131T120000Z.age",
            "backup verify --latest",
            "backup list",
            "backup set --to /mnt/usb --keep 30 --every weekly --recipient age1x --recipient age1y",
            "backup set --no-recipients",
            "backup kit-check",
            "device claim lamp --profile generic --environment home --owner anna --purpose light --lifetime 15m --json",
            "device list --json",
            "device show lamp",
            "device suspend lamp",
            "device resume lamp",
            "device retire lamp",
            "device revoke lamp --reason key-compromise",
            "device rotate lamp",
            &format!("device approve lamp --key {key}"),
            "profile list",
            "profile show generic",
            "profile add camera.toml",
            "environment list",
            "environment add lab",
            "credential add hue/api-key --env home --kind api-key --owner anna --purpose lights --tier high --from-file key",
            "credential add hue/api-key - --env home --kind api-key --owner anna --purpose lights",
            "credential add cloud/key --env home --kind other --owner anna --purpose x --recorded-at bank",
            "credential list --env home --search hue --json",
            "credential show hue/api-key",
            "credential register --out register.csv",
            "credential reveal hue/api-key --env home --reason test --json",
            "credential run --env lab hue/api-key KEY=ha/token -- env -0",
            "credential lease hue/api-key --lifetime 5m",
            "credential leases",
            "credential end-lease l-0123456789abcdef",
            "credential render secrets.tmpl --env home --out secrets.yaml",
            "credential rotate hue/api-key --env home --overlap 1h --from-file key",
            "credential rotate hue/api-key -",
            "credential import secrets.yaml --env home",
            "credential import .env --env lab --take --owner anna --purpose ci --only env/key --rename a/b=c/d",
            "credential scan . --sarif out.sarif",
            "credential scan --staged --json",
            "credential scan --install-hook",
            "credential confirm hue/api-key --dependent node-red",
            "credential rollback hue/api-key",
            "credential retire hue/api-key --grace 0s",
            "credential retire --project dashboard",
            "bridge connect hue hue --env home --owner anna --purpose lights --set url=https://192.0.2.1",
            "bridge list",
            "bridge test hue",
            "bridge disconnect hue --retire",
            "check --manifest hearthkey.toml",
            "check --resolve 0123456789abcdef --reason replaced",
            "environment rewrap lab",
            "token create ci --env lab --allow hue/api-key:read --allow *:list --owner anna --purpose ci --ttl 1h --json",
            "token create ci --env lab --allow *:list --owner anna --purpose ci --bind device:lamp --out ci.token",
            "token list",
            "token show ci",
            "token renew",
            "token renew ci",
            "token reauthorize ci",
            "token revoke ci",
            "--token-file ci.token --gateway https://h:8443 token whoami",
            "run --mqtt 127.0.0.1:8883 --http 127.0.0.1:8443 --host gateway.home.arpa",
            "trust bundle --json",
            "trust crl --environment home",
            "trust crl --environment home --der",
            "trust crl --ca root",
            "trust crl --ca server --der",
            "log tail -n 5 --follow",
            "log export --out records.jsonl",
            "log verify records.jsonl --key attic+01234567+AQID --checkpoint other",
            "log prove 18",
            "log prove 18 --out 18.tlog-proof",
            "log key",
            "log accept --reason tested",
            "device claim lamp --profile generic --env home --owner anna --purpose light",
            "completions bash",
            "man --out pages",
            "version --json",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn the_data_directory_and_json_may_stand_before_and_after_the_command() {
        for line in [
            "--data-dir /d --json device list",
            "device list --json --data-dir /d",
        ] {
            let cli = parse(line).unwrap();
            assert!(cli.json);
            assert_eq!(cli.data_dir, Some(PathBuf::from("/d")));
        }
    }

    #[test]
    fn a_command_line_that_lacks_something_is_a_usage_error() {
        for line in [
            "init --home attic",
            "init --home attic --slot tape",
            "run --host gateway",
            "run --mqtt 127.0.0.1:8883",
            "run --mqtt localhost --host gateway",
            "init --home attic --slot keyfile --token-file ci.token",
            "--gateway https://h:8443 run --mqtt 127.0.0.1:8883 --host gateway",
            "run --mqtt 0.0.0.0:8883 --host 0.0.0.0",
            "run --mqtt 0.0.0.0:8883 --host [::]",
            "run --mqtt 0.0.0.0:8883 --host *",
            "run --mqtt 0.0.0.0:8883 --host gateway:8883",
            "run --mqtt 0.0.0.0:8883 --host https://gateway/",
            "run --mqtt 0.0.0.0:8883 --host gateway --host ::",
            "trust install --fingerprint abc",
            "backup verify",
            "backup verify a.age --latest",
            "restore",
            "restore a.age --gateway https://h:8443",
            "completions tcsh",
            "device claim lamp --profile generic",
            "device revoke lamp",
            "device approve lamp",
            "device show",
            "log verify records.jsonl",
            "log prove first",
            "trust crl",
            "token create ci --env lab --owner anna --purpose ci",
            "token create ci --env lab --allow *:list --owner a --purpose b --key k.pem --bind device:lamp",
            "token revoke",
            "frobnicate",
        ] {
            let error = parse(line).err().unwrap_or_else(|| panic!("{line}"));
            assert_eq!(error.exit_code(), i32::from(failure::EXIT_USAGE), "{line}");
        }
    }

    #[test]
    fn a_device_without_a_name_is_a_usage_error() {
        let error = parsed(["hearthkey", "device", "show", ""]).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(failure::EXIT_USAGE));
    }

    #[test]
    fn hosts_are_repeatable_and_may_be_names_and_addresses() {
        let cli = parse("run --mqtt [::1]:8883 --host a.home.arpa --host 10.0.0.1").unwrap();
        match cli.command {
            Command::Run(run) => assert_eq!(run.hosts(), ["a.home.arpa", "10.0.0.1"]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_option_takes_a_secret() {
        fn options(command: &clap::Command, found: &mut Vec<String>) {
            found.extend(command.get_arguments().map(|a| a.get_id().to_string()));
            for sub in command.get_subcommands() {
                options(sub, found);
            }
        }
        let mut found = Vec::new();
        options(&command(), &mut found);
        for id in found {
            assert!(
                !["passphrase", "words", "secret", "password", "recovery"].contains(&id.as_str()),
                "{id}"
            );
        }
    }
}
