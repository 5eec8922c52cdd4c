//! `hearthkey unlock …`: how the home is unlocked the next time.

use std::io::IsTerminal as _;

use clap::Subcommand;
use hearthkey_api::{
    CallError, Client, PassphraseMethodRequest, RecoveryCodeConfirmation, RecoveryCodeIssued,
    UnlockMethodList, UnlockMethodRemoval, UnlockMethodRequest, UnlockMethodView,
};
use zeroize::{Zeroize, Zeroizing};

use crate::audience;
use crate::context::Context;
use crate::failure::Failure;
use crate::second_factor::Showing;
use crate::table::Table;
use crate::url_path::Name;
use crate::words;

const PATH: &str = "/api/v1/unlock-methods";
/// How often a code may be mistyped before the command gives up.
const TRIES: usize = 3;

/// The commands about unlock methods.
#[derive(Debug, Subcommand)]
pub enum Unlock {
    /// List the unlock methods.
    List,
    /// Add a passphrase, from the terminal or HEARTHKEY_PASSPHRASE.
    AddPassphrase {
        /// What it is called.
        #[arg(long, value_name = "NAME", default_value = "passphrase")]
        name: String,
        /// Replace the passphrase of this name, which then opens nothing.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        showing: Showing,
    },
    /// Make a key file: the home unlocks without a person, and so does a copy of the disk.
    AddKeyFile {
        #[command(flatten)]
        showing: Showing,
    },
    /// Issue a new recovery code. It is shown once; the old one stops working when the new one is confirmed.
    RecoveryCode {
        #[command(flatten)]
        showing: Showing,
    },
    /// Remove an unlock method.
    Remove {
        /// Its name, as listed.
        name: Name,
        /// Accept what follows from it.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        showing: Showing,
    },
}

impl Unlock {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let list: UnlockMethodList = match self {
            Self::List => client.get(PATH).await?,
            Self::AddPassphrase {
                name,
                replace,
                showing,
            } => {
                let second_factor = showing.second_factor()?;
                let words = words::choose()?;
                let mut request = PassphraseMethodRequest {
                    name,
                    passphrase: words.as_str().to_owned(),
                    replace,
                    second_factor,
                };
                let answer = client.post(&format!("{PATH}/passphrases"), &request).await;
                request.passphrase.zeroize();
                answer?
            }
            Self::AddKeyFile { showing } => {
                let second_factor = showing.second_factor()?;
                let request = UnlockMethodRequest { second_factor };
                client.post(&format!("{PATH}/key-file"), &request).await?
            }
            Self::RecoveryCode { showing } => {
                return issue(context, &client, showing).await;
            }
            Self::Remove { name, yes, showing } => {
                let request = UnlockMethodRemoval {
                    accept: yes,
                    second_factor: showing.second_factor()?,
                };
                let path = format!("{PATH}/{}/remove", name.segment());
                client.post(&path, &request).await?
            }
        };
        context.output.answer(&list, || text(&list.methods))?;
        if let Some(warning) = &list.warning {
            context.output.aside(&format!("WARNING: {warning}"));
        }
        Ok(())
    }
}

/// Shows a new recovery code, and confirms it: typed from the paper where somebody sits at a terminal, and otherwise once it is
/// written to standard output. Until then the old one opens the home as well.
async fn issue(context: &Context, client: &Client, showing: Showing) -> Result<(), Failure> {
    audience::may_see("recovery code")?;
    let second_factor = showing.second_factor()?;
    let request = UnlockMethodRequest { second_factor };
    let path = format!("{PATH}/recovery-code");
    let issued: RecoveryCodeIssued = client.post(&path, &request).await?;
    let code = Zeroizing::new(issued.recovery_code.clone());
    context.output.answer(&issued, || shown(&code))?;
    let is_typed = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if !is_typed {
        confirm(client, code).await?;
        return Ok(());
    }
    for left in (0..TRIES).rev() {
        let typed = words::typed("Type the code from the paper: ")?;
        match confirm(client, typed).await {
            Ok(()) => break,
            Err(CallError::Problem(problem)) if left > 0 => context.output.aside(&problem.detail),
            Err(error) => return Err(error.into()),
        }
    }
    context
        .output
        .aside("The old recovery code opens nothing any more.");
    Ok(())
}

async fn confirm(client: &Client, code: Zeroizing<String>) -> Result<(), CallError> {
    let mut confirmation = RecoveryCodeConfirmation {
        recovery_code: code.as_str().to_owned(),
    };
    let path = format!("{PATH}/recovery-code/confirm");
    let confirmed: Result<UnlockMethodList, CallError> = client.post(&path, &confirmation).await;
    confirmation.recovery_code.zeroize();
    confirmed.map(drop)
}

fn shown(code: &str) -> String {
    format!(
        "recovery code  {code}\n\nWrite it down and keep it away from this machine. It is shown only once."
    )
}

fn text(methods: &[UnlockMethodView]) -> String {
    let mut table = Table::new(&["NAME", "KIND", "ADDED", "STATE"]);
    for method in methods {
        let added = method.added_at.as_deref().unwrap_or("unknown");
        table.row(&[&method.name, &method.kind, added, state(method)]);
    }
    table.render()
}

fn state(method: &UnlockMethodView) -> &'static str {
    match (method.unconfirmed, method.opens, method.kind.as_str()) {
        (true, ..) => "not confirmed",
        (false, true, "key-file") => "works",
        (false, true, _) => "ready",
        (false, false, "key-file") => "missing, or opens nothing",
        (false, false, _) => "damaged",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str, kind: &str, opens: bool, unconfirmed: bool) -> UnlockMethodView {
        UnlockMethodView {
            name: name.into(),
            kind: kind.into(),
            added_at: None,
            opens,
            unconfirmed,
        }
    }

    #[test]
    fn a_list_says_of_each_method_whether_it_can_be_relied_on() {
        let told = text(&[
            method("key-file", "key-file", false, false),
            method("anna", "passphrase", true, false),
            method("new-recovery-code", "recovery-code", false, true),
        ]);
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[1].ends_with("missing, or opens nothing"), "{told}");
        assert!(lines[2].ends_with("ready"), "{told}");
        assert!(lines[3].ends_with("not confirmed"), "{told}");
    }
}
