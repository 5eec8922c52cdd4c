//! Who there is, in which role: inviting people, changing what they may do, sending them away.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use hearthkey_api::{self as api, SecondFactor, code};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::id::{EnvironmentName, PersonName};
use hearthkey_core::person::{HERE, INVITATION_LIFETIME, PEOPLE_MAX, Person, Standing};
use hearthkey_core::role::{Act, Mandate, Role};
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::people::PersonWrite;

use crate::auth::caller::Caller;
use crate::auth::forbidden::second_factor_needed;
use crate::auth::local_code::{Needed, Shown, needs_a_second_factor};
use crate::devices::lifecycle::still_ending;
use crate::people::People;
use crate::state::failure::{Failure, sentence};

fn last_owner() -> Failure {
    Failure::refused(
        &"a home keeps at least one owner who can log in",
        "Make another person an owner first.",
    )
}

impl From<CommitError> for RosterError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict => Self::Conflict,
            error => Self::Other(error.into()),
        }
    }
}

enum RosterError {
    Conflict,
    Other(Failure),
}

impl RosterError {
    fn or(self, conflict: impl FnOnce() -> Failure) -> Failure {
        match self {
            Self::Conflict => conflict(),
            Self::Other(failure) => failure,
        }
    }
}

impl People {
    fn mandate(&self, role: &str, environments: &[String]) -> Result<Mandate, Failure> {
        let role: Role = role.parse().map_err(|error| Failure::invalid(&error))?;
        let environments = environments
            .iter()
            .map(|name| self.vault.environment(name))
            .collect::<Result<BTreeSet<EnvironmentName>, Failure>>()?;
        Mandate::new(role, environments).map_err(|error| {
            Failure::refused(&error, "Choose other environments or another role.")
                .titled("The request is not valid.")
        })
    }

    fn person_named(&self, name: &str) -> Result<Person, Failure> {
        let found = self
            .ctx
            .store()
            .read(|registry| registry.person_named(name))?;
        let shown: String = name.chars().take(80).collect();
        found.ok_or_else(|| Failure::not_found("person", &shown))
    }

    /// The code that is shown to give or change roles, if one of them may do what needs a second factor: nobody gives on
    /// the socket without one what nobody does without one.
    async fn shown_for_roles(
        &self,
        caller: &Caller,
        mandates: &[&Mandate],
        second_factor: Option<SecondFactor>,
    ) -> Result<Option<Shown>, Failure> {
        if !mandates.iter().copied().any(needs_a_second_factor) {
            return Ok(None);
        }
        let needed = Needed {
            act: Act::PeopleChange,
            environment: None,
            why: "the role may do what needs a second factor",
        };
        self.auth.shown_here(caller, needed, second_factor).await
    }

    /// An invitation replaces somebody's password and codes. A user who could read the home's files anyway sends one without
    /// showing a code, for it may be the only authenticator that was lost; others of the socket's group do not, and a user who
    /// sits at the window shows one.
    async fn shown_to_invite_again(
        &self,
        caller: &Caller,
        person: &Person,
    ) -> Result<Option<Shown>, Failure> {
        let needed = Needed {
            act: Act::PeopleChange,
            environment: None,
            why: "an invitation makes another way in for somebody who may do what needs a second factor",
        };
        if !needs_a_second_factor(&person.mandate) {
            return Ok(None);
        }
        match caller {
            Caller::Desktop => self.auth.shown_here(caller, needed, None).await,
            _ if is_of_the_group(caller) && self.auth.asks_for_codes()? => {
                Err(second_factor_needed_of_owner(needed.why))
            }
            _ => Ok(None),
        }
    }

    /// Everybody.
    pub(crate) fn people_list(&self) -> Result<api::PersonList, Failure> {
        let now = self.ctx.now();
        let (has_owner, people) = self.ctx.store().read(|registry| {
            let mut views = Vec::new();
            for person in registry.people()? {
                let person = self.auth.people.gone.as_shown(person, now);
                let ways = registry.ways_of(&person.id)?;
                let passkeys = registry.passkeys_of(&person.id)?.len();
                let invitation = person.invitation.as_ref();
                let open = invitation.filter(|invitation| now < invitation.expires_at);
                views.push(api::PersonView {
                    name: person.name.to_string(),
                    role: person.mandate.role().to_string(),
                    environments: person
                        .mandate
                        .environments()
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                    state: person.standing().as_str().to_owned(),
                    created_at: person.created_at.to_string(),
                    last_seen_at: person.last_seen_at.map(|at| at.to_string()),
                    invited_until: open.map(|invitation| invitation.expires_at.to_string()),
                    passkeys,
                    password: ways.password.is_some(),
                    recovery_codes_left: ways.recovery_codes,
                });
            }
            Ok((registry.has_owner()?, views))
        })?;
        Ok(api::PersonList { has_owner, people })
    }

    /// Invites somebody.
    pub(crate) async fn invite(
        &self,
        caller: &Caller,
        request: api::PersonRequest,
    ) -> Result<api::Invited, Failure> {
        let name: PersonName = request
            .name
            .parse()
            .map_err(|error| Failure::invalid(&error))?;
        let mandate = self.mandate(&request.role, &request.environments)?;
        owners_matter(caller, &[&mandate])?;
        self.has_pages()?;
        if self.ctx.store().read(|registry| registry.people())?.len() >= PEOPLE_MAX {
            let why = format!("a home has {PEOPLE_MAX} people at most");
            return Err(Failure::refused(
                &why,
                "Change the role of an existing person.",
            ));
        }
        let shown = self
            .shown_for_roles(caller, &[&mandate], request.second_factor)
            .await?;
        let (person, url) = self.invitee(name, mandate, maker(caller, shown.as_ref()));
        let entry = self.entry_about(caller.actor(), "person.invite", &person);
        let invitation = person.invitation.clone();
        let name = person.name.to_string();
        let change = Change::record(entry).write(Write::Person(PersonWrite::Invite(person)));
        self.auth
            .commit_shown(change, shown)
            .await
            .map_err(|error| RosterError::from(error).or(|| taken(&name)))?;
        Ok(invited(name, url, invitation.map(|open| open.expires_at)))
    }

    /// A link by which a home without an owner gets one.
    pub(crate) fn new_setup_link(&self, caller: &Caller) -> Result<api::Invited, Failure> {
        owners_matter(caller, &[&Mandate::owner()])?;
        self.has_pages()?;
        let link = self.setup_link()?.ok_or_else(|| {
            Failure::refused(&"the home has an owner", "Ask an owner to invite people.")
        })?;
        Ok(api::Invited {
            name: None,
            url: link,
            expires_at: self.ctx.now().after(INVITATION_LIFETIME).to_string(),
        })
    }

    /// Opens another invitation for somebody: who has not joined, or has lost every way in.
    pub(crate) async fn invite_again(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<api::Invited, Failure> {
        let person = self.person_named(name)?;
        owners_matter(caller, &[&person.mandate])?;
        self.has_pages()?;
        let shown = self.shown_to_invite_again(caller, &person).await?;
        let (invitation, url) = self.new_invitation(maker(caller, shown.as_ref()));
        let expires_at = invitation.expires_at;
        let entry = self.entry_about(caller.actor(), "person.invite", &person);
        let write = PersonWrite::Reinvite(person.id, invitation);
        self.auth
            .commit_shown(Change::record(entry).write(Write::Person(write)), shown)
            .await?;
        Ok(invited(person.name.to_string(), url, Some(expires_at)))
    }

    /// Gives somebody another role, from their next request on. What that takes from them is taken at once, also if the
    /// disk does not take it; what it gives them is given when the disk has it.
    pub(crate) async fn change_person(
        self: &Arc<Self>,
        caller: &Caller,
        name: &str,
        request: api::PersonChange,
    ) -> Result<api::PersonChanged, Failure> {
        let before = self.person_named(name)?;
        let mandate = self.mandate(&request.role, &request.environments)?;
        owners_matter(caller, &[&before.mandate, &mandate])?;
        // Removing something needs no code.
        let shown = match before.mandate.covers(&mandate) {
            true => None,
            false => {
                let mandates = [&before.mandate, &mandate];
                self.shown_for_roles(caller, &mandates, request.second_factor)
                    .await?
            }
        };
        let mut person = before.clone();
        person.mandate = mandate;
        let entry = self.entry_about(caller.actor(), "person.change", &person);
        let takes = !person.mandate.covers(&before.mandate);
        let durable = match takes || self.ctx.endings().is_pending(&entry.object) {
            true => {
                // Also while the disk is waited for that is to take the code.
                let held = self.auth.hold_role(&before, &person.mandate);
                let entry = self.auth.used_up(shown, entry).await?;
                let durable = self.take_role(caller, &before, &person, entry).await?;
                drop(held);
                durable
            }
            false => {
                let write = PersonWrite::Mandate(person.id, person.mandate);
                self.auth
                    .commit_shown(Change::record(entry).write(Write::Person(write)), shown)
                    .await
                    .map_err(|error| RosterError::from(error).or(last_owner))?;
                true
            }
        };
        let list = self.people_list()?;
        Ok(api::PersonChanged { list, durable })
    }

    /// Takes a role from somebody, and the tokens that reach further than the one they get. Returns whether that is on
    /// the disk.
    async fn take_role(
        self: &Arc<Self>,
        caller: &Caller,
        before: &Person,
        after: &Person,
        entry: Entry,
    ) -> Result<bool, Failure> {
        let (permit, mandate) = (caller.permitted(Act::PeopleChange)?, &after.mandate);
        let owns = before.mandate.role() == Role::Owner && before.standing() == Standing::Active;
        let leaves = owns && mandate.role() != Role::Owner;
        if !self
            .ctx
            .endings()
            .has_room(&entry.object, &permit.actor().name)
        {
            return Err(still_ending(&entry.object));
        }
        if leaves && !self.has_another_owner(before)? {
            return Err(last_owner());
        }
        let ending = self.auth.cut_role(before, mandate.clone(), entry);
        // An owner may have to stay one, because another one has gone at the same moment: the tokens go after that.
        let tokens =
            (!leaves).then(|| self.vault.cut_roles_given_by(&permit, after, Some(mandate)));
        let durable = ending.durable_in_time().await;
        if leaves && !durable && !self.auth.gets(before, mandate)? {
            return Err(last_owner());
        }
        let tokens =
            tokens.unwrap_or_else(|| self.vault.cut_roles_given_by(&permit, after, Some(mandate)));
        let (_, tokens_durable) = self.vault.after_the_cut(&permit, tokens).await;
        Ok(durable && tokens_durable)
    }

    /// Ends somebody's access: sessions, passkeys, password, codes.
    pub(crate) async fn end_person(
        self: &Arc<Self>,
        caller: &Caller,
        name: &str,
    ) -> Result<api::Ended, Failure> {
        let person = self.person_named(name)?;
        owners_matter(caller, &[&person.mandate])?;
        let entry = self.entry_about(caller.actor(), "person.end", &person);
        let owns = person.mandate.role() == Role::Owner && person.standing() == Standing::Active;
        if owns && !self.has_another_owner(&person)? {
            return Err(last_owner());
        }
        let permit = caller.permitted(Act::PeopleChange)?;
        let ending = self.auth.cut_person(&person, entry);
        // The end of an owner may be refused, because another one has gone at the same moment: their tokens go after it.
        let tokens = (!owns).then(|| self.vault.cut_roles_given_by(&permit, &person, None));
        let durable = ending.durable_in_time().await;
        if !durable && !self.auth.is_gone(&person)? {
            return Err(last_owner());
        }
        let tokens =
            tokens.unwrap_or_else(|| self.vault.cut_roles_given_by(&permit, &person, None));
        let holder = format!("person:{}", person.name);
        let ((_, tokens_durable), _) = tokio::join!(
            self.vault.after_the_cut(&permit, tokens),
            self.vault.end_leases_in_time(vec![holder], &permit),
        );
        Ok(api::Ended {
            ended: person.name.to_string(),
            durable: durable && tokens_durable,
        })
    }

    /// Whether somebody else owns the home and can log in. Whose access has ended in memory does not, whether or not the
    /// registry has it yet. It is asked again when the end of an owner is written down.
    fn has_another_owner(&self, person: &Person) -> Result<bool, Failure> {
        let people = self.ctx.store().read(|registry| registry.people())?;
        let left = |other: Person| self.auth.people.left_of(other);
        let owns = |other: &Person| {
            other.mandate.role() == Role::Owner
                && other.standing() == Standing::Active
                && other.id != person.id
        };
        Ok(people
            .into_iter()
            .filter_map(left)
            .any(|other| owns(&other)))
    }

    fn entry_about(&self, actor: Actor, action: &'static str, person: &Person) -> Entry {
        let environments: Vec<String> = person
            .mandate
            .environments()
            .iter()
            .map(ToString::to_string)
            .collect();
        Entry::new(
            self.ctx.now(),
            actor,
            action,
            format!("person:{}", person.name),
        )
        .with("role", person.mandate.role().as_str())
        .with("environments", environments)
    }
}

/// The id of who makes an invitation: who calls, or whose code was shown on the gateway's own machine.
fn maker(caller: &Caller, shown: Option<&Shown>) -> String {
    let shown = || shown.map(|shown| shown.person().to_owned());
    let known = caller.id().or_else(shown);
    known.unwrap_or_else(|| HERE.to_owned())
}

/// Who makes, changes or ends owners is an owner, or could read the home's files anyway: on the socket that is root and
/// the gateway's own user, and nobody else of its group.
fn owners_matter(caller: &Caller, mandates: &[&Mandate]) -> Result<(), Failure> {
    let about_owners = mandates.iter().any(|mandate| mandate.role() == Role::Owner);
    match about_owners && is_of_the_group(caller) {
        true => Err(Failure::new(
            StatusCode::FORBIDDEN,
            code::FORBIDDEN,
            "This is for an owner.",
            "On the gateway's machine, only root and the gateway's own user may manage owners.",
            "Ask an owner to do it in the interface. On the command line: run the command as `root`.",
        )),
        false => Ok(()),
    }
}

/// Whether the caller is on the socket as somebody else than root and the gateway's own user.
fn is_of_the_group(caller: &Caller) -> bool {
    let own = rustix::process::geteuid().as_raw();
    matches!(caller, Caller::Local { uid, .. } if ![0, own].contains(uid))
}

fn second_factor_needed_of_owner(why: &str) -> Failure {
    let mut failure = second_factor_needed();
    failure.0.detail = sentence(&why);
    failure.0.remedy =
        "Ask an owner to do it in the interface. On the command line: run the command as `root`."
            .into();
    failure
}

fn taken(name: &str) -> Failure {
    Failure::refused(
        &format!("there is already a person {name}"),
        "Choose another name, or invite them again.",
    )
}

fn invited(
    name: String,
    url: String,
    expires_at: Option<hearthkey_core::time::Timestamp>,
) -> api::Invited {
    api::Invited {
        name: Some(name),
        url,
        expires_at: expires_at.map(|at| at.to_string()).unwrap_or_default(),
    }
}
