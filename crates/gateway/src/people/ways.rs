//! A person's own ways in: passkeys, the password, recovery codes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearthkey_api as api;
use hearthkey_core::audit::Entry;
use hearthkey_core::person::PASSKEYS_MAX;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::people::PersonWrite;

use crate::auth::caller::Visit;
use crate::auth::ceremonies::Ceremony;
use crate::auth::login::{no_passkeys, no_such_ceremony};
use crate::auth::passkeys;
use crate::auth::passwords;
use crate::people::People;
use crate::people::new_way::{Way, wrong_code};
use crate::state::failure::Failure;
use crate::state::locked;

impl People {
    /// What a person logs in with.
    pub(crate) fn own_ways(&self, visit: &Visit) -> Result<api::OwnWays, Failure> {
        let person = &visit.person;
        let ways = self
            .ctx
            .store()
            .read(|registry| registry.ways_of(&person.id))?;
        let passkeys = self.auth.passkeys_left(person)?;
        Ok(api::OwnWays {
            name: visit.person.name.to_string(),
            passkeys: passkeys
                .into_iter()
                .map(|key| api::PasskeyView {
                    id: URL_SAFE_NO_PAD.encode(&key.id),
                    label: key.label,
                    created_at: key.created_at.to_string(),
                    last_used_at: key.last_used_at.map(|at| at.to_string()),
                })
                .collect(),
            password: ways.password.is_some(),
            recovery_codes_left: ways.recovery_codes,
        })
    }

    fn own_entry(&self, visit: &Visit, action: &'static str) -> Entry {
        let object = format!("person:{}", visit.person.name);
        Entry::new(self.ctx.now(), visit.actor(), action, object)
    }

    /// Begins to add a passkey.
    pub(crate) fn begin_passkey(&self, visit: &Visit) -> Result<api::CeremonyBegun, Failure> {
        let person = &visit.person;
        let party = self.auth.people.passkeys.under(&visit.authority);
        let party = party.ok_or_else(no_passkeys)?;
        let known = self
            .ctx
            .store()
            .read(|registry| registry.passkeys_of(&person.id))?;
        if known.len() >= PASSKEYS_MAX {
            let why = format!("a person has {PASSKEYS_MAX} passkeys at most");
            return Err(Failure::refused(&why, "Remove one that is not used."));
        }
        let (options, state) =
            passkeys::begin_registration(party, &person.id, &person.name, &known)
                .ok_or_else(no_passkeys)?;
        let ceremony =
            Ceremony::AddPasskey(Box::new(state), visit.session.hash, visit.authority.clone());
        let ceremony = locked(&self.auth.people.ceremonies).begin(ceremony, self.ctx.now());
        Ok(api::CeremonyBegun { ceremony, options })
    }

    /// Adds a passkey.
    pub(crate) async fn add_passkey(
        &self,
        visit: &Visit,
        answer: api::CeremonyAnswer,
    ) -> Result<api::OwnWays, Failure> {
        let taken = locked(&self.auth.people.ceremonies).take(&answer.ceremony, self.ctx.now());
        let Some(Ceremony::AddPasskey(state, session, authority)) = taken else {
            return Err(no_such_ceremony());
        };
        if session != visit.session.hash {
            return Err(no_such_ceremony());
        }
        let passkey = self.registered(
            &authority,
            &visit.person.id,
            answer.credential,
            &state,
            answer.label,
        )?;
        let entry = self
            .own_entry(visit, "passkey.add")
            .with("label", passkey.label.clone());
        let change = Change::record(entry).write(Write::Person(PersonWrite::Passkey(passkey)));
        self.ctx.commit(change).await?;
        self.own_ways(visit)
    }

    /// Takes a passkey away, unless it is the last way in.
    pub(crate) async fn end_passkey(
        &self,
        visit: &Visit,
        id: &str,
    ) -> Result<api::WaysChanged, Failure> {
        let person = &visit.person;
        let ways = self.own_ways(visit)?;
        let found = ways.passkeys.iter().find(|key| key.id == id);
        let bytes = URL_SAFE_NO_PAD.decode(id).ok();
        let (Some(key), Some(bytes)) = (found, bytes) else {
            let shown: String = id.chars().take(40).collect();
            return Err(Failure::not_found("passkey", &shown));
        };
        if ways.passkeys.len() == 1 && !ways.password {
            return Err(Failure::refused(
                &"it is your last login method",
                "Add another passkey or a password first.",
            ));
        }
        let entry = self
            .own_entry(visit, "passkey.end")
            .with("label", key.label.clone());
        let ending = self.auth.cut_passkey(person, bytes, entry);
        let durable = ending.durable_in_time().await;
        let ways = self.own_ways(visit)?;
        Ok(api::WaysChanged { ways, durable })
    }

    /// Gives new recovery codes; those before are good no more.
    pub(crate) async fn new_recovery_codes(
        &self,
        visit: &Visit,
    ) -> Result<api::RecoveryCodes, Failure> {
        let codes = passwords::new_recovery_codes();
        let hashes = codes
            .iter()
            .map(|code| passwords::recovery_hash(code))
            .collect();
        let entry = self.own_entry(visit, "person.recovery-codes");
        let write = PersonWrite::RecoveryCodes(visit.person.id.clone(), hashes);
        self.ctx
            .commit(Change::record(entry).write(Write::Person(write)))
            .await?;
        Ok(api::RecoveryCodes {
            recovery_codes: codes.iter().map(|code| code.to_string()).collect(),
        })
    }

    /// Begins to set a password.
    pub(crate) async fn begin_password(
        &self,
        visit: &Visit,
        password: &str,
    ) -> Result<api::PasswordBegun, Failure> {
        let (new, totp_uri, totp_secret) = self.new_password(&visit.person.name, password).await?;
        let ceremony = Ceremony::SetPassword(new, visit.session.hash);
        let ceremony = locked(&self.auth.people.ceremonies).begin(ceremony, self.ctx.now());
        Ok(api::PasswordBegun {
            ceremony,
            totp_uri,
            totp_secret,
        })
    }

    /// Sets a password, once a code has shown that the authenticator holds its secret. Every other session of the
    /// person ends: a person who changes a password may have a reason to. So they end first, whether or not the disk takes the
    /// password; one that was begun meanwhile ends with it.
    pub(crate) async fn set_password(
        &self,
        visit: &Visit,
        answer: &api::CodeAnswer,
    ) -> Result<api::OwnWays, Failure> {
        let now = self.ctx.now();
        let ceremony = answer.ceremony.as_deref().unwrap_or_default();
        let taken = locked(&self.auth.people.ceremonies).take(ceremony, now);
        let Some(Ceremony::SetPassword(new, session)) = taken else {
            return Err(no_such_ceremony());
        };
        if session != visit.session.hash {
            return Err(no_such_ceremony());
        }
        let step = passwords::step_of(&new.totp, &answer.code, now).ok_or_else(wrong_code)?;
        let (_, writes) = self.way_in(&visit.person.id, Way::Password(new, step))?;
        self.auth.cut_other_sessions(&visit.person, visit).await?;
        let mut change = Change::record(self.own_entry(visit, "person.password"));
        change.writes.extend(writes);
        let others = PersonWrite::EndOtherSessions(visit.person.id.clone(), session);
        self.ctx.commit(change.write(Write::Person(others))).await?;
        self.own_ways(visit)
    }
}
