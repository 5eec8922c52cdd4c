//! A person's code on the command line, where the gateway's own machine asks for a second factor.

use std::io::IsTerminal as _;

use clap::Args;
use hearthkey_api::SecondFactor;

use crate::failure::Failure;

/// A code with its line end, in bytes at most.
const CODE_LINE_MAX_BYTES: usize = 64;

/// Who shows a second factor.
#[derive(Debug, Clone, Args)]
pub struct Showing {
    /// Your name, if a second factor is needed. You are then asked for your authenticator's code; a script gives it as
    /// the first line of standard input.
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
}

impl Showing {
    /// The code, typed or from standard input; none if nobody is named.
    pub fn second_factor(self) -> Result<Option<SecondFactor>, Failure> {
        let Some(person) = self.person else {
            return Ok(None);
        };
        let code = match std::io::stdin().is_terminal() {
            true => rpassword::prompt_password("Code: "),
            false => first_line(),
        };
        let code = code.map_err(|error| Failure::system("read the code", &error))?;
        let code = code.trim().to_owned();
        if code.is_empty() {
            return Err(Failure::usage(
                "error: no code came: type it, or give it as the first line of standard input",
            ));
        }
        Ok(Some(SecondFactor { person, code }))
    }
}

/// The first line of standard input, and not a byte more: what follows is for a command that is run.
fn first_line() -> std::io::Result<String> {
    let stdin = std::io::stdin();
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < CODE_LINE_MAX_BYTES && rustix::io::read(&stdin, &mut byte)? == 1 {
        match byte {
            [b'\n'] => break,
            [byte] => line.push(byte),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
