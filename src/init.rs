//! `hearthkey init`: makes a home.

use clap::{Args, ValueEnum};
use hearthkey_gateway::{InitError, InitSlot, Initialized};
use serde::Serialize;

use crate::audience;
use crate::context::Context;
use crate::failure::{Failure, code};
use crate::table::facts;
use crate::words;

/// What `init` is told.
#[derive(Debug, Args)]
pub struct Init {
    /// The home's name, like `attic`. It cannot be changed later.
    #[arg(long, value_name = "NAME")]
    home: String,
    /// How the home is unlocked when the gateway starts. A recovery code is always created.
    #[arg(long, value_enum)]
    slot: Slot,
}

/// The kinds of slots that a home can begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Slot {
    /// A file next to the database: starts without a person, but does not protect the data at rest.
    #[value(name = "keyfile")]
    KeyFile,
    /// A passphrase, from the terminal or HEARTHKEY_PASSPHRASE.
    Passphrase,
}

/// What `init --json` answers.
#[derive(Serialize)]
struct Made<'a> {
    home: &'a str,
    root_sha256: &'a str,
    recovery_code: &'a str,
    warning: Option<&'a str>,
}

impl Init {
    /// Makes the home, and shows its recovery code for the only time.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        audience::may_see("recovery code")?;
        let data_dir = context.data_dir()?;
        let slot = match self.slot {
            Slot::KeyFile => InitSlot::KeyFile,
            Slot::Passphrase => InitSlot::Passphrase(words::choose()?),
        };
        let made = hearthkey_gateway::init(&data_dir, &self.home, slot)
            .await
            .map_err(|error| {
                let failure = Failure::with_cause(
                    code::INIT,
                    "The home was not created.",
                    &error,
                    "Check the home's name and the data directory.",
                );
                match error {
                    InitError::Name => failure.of_usage(),
                    _ => failure,
                }
            })?;
        let answer = Made {
            home: &made.home,
            root_sha256: &made.root_sha256,
            recovery_code: &made.recovery_code,
            warning: made.warning.as_deref(),
        };
        context.output.answer(&answer, || text(&made))?;
        if let Some(warning) = &made.warning {
            context.output.aside(&loud(warning));
        }
        Ok(())
    }
}

fn text(made: &Initialized) -> String {
    let shown = facts(&[
        ("home", Some(made.home.clone())),
        (
            "root",
            Some(format!("{} (SHA-256 of its certificate)", made.root_sha256)),
        ),
        ("recovery code", Some(made.recovery_code.to_string())),
    ]);
    format!(
        "{shown}\n\nWrite the recovery code down and keep it away from this machine. It unlocks the home when\n\
         everything else is lost. It is shown only once."
    )
}

fn loud(warning: &str) -> String {
    let rule = "!".repeat(78);
    format!("{rule}\nWARNING: {warning}\n{rule}")
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn the_recovery_code_is_shown_with_what_it_is_for() {
        let told = text(&Initialized {
            home: "attic".into(),
            root_sha256: "ab".into(),
            recovery_code: Zeroizing::new("ABCD-EFGH".into()),
            warning: None,
        });
        assert_eq!(
            told,
            "home           attic\nroot           ab (SHA-256 of its certificate)\nrecovery code  ABCD-EFGH\n\n\
             Write the recovery code down and keep it away from this machine. It unlocks the home when\n\
             everything else is lost. It is shown only once."
        );
    }

    #[test]
    fn a_warning_stands_between_rules() {
        let told = loud("the key file protects nothing at rest");
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[1], "WARNING: the key file protects nothing at rest");
        assert_eq!((lines.len(), lines[0]), (3, lines[2]));
    }
}
