//! A way in that a person is being given: a passkey, or a password with its codes. The first, or another.

use hearthkey_core::id::PersonName;
use hearthkey_core::person::fit_password;
use hearthkey_store::change::Write;
use hearthkey_store::people::{PersonWrite, StoredPasskey};
use hearthkey_store::vault::SecretName;
use serde_json::Value;

use crate::auth::ceremonies::NewPassword;
use crate::auth::login::{TOTP, no_passkeys};
use crate::auth::passkeys;
use crate::auth::passwords;
use crate::people::People;
use crate::state::failure::Failure;

/// What somebody joins by.
pub(super) enum Way {
    Passkey(StoredPasskey),
    /// With the step of the code that was shown, which is used with that.
    Password(NewPassword, u64),
}

pub(super) fn label(text: Option<String>) -> Result<String, Failure> {
    let text = text.unwrap_or_default();
    let text = text.trim();
    let plain = |c: char| !c.is_control();
    match text.chars().count() {
        0 => Ok("Passkey".into()),
        n if n <= hearthkey_core::person::LABEL_MAX_CHARS && text.chars().all(plain) => {
            Ok(text.into())
        }
        _ => Err(Failure::invalid(
            &"a label has 1 to 60 printable characters",
        )),
    }
}

impl People {
    /// A passkey that has just been made.
    pub(super) fn registered(
        &self,
        authority: &str,
        person: &str,
        credential: Value,
        state: &webauthn_rs::prelude::PasskeyRegistration,
        text: Option<String>,
    ) -> Result<StoredPasskey, Failure> {
        let party = self.auth.people.passkeys.under(authority);
        let party = party.ok_or_else(no_passkeys)?;
        let (id, data) = passkeys::finish_registration(party, credential, state)
            .map_err(|why| Failure::refused(&why, "Start again, or use another passkey."))?;
        Ok(StoredPasskey {
            id,
            person: person.to_owned(),
            label: label(text)?,
            data,
            created_at: self.ctx.now(),
            last_used_at: None,
        })
    }

    /// Stretches a password and makes the secret of its codes.
    pub(super) async fn new_password(
        &self,
        name: &PersonName,
        password: &str,
    ) -> Result<(NewPassword, String, String), Failure> {
        fit_password(name, password).map_err(|error| {
            Failure::refused(
                &error,
                "Choose another. Four random words are a good choice.",
            )
        })?;
        let stretching = self.auth.people.stretching.acquire().await;
        let _stretching = stretching.map_err(|error| Failure::internal(&error))?;
        let phc = tokio::task::block_in_place(|| passwords::stretch(password));
        let phc = phc.ok_or_else(|| Failure::internal(&"a password could not be stretched"))?;
        let totp = passwords::new_totp_secret();
        let (text, uri) = passwords::totp_texts(&totp, name.as_str(), self.ctx.id().as_str());
        Ok((NewPassword { phc, totp }, uri, text))
    }

    /// The writes that give a person a way in.
    pub(super) fn way_in(
        &self,
        person: &str,
        way: Way,
    ) -> Result<(&'static str, Vec<Write>), Failure> {
        match way {
            Way::Passkey(passkey) => Ok((
                "passkey",
                vec![Write::Person(PersonWrite::Passkey(passkey))],
            )),
            Way::Password(new, step) => {
                let last = self
                    .ctx
                    .store()
                    .read(|registry| registry.secret(TOTP, person))?;
                let version = last.map_or(1, |(version, _)| version + 1);
                let name = SecretName {
                    kind: TOTP,
                    name: person,
                    version,
                };
                let sealed = self.ctx.store().vault().seal(name, &new.totp);
                let secret = Write::Secret {
                    kind: TOTP,
                    name: person.to_owned(),
                    version,
                    sealed,
                    at: self.ctx.now(),
                };
                let password = PersonWrite::Password(person.to_owned(), new.phc.clone());
                let used = PersonWrite::CodeUsed {
                    person: person.to_owned(),
                    step,
                    password: new.phc,
                };
                let writes = [password, used].map(Write::Person);
                Ok(("password", std::iter::once(secret).chain(writes).collect()))
            }
        }
    }
}

pub(super) fn wrong_code() -> Failure {
    Failure::refused(
        &"wrong code for this secret, or the clocks differ",
        "Start again, and type the six digits that the authenticator shows now.",
    )
}
