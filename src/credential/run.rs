//! `hearthkey credential run`: a command gets values, and nobody else does.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use clap::Args;
use hearthkey_api::{Given, RevealRequest};
use rustix::fs::{Access, MemfdFlags, SealFlags, SeekFrom, fcntl_add_seals, memfd_create, seek};

use crate::context::Context;
use crate::credential::give::obtain;
use crate::failure::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Failure, code};
use crate::second_factor::Showing;

/// What is run, and what it gets.
#[derive(Debug, Args)]
pub struct Run {
    /// The environment of all the credentials.
    #[arg(long, short, env = "HEARTHKEY_ENV")]
    env: String,
    /// Why; it is recorded.
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    #[command(flatten)]
    showing: Showing,
    /// Pass the values as files in memory: VARIABLE_FILE names each. They end with the command.
    #[arg(long)]
    as_files: bool,
    /// The credentials: hue/api-key becomes HUE_API_KEY; KEY=hue/api-key names the variable. What the bridge calls a
    /// value, like the user name of a password, is in HUE_API_KEY_ID.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Wanted>,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// A credential and the variable that it is put into.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    variable: String,
    name: String,
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (variable, name) = match text.split_once('=') {
            Some((variable, name)) => (variable.to_owned(), name),
            None => (variable_of(text), text),
        };
        let first = variable.chars().next();
        let fit = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && variable
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fit {
            return Err(format!(
                "{variable:?} is not a name for a variable: write VARIABLE={name}"
            ));
        }
        Ok(Self {
            variable,
            name: name.to_owned(),
        })
    }
}

/// The variable for a credential: `hue/api-key` is `HUE_API_KEY`.
fn variable_of(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}

impl Run {
    /// Becomes the command: its signals, its terminal and its exit code are its own.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let mut variables: Vec<&str> = self
            .names
            .iter()
            .map(|wanted| wanted.variable.as_str())
            .collect();
        variables.sort_unstable();
        if let Some(twice) = variables.windows(2).find(|pair| pair[0] == pair[1]) {
            let why = format!(
                "two credentials would be put into {}: write VARIABLE=NAME",
                twice[0]
            );
            return Err(Failure::usage(&why));
        }
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| Failure::usage("there is no command after --"))?;
        // Before the values are obtained: no value is given out for nothing.
        lookup(program, std::env::var_os("PATH").as_deref())
            .map_err(|missing| missing.failure(program, "No value was obtained."))?;
        let names = self.names.iter().map(|wanted| wanted.name.clone());
        let request = RevealRequest {
            names: names.collect(),
            r#use: "run".into(),
            reason: self.reason.clone(),
            version: None,
            second_factor: self.showing.clone().second_factor()?,
        };
        let values = obtain(&context.client()?, &self.env, &request).await?;
        let mut command = Command::new(program);
        command.args(arguments);
        // What opens the home is nothing for a program that gets some of its values.
        command.env_remove("HEARTHKEY_PASSPHRASE");
        for (variable, value) in self.variables(&values)? {
            command.env(variable, value);
        }
        let error = command.exec();
        let given = "The values were obtained, and the log records that they were given to it.";
        Err(match error.kind() {
            ErrorKind::NotFound => Missing::Interpreter.failure(program, given),
            ErrorKind::PermissionDenied => Missing::Right.failure(program, given),
            _ => Failure::file("run", Path::new(program), &error).exiting(EXIT_NOT_EXECUTABLE),
        })
    }
}

/// Why a command cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// It is nowhere.
    Command,
    /// It is there, and may not be executed.
    Right,
    /// It is a script, and its interpreter is not there.
    Interpreter,
}

impl Missing {
    fn failure(self, program: &OsStr, values: &str) -> Failure {
        let program = program.display();
        let (code, exit, title, remedy) = match self {
            Self::Command => (
                code::COMMAND_NOT_FOUND,
                EXIT_NOT_FOUND,
                format!("{program}: command not found."),
                "Check the command's name, or give its path.",
            ),
            Self::Right => (
                code::COMMAND_NOT_EXECUTABLE,
                EXIT_NOT_EXECUTABLE,
                format!("{program}: permission denied."),
                "It must be a file that you may execute: chmod +x gives that right.",
            ),
            Self::Interpreter => (
                code::COMMAND_NOT_EXECUTABLE,
                EXIT_NOT_EXECUTABLE,
                format!("{program}: its interpreter was not found."),
                "Check the first line of the script.",
            ),
        };
        Failure::local(code, &title, values.to_owned(), remedy).exiting(exit)
    }
}

/// Looks for a command as execvp(3) does: a path as it is, a name in the directories of `PATH`.
fn lookup(program: &OsStr, path: Option<&OsStr>) -> Result<(), Missing> {
    if program.as_bytes().contains(&b'/') {
        return executable(Path::new(program));
    }
    if program.is_empty() {
        return Err(Missing::Command);
    }
    let path = path.unwrap_or(OsStr::new("/bin:/usr/bin"));
    let mut best = Err(Missing::Command);
    for directory in std::env::split_paths(path) {
        match executable(&directory.join(program)) {
            Ok(()) => return Ok(()),
            Err(Missing::Command) => {}
            Err(other) => best = Err(other),
        }
    }
    best
}

fn executable(path: &Path) -> Result<(), Missing> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {
            rustix::fs::access(path, Access::EXEC_OK).map_err(|_| Missing::Right)
        }
        Ok(_) => Err(Missing::Right),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Missing::Right),
        Err(_) => Err(Missing::Command),
    }
}

impl Run {
    /// The variables of the command: values or the files that hold them, and what bridges call them.
    fn variables(&self, values: &[Given]) -> Result<Vec<(String, OsString)>, Failure> {
        let mut variables: Vec<(String, OsString)> = Vec::new();
        for (wanted, given) in self.names.iter().zip(values) {
            if let Some(id) = &given.remote_id {
                variables.push((format!("{}_ID", wanted.variable), id.into()));
            }
            if !self.as_files {
                let value = as_variable(&wanted.name, given)?;
                variables.push((wanted.variable.clone(), value));
                continue;
            }
            let file = in_memory(&wanted.variable, given)
                .map_err(|error| Failure::system("make a file in memory", &error))?;
            // It outlives this program by being inherited, and dies with the last that holds it.
            let path = format!("/proc/self/fd/{}", file.into_raw_fd());
            variables.push((format!("{}_FILE", wanted.variable), path.into()));
        }
        distinct(&variables)?;
        Ok(variables)
    }
}

/// Refuses what would put two values into one variable, of which the command would see one.
fn distinct(variables: &[(String, OsString)]) -> Result<(), Failure> {
    let mut names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(twice) => Err(Failure::usage(&format!(
            "{} would be the value of one credential and the id of another: write VARIABLE=NAME",
            twice[0]
        ))),
    }
}

/// A value as a variable can hold it.
fn as_variable(name: &str, given: &Given) -> Result<OsString, Failure> {
    let bytes = given.value.expose();
    if bytes.contains(&0) {
        return Err(Failure::local(
            code::VALUE,
            &format!("{name} cannot be passed in a variable."),
            "Its value contains a zero byte.".to_owned(),
            "Pass it as a file in memory: add --as-files.",
        ));
    }
    Ok(std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec()))
}

/// A file that has no name in any directory, cannot be changed any more, and is read from its start.
fn in_memory(variable: &str, given: &Given) -> std::io::Result<OwnedFd> {
    let file = memfd_create(variable, MemfdFlags::ALLOW_SEALING)?;
    let mut rest = given.value.expose();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    seek(&file, SeekFrom::Start(0))?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_looked_for_as_a_shell_does() {
        let temp = tempfile::tempdir().unwrap();
        let plain = temp.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let path = Some(temp.path().as_os_str());
        assert_eq!(
            lookup(OsStr::new("sh"), Some(OsStr::new("/x:/bin"))),
            Ok(())
        );
        assert_eq!(lookup(OsStr::new("/bin/sh"), path), Ok(()));
        for missing in ["nosuchcommand", "", "/no/such/command", "./nosuchcommand"] {
            let found = lookup(OsStr::new(missing), path);
            assert_eq!(found, Err(Missing::Command), "{missing}");
        }
        for forbidden in [OsStr::new("plain"), plain.as_os_str(), OsStr::new("/tmp")] {
            assert_eq!(
                lookup(forbidden, path),
                Err(Missing::Right),
                "{forbidden:?}"
            );
        }
        let Failure::Told { problem, exit } =
            Missing::Command.failure(OsStr::new("x"), "No value was obtained.")
        else {
            panic!("it is told")
        };
        assert_eq!(
            (exit, problem.title.as_str()),
            (127, "x: command not found.")
        );
    }

    #[test]
    fn an_id_never_takes_the_place_of_a_value() {
        let pair = |name: &str| (name.to_owned(), OsString::from("x"));
        assert!(distinct(&[pair("HUE_KEY"), pair("HUE_KEY_ID")]).is_ok());
        let twice = [pair("HUE_KEY_ID"), pair("HUE_KEY"), pair("HUE_KEY_ID")];
        assert!(distinct(&twice).is_err());
    }

    #[test]
    fn a_credential_has_a_variable_of_its_own_or_the_one_that_is_named() {
        let wanted: Wanted = "hue/api-key".parse().unwrap();
        assert_eq!(wanted.variable, "HUE_API_KEY");
        let wanted: Wanted = "TOKEN=ha/token_1".parse().unwrap();
        assert_eq!(
            (wanted.variable.as_str(), wanted.name.as_str()),
            ("TOKEN", "ha/token_1")
        );
        for bad in ["1=ha/token", "A B=ha/token", "=ha/token", "4g/pin"] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad}");
        }
    }
}
