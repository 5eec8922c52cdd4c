//! `hearthkey backup …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hearthkey_api::{
    BackupList, BackupMade, BackupPlanRequest, BackupPlanned, BackupRequest, BackupVerified,
    KitCheckRequest, KitChecked,
};
use zeroize::Zeroize;

use crate::context::{Context, Nothing};
use crate::failure::{Failure, code};
use crate::second_factor::Showing;
use crate::table::{Table, count, facts};
use crate::words;

const PATH: &str = "/api/v1/backups";

/// The commands about backups.
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Make a backup now and verify it.
    Create {
        /// The directory that it is put into, if it is another than the one that is set.
        #[arg(long, value_name = "DIR")]
        to: Option<String>,
        #[command(flatten)]
        showing: Showing,
    },
    /// Verify a backup: restore it into a private directory, open it, and say what was opened.
    Verify(Verify),
    /// List the backups of this home, and where they go.
    List,
    /// Set where backups go. Once a place is set, one is made and verified every day.
    Set(Set),
    /// Type the recovery code, and learn whether it opens the home and its backups. Nothing of it is shown.
    KitCheck,
}

/// Which backup is verified.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct Verify {
    /// A backup file. It is verified on this machine, without a gateway, with the recovery code from the terminal or
    /// HEARTHKEY_RECOVERY_CODE.
    #[arg(value_name = "FILE", group = "which")]
    file: Option<PathBuf>,
    /// The newest backup at the place that is set. The gateway verifies it, with the home's own key.
    #[arg(long, group = "which")]
    latest: bool,
}

/// Where backups go. What is left out stays as it is.
#[derive(Debug, Args)]
pub struct Set {
    /// The directory, like /mnt/usb/backups. It is not created.
    #[arg(long, value_name = "DIR")]
    to: Option<String>,
    /// How many are kept there [default: 14].
    #[arg(long, value_name = "NUMBER")]
    keep: Option<u32>,
    /// How often one is made: daily, weekly, monthly or never [default: daily].
    #[arg(long, value_name = "INTERVAL")]
    every: Option<String>,
    /// A further recipient (age1…), besides the recovery code. Repeat it for several: these replace those there were.
    #[arg(long = "recipient", value_name = "AGE1")]
    recipients: Vec<String>,
    /// No further recipients.
    #[arg(long, conflicts_with = "recipients")]
    no_recipients: bool,
    #[command(flatten)]
    showing: Showing,
}

impl Backup {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create { to, showing } => create(context, to, showing).await,
            Self::Verify(Verify {
                file: Some(file), ..
            }) => verify_file(context, &file),
            Self::Verify(_) => {
                let path = format!("{PATH}/verify-latest");
                let client = context.client()?.patient();
                let verified: BackupVerified = client.post(&path, &Nothing {}).await?;
                context
                    .output
                    .answer(&verified, || verified_text(&verified))
            }
            Self::List => {
                let list: BackupList = context.client()?.get(PATH).await?;
                context.output.answer(&list, || list_text(&list))
            }
            Self::Set(set) => set.obey(context).await,
            Self::KitCheck => kit_check(context).await,
        }
    }
}

/// A path as the gateway reads it: from its root, whatever directory this program was started in.
fn absolute(to: String) -> Result<String, Failure> {
    if to.contains("://") {
        return Ok(to);
    }
    let path =
        std::path::absolute(&to).map_err(|error| Failure::system("read the path", &error))?;
    let text = path.into_os_string().into_string();
    text.map_err(|_| Failure::usage("error: --to is not valid UTF-8"))
}

async fn create(context: &Context, to: Option<String>, showing: Showing) -> Result<(), Failure> {
    let client = context.client()?.patient();
    let request = BackupRequest {
        to: to.map(absolute).transpose()?,
        second_factor: showing.second_factor()?,
    };
    let made: BackupMade = client.post(PATH, &request).await?;
    context.output.answer(&made, || made_text(&made))
}

/// Verifies a file without a gateway.
fn verify_file(context: &Context, file: &std::path::Path) -> Result<(), Failure> {
    let words = words::recovery_code()?;
    let verified = hearthkey_gateway::verify_backup(file, &words).map_err(|error| {
        Failure::with_cause(
            code::BACKUP,
            "The backup does not verify.",
            &error,
            "Do not rely on this backup: use another one.",
        )
    })?;
    context
        .output
        .answer(&verified, || verified_text(&verified))
}

impl Set {
    async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?.patient();
        let replaces = self.no_recipients || !self.recipients.is_empty();
        let request = BackupPlanRequest {
            to: self.to.map(absolute).transpose()?,
            keep: self.keep,
            every: self.every,
            recipients: replaces.then_some(self.recipients),
            second_factor: self.showing.second_factor()?,
        };
        let path = format!("{PATH}/plan");
        let planned: BackupPlanned = client.post(&path, &request).await?;
        context.output.answer(&planned, || planned_text(&planned))?;
        if !context.output.is_json() {
            for warning in &planned.warnings {
                context.output.aside(&format!("WARNING: {warning}"));
            }
        }
        Ok(())
    }
}

async fn kit_check(context: &Context) -> Result<(), Failure> {
    let client = context.client()?.patient();
    let words = words::recovery_code()?;
    let mut request = KitCheckRequest {
        code: words.as_str().to_owned(),
    };
    let answer = client.post(&format!("{PATH}/kit-check"), &request).await;
    request.code.zeroize();
    let checked: KitChecked = answer?;
    context.output.answer(&checked, || checked_text(&checked))?;
    match checked.fits {
        true => Ok(()),
        false => Err(Failure::after_answer("the code does not fit")),
    }
}

fn made_text(made: &BackupMade) -> String {
    let mut text = format!(
        "{} ({})\n\n{}",
        made.path,
        count(made.bytes, "byte"),
        verified_text(&made.verified)
    );
    for name in &made.given_up {
        text.push_str(&format!("\nRemoved the oldest: {name}"));
    }
    text
}

fn verified_text(verified: &BackupVerified) -> String {
    let shown = facts(&[
        ("backup", Some(verified.name.clone())),
        ("home", Some(verified.home.clone())),
        ("made at", Some(verified.made_at.clone())),
        ("log records", Some(verified.log_size.to_string())),
        ("revocations", Some(verified.revocations.to_string())),
    ]);
    let lines = verified.opened.iter().chain(&verified.absent);
    let lines: Vec<&str> = lines.map(String::as_str).collect();
    format!("{shown}\n\nVerified:\n{}", lines.join("\n"))
}

fn list_text(list: &BackupList) -> String {
    let (plan, journal) = (list.plan.as_ref(), list.journal.as_ref());
    let mut text = facts(&[
        (
            "place",
            Some(plan.map_or("not set".into(), |plan| plan.to.clone())),
        ),
        ("every", plan.map(|plan| plan.every.clone())),
        ("kept", plan.map(|plan| plan.keep.to_string())),
        (
            "recipients",
            plan.filter(|plan| !plan.recipients.is_empty())
                .map(|plan| plan.recipients.join(" ")),
        ),
        ("made at", list.made_at.clone()),
        ("verified at", list.verified_at.clone()),
        ("last failure", list.failed.clone()),
        ("running since", list.running_since.clone()),
        ("unreadable", list.unreadable.clone()),
        (
            "journal known until",
            journal.and_then(|its| its.known_until.clone()),
        ),
        (
            "journal behind since",
            journal.and_then(|its| its.behind_since.clone()),
        ),
        ("journal", journal.and_then(|its| its.failed.clone())),
    ]);
    if !list.kit_known {
        text.push_str("\n\nThe recovery code is not known to backups yet. Type it once: `hearthkey backup kit-check`.");
    }
    if list.backups.is_empty() {
        return text;
    }
    let mut table = Table::new(&["MADE AT", "BYTES", "NAME"]);
    for backup in &list.backups {
        table.row(&[&backup.made_at, &backup.bytes.to_string(), &backup.name]);
    }
    format!("{text}\n\n{}", table.render())
}

fn planned_text(planned: &BackupPlanned) -> String {
    let plan = &planned.plan;
    let how = match plan.every.as_str() {
        "never" => "Backups are made only on request".to_owned(),
        every => format!("A backup is made and verified {every}"),
    };
    format!(
        "{how}, into {}. The newest {} are kept.",
        plan.to, plan.keep
    )
}

fn checked_text(checked: &KitChecked) -> String {
    if !checked.fits {
        return "This is not the recovery code of this home.".to_owned();
    }
    let mut text = "The recovery code works: it opens this home.".to_owned();
    if checked.learned {
        text.push_str(" Backups are encrypted for it from now on.");
    }
    if let Some(why) = &checked.unreadable {
        text.push_str(&format!("\nThe place for backups cannot be read: {why}"));
    }
    for backup in &checked.backups {
        let opens = if backup.opens {
            "opens"
        } else {
            "does not open"
        };
        text.push_str(&format!("\nIt {opens} {}.", backup.name));
    }
    text
}

#[cfg(test)]
mod tests {
    use hearthkey_api::KitOpens;

    use super::*;

    #[test]
    fn a_path_is_sent_from_its_root_and_an_address_as_it_is() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("/mnt/usb".into()).unwrap(), "/mnt/usb");
        let expected = here.join("usb").to_str().unwrap().to_owned();
        assert_eq!(absolute("usb".into()).unwrap(), expected);
        assert_eq!(
            absolute("file:///mnt/usb".into()).unwrap(),
            "file:///mnt/usb"
        );
    }

    #[test]
    fn a_code_that_works_is_said_to_work_with_the_backups_it_opens() {
        let opens = |name: &str, opens| KitOpens {
            name: name.into(),
            opens,
        };
        let mut checked = KitChecked {
            fits: true,
            learned: false,
            backups: vec![opens("new.age", true), opens("old.age", false)],
            unreadable: None,
        };
        assert_eq!(
            checked_text(&checked),
            "The recovery code works: it opens this home.\nIt opens new.age.\nIt does not open old.age."
        );
        checked.fits = false;
        assert_eq!(
            checked_text(&checked),
            "This is not the recovery code of this home."
        );
    }

    #[test]
    fn a_home_without_a_place_says_so() {
        let list = BackupList {
            plan: None,
            kit_known: false,
            backups: Vec::new(),
            unreadable: None,
            made_at: None,
            verified_at: None,
            failed: None,
            running_since: None,
            journal: None,
        };
        let told = list_text(&list);
        assert!(told.starts_with("place  not set"), "{told}");
        assert!(told.contains("backup kit-check"), "{told}");
    }
}
