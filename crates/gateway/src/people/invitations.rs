//! Joining: the one-time link of a new home, invitations, and the first way in.

use std::net::IpAddr;

use hearthkey_api as api;
use hearthkey_core::audit::Entry;
use hearthkey_core::id::{Fingerprint, PersonName, hex};
use hearthkey_core::person::{HERE, INVITATION_LIFETIME, Invitation, Person};
use hearthkey_core::role::{Act, Mandate};
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::keys::random;
use hearthkey_store::people::PersonWrite;
use hearthkey_store::registry::ReadError;
use zeroize::Zeroizing;

use crate::auth::ceremonies::{Ceremony, Joining};
use crate::auth::login::{INVITATION, Tried, no_passkeys, no_such_ceremony};
use crate::auth::passkeys;
use crate::auth::passwords;
use crate::auth::person_book::OpenSetup;
use crate::auth::secrets::hash_of;
use crate::auth::secrets::new_secret;
use crate::auth::sessions::{Opened, Visitor, open};
use crate::people::People;
use crate::people::new_way::{Way, wrong_code};
use crate::state::failure::Failure;
use crate::state::locked;
use crate::state::url::bracketed;

/// An invitation that is open: for whom, if that is known, and until when.
struct Open {
    hash: Fingerprint,
    person: Option<Person>,
    expires_at: Timestamp,
}

/// A session of somebody who has just joined, and their recovery codes.
pub(crate) struct Joined {
    pub(crate) opened: Opened,
    pub(crate) codes: Vec<Zeroizing<String>>,
}

fn not_invited() -> Failure {
    Failure::refused(
        &"this link has been used, has ended, or belongs to another home",
        "Ask an owner for a new link. On the command line: `hearthkey person setup-link` prints one for a new home.",
    )
}

/// A new person's id.
fn new_id() -> String {
    hex(random::<16>().as_slice())
}

impl People {
    /// The one-time link by which a home without an owner gets one. The one before it is good no more.
    pub(crate) fn setup_link(&self) -> Result<Option<String>, Failure> {
        self.auth.people.forget_setup_link();
        if self.ctx.http().is_none() || self.ctx.store().read(|registry| registry.has_owner())? {
            return Ok(None);
        }
        let token = new_secret();
        *locked(&self.auth.people.setup) = Some(OpenSetup {
            hash: hash_of(&token),
            expires_at: self.ctx.now().after(INVITATION_LIFETIME),
        });
        Ok(Some(self.link("setup", &token)))
    }

    /// A link whose secret stays in the browser: what follows `#` is sent to nobody.
    fn link(&self, page: &str, token: &str) -> String {
        let host = self.linked_host();
        let port = self.ctx.http().map_or(443, |address| address.port());
        format!("https://{}:{port}/{page}#{token}", bracketed(host))
    }

    /// The name by which a browser reaches the listener: where that is on loopback, one that leads there.
    fn linked_host(&self) -> &str {
        let leads_here = |host: &&String| {
            let address: Option<IpAddr> = host.parse().ok();
            host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback())
        };
        let is_local = self.ctx.http().is_some_and(|http| http.ip().is_loopback());
        let local = self
            .ctx
            .hosts()
            .iter()
            .find(leads_here)
            .filter(|_| is_local);
        let host = local.or_else(|| self.ctx.hosts().first());
        host.map_or("localhost", String::as_str)
    }

    /// Whether a link to a page of the gateway leads anywhere.
    pub(crate) fn has_pages(&self) -> Result<(), Failure> {
        match self.ctx.http() {
            Some(_) => Ok(()),
            None => Err(Failure::refused(
                &"the gateway serves no web address, so a link to it cannot be opened",
                "Start the gateway with a web address, then invite them. On the command line: `--http ADDR:PORT`.",
            )),
        }
    }

    /// A new invitation, and the link that a person gets.
    pub(crate) fn new_invitation(&self, made_by: String) -> (Invitation, String) {
        let token = new_secret();
        let invitation = Invitation {
            hash: hash_of(&token),
            expires_at: self.ctx.now().after(INVITATION_LIFETIME),
            made_by: Some(made_by),
        };
        (invitation, self.link("join", &token))
    }

    /// Whom an open invitation is for, if its maker may still invite people: not if they were sent away since, also
    /// when the registry does not have that yet.
    fn invited(&self, hash: &Fingerprint, now: Timestamp) -> Result<Option<Person>, ReadError> {
        let person = self
            .ctx
            .store()
            .read(|registry| registry.person_invited_by(hash))?;
        let person = person.filter(|person| person.is_invited_by(hash, now));
        let invitation = person
            .as_ref()
            .and_then(|person| person.invitation.as_ref());
        let may_invite = |maker: Person| {
            let here = Some(maker).filter(|maker| maker.ended_at.is_none());
            let left = here.and_then(|maker| self.auth.people.left_of(maker));
            left.is_some_and(|left| left.mandate.scope(Act::PeopleChange).is_some())
        };
        let is_good = match invitation.and_then(|invitation| invitation.made_by.as_deref()) {
            Some(HERE) => true,
            Some(maker) => {
                let maker = self.ctx.store().read(|registry| registry.person(maker))?;
                maker.is_some_and(may_invite)
            }
            // It may be of anybody who was sent away just now.
            None => !self.auth.people.gone.has_anybody(),
        };
        let person = person.filter(|_| is_good);
        Ok(person.and_then(|person| self.auth.people.left_of(person)))
    }

    fn open_invitation(&self, token: &str) -> Result<Open, Failure> {
        let (hash, now) = (hash_of(token), self.ctx.now());
        let setup = locked(&self.auth.people.setup)
            .as_ref()
            .filter(|setup| setup.hash == hash && now < setup.expires_at)
            .map(|setup| setup.expires_at);
        let has_owner = self.ctx.store().read(|registry| registry.has_owner())?;
        if let Some(expires_at) = setup.filter(|_| !has_owner) {
            return Ok(Open {
                hash,
                person: None,
                expires_at,
            });
        }
        let person = self.invited(&hash, now)?.ok_or_else(not_invited)?;
        let expires_at = person.invitation.as_ref().map(|open| open.expires_at);
        Ok(Open {
            hash,
            expires_at: expires_at.unwrap_or(now),
            person: Some(person),
        })
    }

    /// The invitation that a visitor shows. A wrong one is written down like a failed login, whether it never was, was used,
    /// or has ended.
    async fn show_invitation(&self, visitor: &Visitor, token: &str) -> Result<Open, Failure> {
        match self.open_invitation(token) {
            Ok(open) => Ok(open),
            Err(failure) => {
                let tried = Tried::unguessable(INVITATION, None);
                self.auth
                    .record_failure(visitor, tried, None, "no_invitation")
                    .await;
                Err(failure)
            }
        }
    }

    /// What an invitation is for.
    pub(crate) async fn look_at_invitation(
        &self,
        visitor: &Visitor,
        token: &str,
    ) -> Result<api::InvitationView, Failure> {
        let open = self.show_invitation(visitor, token).await?;
        let owner = Mandate::owner();
        let mandate = open
            .person
            .as_ref()
            .map_or(&owner, |person| &person.mandate);
        let passkeys = self
            .auth
            .people
            .passkeys
            .under(&visitor.authority)
            .is_some();
        Ok(api::InvitationView {
            home: self.ctx.id().to_string(),
            role: mandate.role().to_string(),
            environments: mandate
                .environments()
                .iter()
                .map(ToString::to_string)
                .collect(),
            name: open.person.as_ref().map(|person| person.name.to_string()),
            passkeys,
            why_no_passkeys: (!passkeys)
                .then(|| crate::state::failure::sentence(&passkeys::WHY_NONE)),
            first: open.person.is_none(),
            expires_at: open.expires_at.to_string(),
        })
    }

    async fn joining(
        &self,
        visitor: &Visitor,
        request: &api::InvitationToken,
    ) -> Result<Joining, Failure> {
        let open = self.show_invitation(visitor, &request.token).await?;
        let (person, name) = match open.person {
            Some(person) => (person.id, person.name),
            None => {
                let name = request.name.as_deref().unwrap_or_default();
                let name: PersonName = name.parse().map_err(|error| Failure::invalid(&error))?;
                (new_id(), name)
            }
        };
        Ok(Joining {
            invitation: open.hash,
            person,
            name,
        })
    }

    /// Begins to join with a passkey.
    pub(crate) async fn begin_joining_by_passkey(
        &self,
        visitor: &Visitor,
        request: &api::InvitationToken,
    ) -> Result<api::CeremonyBegun, Failure> {
        let joining = self.joining(visitor, request).await?;
        let party = self.auth.people.passkeys.under(&visitor.authority);
        let party = party.ok_or_else(no_passkeys)?;
        let known = self
            .ctx
            .store()
            .read(|registry| registry.passkeys_of(&joining.person))?;
        let (options, state) =
            passkeys::begin_registration(party, &joining.person, &joining.name, &known)
                .ok_or_else(no_passkeys)?;
        let ceremony = Ceremony::Join(joining, Box::new(state), visitor.authority.clone());
        let ceremony = locked(&self.auth.people.ceremonies).begin(ceremony, self.ctx.now());
        Ok(api::CeremonyBegun { ceremony, options })
    }

    /// Joins with a passkey.
    pub(crate) async fn join_by_passkey(
        &self,
        visitor: &Visitor,
        answer: api::CeremonyAnswer,
    ) -> Result<Joined, Failure> {
        let now = self.ctx.now();
        let taken = locked(&self.auth.people.ceremonies).take(&answer.ceremony, now);
        let Some(Ceremony::Join(joining, state, authority)) = taken else {
            return Err(no_such_ceremony());
        };
        let passkey = self.registered(
            &authority,
            &joining.person,
            answer.credential,
            &state,
            answer.label,
        )?;
        self.join(visitor, joining, Way::Passkey(passkey)).await
    }

    /// Begins to join with a password and a code.
    pub(crate) async fn begin_joining_by_password(
        &self,
        visitor: &Visitor,
        request: api::InvitationToken,
    ) -> Result<api::PasswordBegun, Failure> {
        let joining = self.joining(visitor, &request).await?;
        let password = Zeroizing::new(request.password.unwrap_or_default());
        let (new, uri, text) = self.new_password(&joining.name, &password).await?;
        let ceremony = Ceremony::JoinByPassword(joining, new);
        let ceremony = locked(&self.auth.people.ceremonies).begin(ceremony, self.ctx.now());
        Ok(api::PasswordBegun {
            ceremony,
            totp_uri: uri,
            totp_secret: text,
        })
    }

    /// Joins with a password, once a code has shown that the authenticator holds its secret.
    pub(crate) async fn join_by_password(
        &self,
        visitor: &Visitor,
        answer: &api::CodeAnswer,
    ) -> Result<Joined, Failure> {
        let now = self.ctx.now();
        let ceremony = answer.ceremony.as_deref().unwrap_or_default();
        let taken = locked(&self.auth.people.ceremonies).take(ceremony, now);
        let Some(Ceremony::JoinByPassword(joining, new)) = taken else {
            return Err(no_such_ceremony());
        };
        let step = passwords::step_of(&new.totp, &answer.code, now).ok_or_else(wrong_code)?;
        self.join(visitor, joining, Way::Password(new, step)).await
    }

    async fn join(&self, visitor: &Visitor, joining: Joining, way: Way) -> Result<Joined, Failure> {
        let now = self.ctx.now();
        let Joining {
            invitation,
            person: id,
            name,
        } = joining;
        let (person, joins) = match self.invited(&invitation, now)? {
            Some(person) => (person, PersonWrite::Join(id.clone(), invitation)),
            None => {
                let founder = self.founder(id.clone(), name, invitation)?;
                (founder.clone(), PersonWrite::Found(founder))
            }
        };
        let codes = passwords::new_recovery_codes();
        let hashes = codes
            .iter()
            .map(|code| passwords::recovery_hash(code))
            .collect();
        let (way, writes) = self.way_in(&id, way)?;
        let opened = open(person.clone(), visitor, now);
        let session = opened.visit.session.hash;
        // Who comes in again has lost the ways before, perhaps to somebody who is in: as with a new password.
        self.auth.cut_other_sessions(&person, &opened.visit).await?;
        let object = format!("person:{}", person.name);
        let entry = Entry::new(now, opened.visit.actor(), "person.join", object)
            .with("way", way)
            .with("role", person.mandate.role().as_str());
        let mut change = Change::record(entry).write(Write::Person(joins));
        change.writes.extend(writes);
        let others = PersonWrite::EndOtherSessions(id.clone(), session);
        let codes_write = PersonWrite::RecoveryCodes(id, hashes);
        let change = change
            .write(Write::Person(codes_write))
            .write(opened.write())
            .write(Write::Person(others));
        self.ctx.commit(change).await.map_err(|error| match error {
            CommitError::Conflict => not_invited(),
            error => error.into(),
        })?;
        self.auth.people.forget_setup_link();
        let from = visitor.address.ip();
        locked(&self.auth.people.throttle).remember(from, opened.visit.person.name.as_str());
        Ok(Joined { opened, codes })
    }

    /// The first owner, if the setup link is still the one that they came by.
    fn founder(
        &self,
        id: String,
        name: PersonName,
        invitation: Fingerprint,
    ) -> Result<Person, Failure> {
        let now = self.ctx.now();
        let open = locked(&self.auth.people.setup)
            .as_ref()
            .is_some_and(|setup| setup.hash == invitation && now < setup.expires_at);
        if !open {
            return Err(not_invited());
        }
        Ok(Person {
            id,
            name,
            mandate: Mandate::owner(),
            created_at: now,
            ended_at: None,
            last_seen_at: None,
            invitation: None,
            joined: true,
        })
    }

    /// A person who is invited.
    pub(crate) fn invitee(
        &self,
        name: PersonName,
        mandate: Mandate,
        made_by: String,
    ) -> (Person, String) {
        let (invitation, url) = self.new_invitation(made_by);
        let person = Person {
            id: new_id(),
            name,
            mandate,
            created_at: self.ctx.now(),
            ended_at: None,
            last_seen_at: None,
            invitation: Some(invitation),
            joined: false,
        };
        (person, url)
    }
}
