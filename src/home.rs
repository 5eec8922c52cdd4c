//! `hearthkey home …`: the home as a whole, where no gateway runs.

use clap::Subcommand;
use hearthkey_gateway::Rekeyed;
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Failure, code};
use crate::table::{count, facts};
use crate::{audience, words};

/// The commands about the home as a whole.
#[derive(Debug, Subcommand)]
pub enum Home {
    /// Replace the root key, and with it every key of the database, the vault, the journal and the unlock methods. Stop the
    /// gateway first. It opens with the key file, or with a passphrase or the recovery code from the terminal or
    /// HEARTHKEY_PASSPHRASE; what was typed goes on unlocking the home, and other passphrases do not.
    Rekey,
}

/// What `home rekey --json` answers.
#[derive(Serialize)]
struct Answer<'a> {
    home: &'a str,
    resealed: u64,
    slots: &'a [String],
    ended: &'a [String],
    recovery_code: Option<&'a str>,
}

impl Home {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let Self::Rekey = self;
        audience::may_see("recovery code")?;
        let data_dir = context.data_dir()?;
        let failed = |error: hearthkey_gateway::RekeyError| {
            Failure::with_cause(
                code::REKEY,
                "The home has no new keys. It is as it was.",
                &error,
                "Check the data directory and the passphrase.",
            )
        };
        let (has_key_file, has_passphrase) =
            hearthkey_gateway::ways_into(&data_dir).map_err(failed)?;
        let words = match words::in_environment()? {
            None if has_key_file => None,
            None => Some(words::ask(has_passphrase)?),
            words => words,
        };
        let rekeyed = hearthkey_gateway::rekey(&data_dir, words)
            .await
            .map_err(failed)?;
        let answer = Answer {
            home: &rekeyed.home,
            resealed: rekeyed.resealed,
            slots: &rekeyed.slots,
            ended: &rekeyed.ended,
            recovery_code: rekeyed.recovery_code.as_ref().map(|code| code.as_str()),
        };
        context.output.answer(&answer, || text(&rekeyed))
    }
}

fn text(rekeyed: &Rekeyed) -> String {
    let ended = (!rekeyed.ended.is_empty()).then(|| rekeyed.ended.join(", "));
    let shown = facts(&[
        ("home", Some(rekeyed.home.clone())),
        ("sealed anew", Some(count(rekeyed.resealed, "value"))),
        ("unlocked with", Some(rekeyed.slots.join(", "))),
        ("unlock nothing any more", ended),
        (
            "recovery code",
            rekeyed.recovery_code.as_ref().map(|code| code.to_string()),
        ),
    ]);
    let code = match &rekeyed.recovery_code {
        Some(_) => {
            "\n\nWrite the recovery code down and keep it away from this machine. It is shown only once."
        }
        None => "",
    };
    format!(
        "{shown}{code}\n\nStart the gateway and make a backup: backups from before open only with the recovery code of their time, and hold\n\
         the values of their time. If somebody has had the old key, replace those values, too."
    )
}
