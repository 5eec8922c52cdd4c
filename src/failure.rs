//! Why a command did not do what was asked, as the person and the program read it.

use std::fmt::Display;
use std::io;
use std::path::Path;

use hearthkey_agent::ClosedReason;
use hearthkey_api::{CallError, Problem};

/// The exit code of a command that was refused or failed.
pub const EXIT_FAILED: u8 = 1;
/// The exit code of a command line that cannot be obeyed as it was written.
pub const EXIT_USAGE: u8 = 2;
/// The exit code of `credential run` for a command that may not be executed, as shells have it.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The exit code of `credential run` for a command that is not there, as shells have it.
pub const EXIT_NOT_FOUND: u8 = 127;

/// The stable codes of failures that no gateway reports. Add, never rename.
pub mod code {
    /// The command line cannot be obeyed.
    pub const USAGE: &str = "usage";
    /// Nobody answers on the socket.
    pub const NOT_RUNNING: &str = "not_running";
    /// The gateway on the network does not answer, or another one does.
    pub const UNREACHABLE: &str = "unreachable";
    /// Unexpected response from the gateway.
    pub const GARBLED: &str = "garbled";
    /// The gateway took too long.
    pub const TIMED_OUT: &str = "timed_out";
    /// A file, or this machine, does not do what is needed.
    pub const SYSTEM: &str = "system";
    /// What is to be said over the network cannot be.
    pub const NETWORK: &str = "network";
    /// There is no token file, or it is not one.
    pub const TOKEN_FILE: &str = "token_file";
    /// A passphrase is needed and there is none.
    pub const NO_WORDS: &str = "no_words";
    /// The home could not be made.
    pub const INIT: &str = "init_failed";
    /// A backup does not verify.
    pub const BACKUP: &str = "backup_unfit";
    /// The home could not be restored.
    pub const RESTORE: &str = "restore_failed";
    /// The home could not get new keys.
    pub const REKEY: &str = "rekey_failed";
    /// The gateway could not start, or could not go on.
    pub const RUN: &str = "run_failed";
    /// A secret value is not fit for what it is to be used for.
    pub const VALUE: &str = "value_unfit";
    /// The command of `credential run` is not there.
    pub const COMMAND_NOT_FOUND: &str = "command_not_found";
    /// The command of `credential run` may not be executed.
    pub const COMMAND_NOT_EXECUTABLE: &str = "command_not_executable";
    /// A scan could not be finished.
    pub const SCAN: &str = "scan_failed";
    /// A manifest cannot be read.
    pub const MANIFEST: &str = "no_manifest";
    /// An export is not what was signed.
    pub const VERIFY: &str = "verify_failed";
}

/// Why a command ended otherwise than well.
#[derive(Debug)]
pub enum Failure {
    /// Something to tell. Where no HTTP answer is behind it, the status is 0.
    Told {
        /// What, why, and what to do.
        problem: Problem,
        /// The exit code.
        exit: u8,
    },
    /// The answer has said it all; only the exit code is left to give.
    Answered {
        /// What did not pass, for people.
        why: String,
        /// The exit code.
        exit: u8,
    },
    /// The reader of the output has stopped reading, so nothing is reported.
    ReaderGone,
}

impl Failure {
    /// A failure on this side of the socket, in three whole sentences.
    pub fn local(code: &str, title: &str, detail: String, remedy: &str) -> Self {
        Self::Told {
            problem: Problem {
                code: code.to_owned(),
                status: 0,
                title: title.to_owned(),
                detail: without_numbers(&detail),
                remedy: remedy.to_owned(),
            },
            exit: EXIT_FAILED,
        }
    }

    /// A file that would be written over. Its remedy does not name a flag: not every command has one for it.
    pub fn there_already(path: &Path, remedy: &str) -> Self {
        Self::local(
            code::SYSTEM,
            &format!("{} already exists.", path.display()),
            "Nothing was written.".into(),
            remedy,
        )
    }

    /// Whether what was asked for is archived, and not at the gateway any more.
    pub fn is_archived(&self) -> bool {
        matches!(self, Self::Told { problem, .. } if problem.code == hearthkey_api::code::ARCHIVED)
    }

    /// The same failure, as one of the command line: an argument is at fault.
    pub fn of_usage(self) -> Self {
        self.exiting(EXIT_USAGE)
    }

    /// The same failure with another exit code.
    pub fn exiting(self, code: u8) -> Self {
        match self {
            Self::Told { problem, .. } => Self::Told {
                problem,
                exit: code,
            },
            other => other,
        }
    }

    /// What was asked about did not pass, and the answer has said so.
    pub fn after_answer(why: &str) -> Self {
        Self::Answered {
            why: sentence(why),
            exit: EXIT_FAILED,
        }
    }

    /// A failure whose cause ends with what to do about it, as the gateway's errors do.
    pub fn with_cause(code: &str, title: &str, cause: &impl Display, remedy: &str) -> Self {
        let text = cause.to_string();
        match text.rsplit_once(". ") {
            Some((detail, own_remedy)) => {
                Self::local(code, title, sentence(detail), &sentence(own_remedy))
            }
            None => Self::local(code, title, sentence(&text), remedy),
        }
    }

    /// A command line that cannot be obeyed. Of clap's text, the first paragraph says why.
    pub fn usage(text: &str) -> Self {
        let why: Vec<&str> = text
            .trim_start_matches("error: ")
            .lines()
            .map(str::trim)
            .take_while(|line| !line.is_empty())
            .collect();
        Self::Told {
            problem: Problem {
                code: code::USAGE.to_owned(),
                status: 0,
                title: "The command is not valid.".to_owned(),
                detail: sentence(&why.join(" ")),
                remedy: "See `hearthkey --help`, or --help after the command.".to_owned(),
            },
            exit: EXIT_USAGE,
        }
    }

    /// A file, named on the command line, that does not say what it must: an argument is at fault.
    pub fn content(path: &Path, why: &str) -> Self {
        Self::local(
            code::USAGE,
            &format!("{} cannot be used.", path.display()),
            sentence(why),
            "Correct the file, and try again.",
        )
        .of_usage()
    }

    /// A file that cannot be read or written: `deed` is the verb.
    pub fn file(deed: &str, path: &Path, cause: &io::Error) -> Self {
        if cause.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        let text = cause.to_string();
        // The file is named already; the path that a library adds is that of a draft beside it.
        let why = text
            .split_once(" at path \"")
            .map_or(text.as_str(), |(why, _)| why);
        Self::local(
            code::SYSTEM,
            &format!("Could not {deed} {}.", path.display()),
            sentence(why),
            match deed {
                "read" => "Check the path and its permissions.",
                _ => "Check the path, its permissions and the free space.",
            },
        )
    }

    /// Something that the operating system refuses: `deed` is the verb.
    pub fn system(deed: &str, cause: &io::Error) -> Self {
        Self::local(
            code::SYSTEM,
            &format!("Could not {deed}."),
            sentence(&cause.to_string()),
            "Check the limits that this machine sets for the program.",
        )
    }

    /// An answer that is of the right shape and makes no sense.
    pub fn garbled(why: &str) -> Self {
        Self::local(
            code::GARBLED,
            "Unexpected response from the gateway.",
            sentence(why),
            "Use the same version of `hearthkey` on both sides.",
        )
    }

    /// What the writing of an answer ended with.
    pub fn writing(cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::local(
                code::SYSTEM,
                "The result could not be written to standard output.",
                sentence(&cause.to_string()),
                "Check where the output goes. The command may have been carried out nevertheless.",
            ),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Problem(problem) => {
                // The gateway judges ids, spans and other arguments that this program hands on.
                let exit = match problem.code.as_str() {
                    hearthkey_api::code::INVALID => EXIT_USAGE,
                    _ => EXIT_FAILED,
                };
                Self::Told { problem, exit }
            }
            CallError::NotRunning { path, source } => {
                if source.kind() == io::ErrorKind::PermissionDenied {
                    return Self::local(
                        code::NOT_RUNNING,
                        "This account may not use the gateway.",
                        sentence(&format!("{}: {source}", path.display())),
                        "Run the command with sudo, or as the gateway's user.",
                    );
                }
                let directory = path.parent().unwrap_or(&path);
                if !directory.exists() {
                    return Self::local(
                        code::NOT_RUNNING,
                        &format!("There is no home in {}.", directory.display()),
                        "There is no such directory.".to_owned(),
                        "Name another directory with --data-dir, or create a home with `hearthkey init --home NAME --slot keyfile`.",
                    );
                }
                let remedy = match source.kind() {
                    io::ErrorKind::InvalidInput => {
                        "Name a data directory with a shorter path: a socket's path has 107 bytes at most."
                    }
                    _ => {
                        "Start it with `hearthkey run --mqtt 0.0.0.0:8883 --host NAME`, or name its data directory with --data-dir."
                    }
                };
                Self::local(
                    code::NOT_RUNNING,
                    "No gateway responds.",
                    sentence(&format!("{}: {source}", path.display())),
                    remedy,
                )
            }
            CallError::Unreachable { gateway, source } => Self::local(
                code::UNREACHABLE,
                "The gateway cannot be reached.",
                sentence(&format!("{gateway}: {}", unreachable(&source))),
                "Check its URL, that it runs with --http, and that the root certificate is its own.",
            ),
            CallError::Garbled(why) => Self::garbled(&why),
            CallError::TimedOut => Self::local(
                code::TIMED_OUT,
                "The gateway did not respond in time.",
                "It may be busy, and may still carry out the command.".to_owned(),
                "Check it with `hearthkey status`, then try again.",
            ),
        }
    }
}

/// Why a connection over TLS did not come about or did not last, without the words of a library.
fn unreachable(error: &io::Error) -> String {
    match ClosedReason::from_io(error) {
        ClosedReason::Lost { why } => why,
        reason => reason.to_string(),
    }
}

/// A text without the numbers that the standard library appends to the system's errors.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |made, part| match part.split_once(')') {
        Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => made + rest,
        _ => made + " (os error " + part,
    })
}

/// A text as a sentence: a capital first, unless it begins with a name or path, and a full stop.
fn sentence(text: &str) -> String {
    let text = without_numbers(text);
    let text = text.trim();
    let mut chars = text.chars();
    let first_word_is_plain = text
        .split(' ')
        .next()
        .is_some_and(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '\''));
    let mut made = match chars.next() {
        Some(first) if first_word_is_plain => {
            first.to_ascii_uppercase().to_string() + chars.as_str()
        }
        _ => text.to_owned(),
    };
    if !made.ends_with(['.', '!', '?']) {
        made.push('.');
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(failure: Failure) -> (Problem, u8) {
        match failure {
            Failure::Told { problem, exit } => (problem, exit),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_gateway_that_is_not_running_is_told_in_three_sentences() {
        let error = CallError::NotRunning {
            path: "/tmp/hearthkey.sock".into(),
            source: io::Error::from(io::ErrorKind::NotFound),
        };
        let (problem, exit) = told(error.into());
        assert_eq!(exit, EXIT_FAILED);
        assert_eq!((problem.code.as_str(), problem.status), ("not_running", 0));
        assert_eq!(
            problem.to_string(),
            "No gateway responds. /tmp/hearthkey.sock: entity not found. Start it with `hearthkey run --mqtt \
             0.0.0.0:8883 --host NAME`, or name its data directory with --data-dir."
        );
    }

    #[test]
    fn a_socket_that_may_not_be_opened_is_not_told_as_a_gateway_to_start() {
        let error = CallError::NotRunning {
            path: "/d/hearthkey.sock".into(),
            source: io::Error::from(io::ErrorKind::PermissionDenied),
        };
        let (problem, _) = told(error.into());
        assert_eq!(
            problem.remedy,
            "Run the command with sudo, or as the gateway's user."
        );
    }

    #[test]
    fn a_directory_that_does_not_exist_is_not_told_as_a_home() {
        let error = CallError::NotRunning {
            path: "/no/such/directory/hearthkey.sock".into(),
            source: io::Error::from(io::ErrorKind::NotFound),
        };
        let (problem, _) = told(error.into());
        assert_eq!(problem.title, "There is no home in /no/such/directory.");
    }

    #[test]
    fn a_problem_of_the_gateway_is_passed_on_as_it_is() {
        let problem = Problem {
            code: "refused".into(),
            status: 409,
            title: "The device stays revoked.".into(),
            detail: "Revoking is final.".into(),
            remedy: "Open a new claim.".into(),
        };
        let (passed, exit) = told(CallError::Problem(problem.clone()).into());
        assert_eq!((passed, exit), (problem, EXIT_FAILED));
    }

    #[test]
    fn a_cause_that_ends_with_its_remedy_is_told_as_why_and_what_to_do() {
        let cause = "it does not open. Try another passphrase, or the recovery code";
        let (problem, _) = told(Failure::with_cause(
            code::INIT,
            "It failed.",
            &cause,
            "Unused.",
        ));
        assert_eq!(
            problem.to_string(),
            "It failed. It does not open. Try another passphrase, or the recovery code."
        );
    }

    #[test]
    fn a_cause_without_a_remedy_gets_the_usual_one() {
        let (problem, _) = told(Failure::with_cause(
            code::RUN,
            "It failed.",
            &"the port is taken",
            "Choose another port.",
        ));
        assert_eq!(
            problem.to_string(),
            "It failed. The port is taken. Choose another port."
        );
    }

    #[test]
    fn a_usage_error_keeps_the_first_paragraph_and_exits_with_2() {
        let text = "error: the following required arguments were not provided:\n  --home <NAME>\n\nUsage: hearthkey init";
        let (problem, exit) = told(Failure::usage(text));
        assert_eq!(exit, EXIT_USAGE);
        assert_eq!(
            problem.detail,
            "The following required arguments were not provided: --home <NAME>."
        );
    }

    #[test]
    fn what_the_gateway_calls_invalid_is_a_usage_error() {
        let problem = |code: &str| Problem {
            code: code.into(),
            status: 400,
            title: "No.".into(),
            detail: "No.".into(),
            remedy: "No.".into(),
        };
        let exit = |code| told(CallError::Problem(problem(code)).into()).1;
        assert_eq!(exit("invalid"), EXIT_USAGE);
        assert_eq!(exit("not_found"), EXIT_FAILED);
    }

    #[test]
    fn a_system_error_is_told_without_its_number() {
        let gone = io::Error::from_raw_os_error(2);
        let (problem, _) = told(Failure::file("read", Path::new("/x"), &gone));
        assert_eq!(problem.detail, "No such file or directory.");
        let draft = io::Error::new(gone.kind(), "No such file at path \"/n/.draft\"");
        let (problem, _) = told(Failure::file("write", Path::new("/n/x"), &draft));
        assert_eq!(problem.detail, "No such file.");
        let elsewhere = Failure::local(code::SCAN, "No.", format!("/x: {gone}."), "Look.");
        assert_eq!(told(elsewhere).0.detail, "/x: No such file or directory.");
        assert_eq!(
            without_numbers("a: gone (os error 2). b (os error x)"),
            "a: gone. b (os error x)"
        );
    }

    #[test]
    fn a_gateway_with_another_root_is_told_in_plain_words() {
        let strange = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = CallError::Unreachable {
            gateway: "h:8443".into(),
            source: io::Error::new(io::ErrorKind::InvalidData, strange),
        };
        assert_eq!(
            told(error.into()).0.detail,
            "h:8443: the gateway's certificate is not trusted: it was not issued under a root that is trusted here."
        );
        let error = CallError::Unreachable {
            gateway: "h:8443".into(),
            source: io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "peer closed connection: https://docs.rs/rustls",
            ),
        };
        assert_eq!(
            told(error.into()).0.detail,
            "h:8443: the gateway closed the connection."
        );
    }

    #[test]
    fn a_reader_that_has_gone_away_is_no_failure_to_tell() {
        let error = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::writing(&error), Failure::ReaderGone));
        let file = Failure::file("write", Path::new("/dev/stdout"), &error);
        assert!(matches!(file, Failure::ReaderGone));
    }
}
