//! By what a scanner recognizes the vault's own values, without learning them (R14).
//!
//! The key is fresh for each scan, so that marks of two scans cannot be compared. A holder of marks can
//! try guesses against them: a value that can be guessed is not protected by them. That is why they are
//! given to those only who may read the value itself, and why it is on record.

use hearthkey_api::{MarksView, SecretValue};
use hearthkey_core::audit::Entry;
use hearthkey_core::credential::{Action, CredentialId};
use hearthkey_discovery::scan::{MarkKey, Marked, Marks, mark};
use hearthkey_store::change::Change;
use hearthkey_store::keys::random;
use hearthkey_store::vault::CredentialPlace;
use zeroize::Zeroizing;

use crate::auth::caller::Caller;
use crate::state::failure::Failure;
use crate::vault::Vault;

/// Values that are read at a time.
const BATCH: u32 = 500;

impl Vault {
    /// Whether the caller may have a value of a credential that there is.
    fn reads(&self, caller: &Caller, id: &CredentialId, version: u32) -> Result<bool, Failure> {
        if caller.is_named(Action::Read, id) {
            return Ok(true);
        }
        let known = self.ctx.store().read(|registry| registry.credential(id))?;
        let Some(known) = known else {
            return Ok(false);
        };
        let tier = self.effective_tier(id, known.credential.tier, Some(version))?;
        Ok(caller.reaches(Action::Read, id, tier).is_ok())
    }

    /// Marks every value that the caller may read.
    pub(crate) async fn marks(&self, caller: &Caller) -> Result<MarksView, Failure> {
        let vault = self.ctx.store().vault();
        let mut marks = Marks::new(MarkKey::from_random(*random::<32>()), 1000);
        let (mut marked, mut not_marked) = (0, Vec::new());
        let mut after = (String::new(), String::new(), 0);
        loop {
            let after_ref = (after.0.as_str(), after.1.as_str(), after.2);
            let page = self
                .ctx
                .store()
                .read(|registry| registry.sealed_values(after_ref, BATCH))?;
            let Some((last, version, _)) = page.last() else {
                break;
            };
            after = (
                last.name.to_string(),
                last.environment.to_string(),
                *version,
            );
            for (id, version, sealed) in page {
                // A mark lets its holder try guesses: it is for callers who may read the value.
                if caller.may(Action::Read, &id).is_err() || !self.reads(caller, &id, version)? {
                    continue;
                }
                let value = vault.open_credential(&CredentialPlace::of(&id, version), &sealed);
                let label = format!("{id} v{version}");
                let Ok(value) = value else {
                    not_marked.push(format!(
                        "{label} cannot be decrypted: it is damaged, or was moved"
                    ));
                    continue;
                };
                match mark(&mut marks, &label, &value) {
                    Marked::Yes => marked += 1,
                    Marked::TooShort => not_marked.push(format!("{label} is shorter than 8 bytes")),
                    Marked::TooPlain => {
                        not_marked.push(format!("{label} repeats the same few characters"))
                    }
                    Marked::BadLabel | Marked::Full => {
                        not_marked.push(format!("there are too many values for {label}"))
                    }
                }
            }
        }
        let entry = Entry::new(
            self.ctx.now(),
            caller.actor(),
            "credential.marks",
            match caller.granted_in() {
                Some(environment) => format!("environment:{environment}"),
                None => format!("home:{}", self.ctx.id()),
            },
        )
        .with("marked", marked)
        .with("not_marked", not_marked.len());
        self.ctx.commit(Change::record(entry)).await?;
        Ok(MarksView {
            marks: SecretValue::new(Zeroizing::new(marks.to_text().as_bytes().to_vec())),
            marked,
            not_marked,
        })
    }
}
