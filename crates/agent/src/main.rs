//! `hearthkey-agent`: enroll a device, keep it connected and renewed, show what it holds.

use std::future::Future;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, Args, CommandFactory, Parser, Subcommand};
use hearthkey_agent::{
    ClaimUri, Device, DeviceFacts, Enrollment, Event, Explain, Explanation, Fingerprint, Moment,
    Place, Status, clock,
};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

mod manual;

/// The device side of Hearthkey: enroll with a claim, stay connected, stay renewed.
#[derive(Parser)]
#[command(name = "hearthkey-agent", version, propagate_version = true)]
struct Cli {
    /// Write JSON to standard output: one value, or one line per event for `run`.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key, and obtain a certificate for it with a claim.
    Enroll(Enroll),
    /// Stay connected and renewed until SIGTERM or SIGINT.
    Run(Run),
    /// Check once whether the certificate is due for renewal, beside a product that uses it.
    #[command(after_help = RENEW_HELP, arg(once()))]
    Renew(Renew),
    /// Tell an enrolled device that its gateway has another name, address or port.
    #[command(after_help = MOVE_HELP)]
    Move(Move),
    /// Show what the directory holds; works beside a running agent.
    Status {
        /// The device's directory.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print the completion script of a shell.
    Completions(manual::Completions),
    /// Print the manual page, or write those of all commands.
    Man(manual::Manual),
    /// Print the version.
    Version,
}

#[derive(Args)]
struct Enroll {
    /// The claim code, `hearthkey://claim?…`, or `-` to read it from standard input. Other users of this machine can
    /// read arguments in its process list: prefer `-` or the environment.
    #[arg(
        long,
        value_name = "URI",
        env = "HEARTHKEY_CLAIM",
        hide_env_values = true
    )]
    claim: String,
    /// The device's directory; created if needed, for its owner only.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Model name to record at the gateway.
    #[arg(long)]
    model: Option<String>,
    /// Maker's serial number to record at the gateway.
    #[arg(long)]
    serial: Option<String>,
    /// Firmware version to record at the gateway.
    #[arg(long)]
    firmware: Option<String>,
    /// SHA-256 of the firmware image to record at the gateway, in hexadecimal.
    #[arg(long, value_name = "HEX")]
    firmware_sha256: Option<Fingerprint>,
    /// Replace the identity that the directory holds from another claim.
    #[arg(long)]
    replace: bool,
    /// How long to retry while the gateway is busy or approval is pending.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = seconds)]
    patience_s: u64,
}

#[derive(Args)]
struct Run {
    /// The device's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Program to run after each renewal, without a shell: it gets HEARTHKEY_DIR, HEARTHKEY_DEVICE,
    /// HEARTHKEY_NOT_AFTER and PATH, and 60 seconds.
    #[arg(long, value_name = "PROGRAM")]
    hook: Option<PathBuf>,
    /// Keep to the gateway's place that is known. Otherwise the agent looks for its gateway in the local network, by multicast
    /// DNS, if it is not there; it believes only a gateway that proves this home's root.
    #[arg(long)]
    no_search: bool,
}

const RENEW_HELP: &str = "\
It connects beside the product, disturbs no connection of it, and puts the new key and certificate into device.key and \
device.crt. The product has to connect anew with them within a day, which is what --hook is for.

Exit codes: 0 renewed, or too early; 1 a person has to do something; 2 usage; 3 not now: a later look may do without help.";

#[derive(Args)]
struct Renew {
    /// The device's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Ask the gateway even if the notice says that it is too early.
    #[arg(long)]
    now: bool,
    /// Program to run after a renewal, without a shell: it gets HEARTHKEY_DIR, HEARTHKEY_DEVICE, HEARTHKEY_NOT_AFTER and
    /// PATH, and 60 seconds. It runs again at the next check if it does not end with status 0.
    #[arg(long, value_name = "PROGRAM")]
    hook: Option<PathBuf>,
}

const MOVE_HELP: &str = "\
It connects to the new place with the device's own certificate, and writes the place down only if the gateway there proves to \
be this home's, by the root that the device has. Otherwise nothing is changed. Stop the agent first, and start it afterwards.

Exit codes: 0 moved; 1 not moved; 2 usage; 3 not now: a later try may do without help.";

#[derive(Args)]
struct Move {
    /// The device's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where the gateway is now, as in hub.local:8883 or [fd00::1]:8883.
    #[arg(long, value_name = "HOST:PORT")]
    gateway: Place,
}

/// Says in a crontab what the command does anyway.
fn once() -> Arg {
    let arg = Arg::new("once").long("once").action(ArgAction::SetTrue);
    arg.help("Check once and exit; this is also the default")
}

/// A failure on its way to the person: what to say, and the exit code.
struct Failure {
    told: Explanation,
    code: u8,
}

/// A whole number of seconds from the command line.
fn seconds(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "write a whole number, like 600")
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// Time alone may put it right.
const LATER: u8 = 3;

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            told: error.explain(),
            code: FAILED,
        }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(obey(cli.command, cli.json)),
        Err(error) => Err(system_failure(&error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell_failure(&failure.told, cli.json);
            ExitCode::from(failure.code)
        }
    }
}

/// Answers a command line that cannot be obeyed, or one that asks for help.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && error.use_stderr() {
        let text = error.to_string();
        let why = text.trim_start_matches("error: ").lines().map(str::trim);
        let why: Vec<&str> = why.take_while(|line| !line.is_empty()).collect();
        tell_failure(
            &Explanation {
                what: "The command line is not valid".to_owned(),
                why: why.join(" "),
                remedy: "See hearthkey-agent --help, or --help after the command".to_owned(),
            },
            true,
        );
        return ExitCode::from(USAGE);
    }
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
}

async fn obey(command: Command, json: bool) -> Result<(), Failure> {
    match command {
        Command::Enroll(args) => enroll(args, json).await,
        Command::Run(args) => run(args, json).await,
        Command::Renew(args) => renew(args, json).await,
        Command::Move(args) => move_device(args, json).await,
        Command::Status { dir } => {
            tell_status(&Status::of(&dir)?, json);
            Ok(())
        }
        Command::Completions(completions) => completions.obey(Cli::command(), json),
        Command::Man(manual) => manual.obey(Cli::command(), json),
        Command::Version => {
            manual::version(json);
            Ok(())
        }
    }
}

async fn enroll(args: Enroll, json: bool) -> Result<(), Failure> {
    let enrollment = Enrollment {
        claim: read_claim(Zeroizing::new(args.claim))?,
        facts: DeviceFacts {
            model: args.model,
            serial: args.serial,
            firmware: args.firmware,
            firmware_sha256: args.firmware_sha256,
        },
        replace: args.replace,
        patience: Duration::from_secs(args.patience_s),
    };
    let mut stop = std::pin::pin!(stop_signal()?);
    let enrolled = enrollment.run(&args.dir, |refusal, wait_s| {
        say(&format!(
            "Waiting: {} ({}). {}. Retrying in {wait_s} s",
            refusal.message, refusal.code, refusal.remedy
        ));
    });
    tokio::select! {
        status = enrolled => {
            let status = status?;
            if !json {
                say(&format!(
                    "{} is enrolled. Start it with `hearthkey-agent run --dir {}`.",
                    status.device,
                    args.dir.display()
                ));
            }
            tell_status(&status, json);
        }
        () = &mut stop => {
            return Err(Failure {
                told: interrupted(&args.dir),
                code: FAILED,
            });
        }
    }
    Ok(())
}

fn read_claim(given: Zeroizing<String>) -> Result<ClaimUri, Failure> {
    let mut text = given;
    if text.as_str() == "-" {
        const LONGEST: u64 = 4096;
        text = Zeroizing::new(String::new());
        std::io::stdin()
            .take(LONGEST)
            .read_to_string(&mut text)
            .map_err(|error| system_failure(&error))?;
    }
    text.parse()
        .map_err(|error: hearthkey_agent::ClaimUriError| Failure {
            told: error.explain(),
            code: USAGE,
        })
}

async fn run(args: Run, json: bool) -> Result<(), Failure> {
    let stop = stop_signal()?;
    let mut device = Device::open(&args.dir)?;
    if args.no_search {
        device = device.that_keeps_to_its_place();
    }
    device
        .run(args.hook, stop, |event| tell_event(event, json))
        .await?;
    Ok(())
}

async fn renew(args: Renew, json: bool) -> Result<(), Failure> {
    let device = Device::open(&args.dir)?;
    match device.renew_once(args.now, args.hook.as_deref()).await {
        Ok(once) if json => print_json(&once),
        Ok(once) => print_line(&once.to_string()),
        Err(error) => {
            return Err(Failure {
                told: error.explain(),
                code: if error.passes() { LATER } else { FAILED },
            });
        }
    }
    Ok(())
}

async fn move_device(args: Move, json: bool) -> Result<(), Failure> {
    let device = Device::open(&args.dir)?;
    match device.move_to(args.gateway).await {
        Ok(status) => tell_status(&status, json),
        Err(error) => {
            return Err(Failure {
                told: error.explain(),
                code: if error.passes() { LATER } else { FAILED },
            });
        }
    }
    Ok(())
}

/// Resolves at the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()> + Send, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| system_failure(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| system_failure(&error))?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// One line of `run --json`.
#[derive(Serialize)]
struct EventLine {
    at: Moment,
    #[serde(flatten)]
    event: Event,
}

/// What `--json` says of a failure.
#[derive(Serialize)]
struct FailureLine<'a> {
    error: &'a Explanation,
}

fn tell_event(event: Event, json: bool) {
    let at = clock::now();
    if json {
        if event.is_error() {
            tracing::error!(%event, "a person should check this");
        }
        print_json(&EventLine { at, event });
    } else if event.is_error() {
        say(&format!("{at} {event}"));
    } else {
        print_line(&format!("{at} {event}"));
    }
}

fn tell_status(status: &Status, json: bool) {
    if json {
        return print_json(status);
    }
    let seen = status
        .checkpoint_size
        .map_or("not seen yet".to_owned(), |size| format!("{size} records"));
    print_line(&format!(
        "device           {}\ngateway          {}:{}\nserial           {}\nnot after        {}\nrenew after      {}\n\
         trust bundle     {}\naudit log        {seen}\npending renewal  {}",
        status.device,
        status.host,
        status.port,
        status.serial,
        status.not_after,
        status.renew_after,
        status.trust_bundle_sha256,
        status.next_slot.words(),
    ));
}

fn tell_failure(told: &Explanation, json: bool) {
    if json {
        print_json(&FailureLine { error: told });
    } else {
        let [what, why, remedy] = [&told.what, &told.why, &told.remedy].map(|text| capital(text));
        say(&format!("{what}.\n{why}.\n{remedy}."));
    }
}

/// A sentence with a capital first, unless it begins with a path, a name or a number.
fn capital(text: &str) -> String {
    let first_word_is_plain = text
        .split(' ')
        .next()
        .is_some_and(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '\''));
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if first_word_is_plain => {
            first.to_ascii_uppercase().to_string() + chars.as_str()
        }
        _ => text.to_owned(),
    }
}

fn interrupted(dir: &Path) -> Explanation {
    Explanation {
        what: "The device was not enrolled".to_owned(),
        why: "the agent was asked to stop".to_owned(),
        remedy: format!(
            "Enroll again with the same claim while it is open: the key is kept in {}",
            dir.display()
        ),
    }
}

fn system_failure(error: &std::io::Error) -> Failure {
    Failure {
        told: Explanation {
            what: "The agent could not start".to_owned(),
            why: error.to_string(),
            remedy: "Check the limits that this machine sets for the agent".to_owned(),
        },
        code: FAILED,
    }
}

fn print_json(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        print_line(&text);
    }
}

/// A reader that has gone away must not stop a device from renewing.
fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
