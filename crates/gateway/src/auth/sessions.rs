//! Sessions: the cookie, who is asking, and how one ends.

use std::net::SocketAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use hearthkey_api::{self as api, code};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::id::hex;
use hearthkey_core::person::{
    Person, SECOND_FACTOR_FRESH, SESSION_IDLE, SESSION_LIFETIME, WebSession,
};
use hearthkey_core::role::Act;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::change::{Change, Write};
use hearthkey_store::keys::random;
use hearthkey_store::people::PersonWrite;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::auth::Auth;
use crate::auth::caller::{Caller, Visit};
use crate::auth::peer::Peer;
use crate::auth::secrets::hash_of;
use crate::auth::secrets::new_secret;
use crate::state::failure::Failure;
use crate::state::locked;

/// The cookie's name. The prefix binds it to this host, to TLS and to no path (RFC 6265bis §4.1.3.2).
const COOKIE: &str = "__Host-hearthkey";
/// The header that a session's writes carry.
const CSRF_HEADER: &str = "x-hearthkey-csrf";
/// What is kept of what a browser says it is, in characters.
const AGENT_MAX_CHARS: usize = 160;
/// A use is noted when the last one that was is this old.
const NOTED_EVERY: Span = Span::minutes(1);

/// A browser that asks, before its person is identified.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// Where it asks from.
    pub(crate) address: SocketAddr,
    /// The name and port by which the gateway was asked.
    pub(crate) authority: String,
    /// What it says it is.
    pub(crate) agent: String,
}

impl Visitor {
    pub(crate) fn new(peer: Peer, authority: &str, headers: &HeaderMap) -> Self {
        let agent = headers.get(header::USER_AGENT);
        let agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        let agent = agent.unwrap_or_default();
        Self {
            address: peer.address,
            authority: authority.to_owned(),
            agent: agent
                .chars()
                .filter(|c| !c.is_control())
                .take(AGENT_MAX_CHARS)
                .collect(),
        }
    }

    /// The visitor as the audit log names somebody who has not logged in.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            name: "visitor".into(),
            role: "visitor".into(),
            session: None,
            address: Some(self.address.to_string()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let visitor = parts.extensions.get::<Self>().cloned();
        visitor.ok_or_else(|| {
            Failure::refused(
                &"only a browser logs in",
                "Open the gateway's address in a browser. Callers on this socket are identified already.",
            )
        })
    }
}

/// What writes of a session carry: it follows from the cookie's secret, which no page can read.
fn csrf_of(secret: &str) -> String {
    let digest = Sha256::new()
        .chain_update(b"hearthkey/csrf/v1\n")
        .chain_update(secret.as_bytes())
        .finalize();
    hex(&digest)
}

/// Whether a write carries what its session was told.
pub(crate) fn csrf_fits(visit: &Visit, headers: &HeaderMap) -> bool {
    let mut carried = headers.get_all(CSRF_HEADER).iter();
    match (carried.next(), carried.next()) {
        (Some(value), None) => value.as_bytes().ct_eq(visit.csrf.as_bytes()).into(),
        _ => false,
    }
}

/// The secret in the one cookie of ours; none if there is none, or more than one.
fn secret_in(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='));
    let mut ours = cookies.filter(|(name, _)| *name == COOKIE);
    match (ours.next(), ours.next()) {
        (Some((_, secret)), None) => Some(secret),
        _ => None,
    }
}

fn set_cookie(value: &str, life: Span) -> Option<HeaderValue> {
    let age = life.as_s();
    let text =
        format!("{COOKIE}={value}; Path=/; Max-Age={age}; Secure; HttpOnly; SameSite=Strict");
    let mut cookie = HeaderValue::from_str(&text).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

/// The header that makes a browser forget its session.
pub(crate) fn forget_cookie() -> Option<HeaderValue> {
    set_cookie("", Span::s(0))
}

/// For a caller without a session.
pub(crate) fn not_logged_in(why: &str) -> Failure {
    Failure::new(
        StatusCode::UNAUTHORIZED,
        code::NOT_LOGGED_IN,
        "You are not logged in.",
        why,
        "Log in, then try again.",
    )
}

/// For a caller who lost a role during a request.
fn may_do_less() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "Your role has changed.",
        "Your permissions changed during this request. It may or may not have been done.",
        "Reload the page.",
    )
}

/// A session that begins, and what its browser keeps of it.
pub(crate) struct Opened {
    pub(crate) visit: Visit,
    pub(crate) cookie: Option<HeaderValue>,
}

impl Opened {
    /// The write that stores it.
    pub(crate) fn write(&self) -> Write {
        Write::Person(PersonWrite::Session(self.visit.session.clone()))
    }
}

/// A session for a person who has just proven who they are, by two factors.
pub(crate) fn open(person: Person, visitor: &Visitor, now: Timestamp) -> Opened {
    let secret = new_secret();
    let session = WebSession {
        id: WebSession::id_from_random(*random::<8>()),
        hash: hash_of(&secret),
        person: person.id.clone(),
        created_at: now,
        last_used_at: now,
        fresh_until: now.after(SECOND_FACTOR_FRESH),
        address: visitor.address.ip().to_string(),
        agent: visitor.agent.clone(),
    };
    Opened {
        cookie: set_cookie(&secret, SESSION_LIFETIME),
        visit: Visit {
            person,
            session,
            address: visitor.address,
            authority: visitor.authority.clone(),
            csrf: csrf_of(&secret),
        },
    }
}

impl Auth {
    /// Who asks with this cookie; none if there is none.
    pub(crate) fn visit(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
    ) -> Result<Option<Visit>, Failure> {
        if !headers.contains_key(header::COOKIE) {
            return Ok(None);
        }
        let Some(secret) = secret_in(headers) else {
            return Ok(None);
        };
        let hash = hash_of(secret);
        let found = self
            .ctx
            .store()
            .read(|registry| registry.web_session(&hash))?;
        let now = self.ctx.now();
        let here = |(session, person): &(WebSession, Person)| {
            session.is_live(now) && !self.people.gone.has(session, person)
        };
        let found = found.filter(here);
        let found =
            found.and_then(|(session, person)| Some((session, self.people.gone.left_of(person)?)));
        match found {
            Some((session, person)) => Ok(Some(Visit {
                person,
                session,
                address: visitor.address,
                authority: visitor.authority.clone(),
                csrf: csrf_of(secret),
            })),
            None => Err(not_logged_in("Your session has ended.")),
        }
    }

    /// Whether a session that was live when a request began still is, and its person may do no less.
    pub(crate) fn still_here(&self, visit: &Visit) -> Result<(), Failure> {
        let hash = visit.session.hash;
        let found = self
            .ctx
            .store()
            .read(|registry| registry.web_session(&hash))?;
        let here = |(session, person): &(WebSession, Person)| {
            session.is_live(self.ctx.now()) && !self.people.gone.has(session, person)
        };
        let person = found.filter(here).map(|(_, person)| person);
        match person.and_then(|person| self.people.left_of(person)) {
            Some(person) if person.mandate.covers(&visit.person.mandate) => Ok(()),
            Some(_) => Err(may_do_less()),
            None => Err(not_logged_in("Your session has ended.")),
        }
    }

    /// Whether the caller still has access, now that the response is ready.
    pub(crate) fn is_still_in(&self, caller: &Caller) -> Result<(), Failure> {
        match caller {
            Caller::Person(visit) => self.still_here(visit),
            Caller::Service(service) => self.is_not_cut_off(service),
            Caller::Desktop | Caller::Local { .. } => Ok(()),
        }
    }

    /// Whether the caller would have access now.
    pub(crate) fn may_still_ask(&self, caller: &Caller) -> Result<(), Failure> {
        match caller {
            Caller::Service(service) => self.still_good(service),
            _ => self.is_still_in(caller),
        }
    }

    /// Notes that a session was used, to the minute. It is written down within a second: no request waits for that.
    pub(crate) fn note_session_use(&self, visit: &Visit) {
        let now = self.ctx.now();
        if now >= visit.session.last_used_at.after(NOTED_EVERY) {
            locked(&self.people.uses).insert(visit.session.hash, now);
        }
    }

    /// Writes down which sessions were used since the last time.
    pub(crate) async fn note_session_uses(&self) {
        let uses = std::mem::take(&mut *locked(&self.people.uses));
        if uses.is_empty() {
            return;
        }
        let used = |(hash, at)| Write::Person(PersonWrite::SessionUsed(hash, at));
        let change = Change {
            writes: uses.into_iter().map(used).collect(),
            ..Change::default()
        };
        if let Err(error) = self.ctx.commit(change).await {
            tracing::warn!(%error, "the use of sessions could not be noted");
        }
    }

    /// Forgets sessions that have ended by themselves.
    pub(crate) fn ended_sessions(&self, now: Timestamp) -> Write {
        Write::Person(PersonWrite::ForgetSessions {
            idle: now.before(SESSION_IDLE),
            begun: now.before(SESSION_LIFETIME),
        })
    }

    /// Who is asking, and what they may do.
    pub(crate) fn session_info(&self, caller: &Caller) -> Result<api::SessionInfo, Failure> {
        match caller {
            Caller::Person(visit) => self.info_of(visit),
            Caller::Desktop => {
                let at_window = self.person_at_window()?;
                Ok(api::SessionInfo {
                    fresh_until: at_window.map(|(_, until)| until.to_string()),
                    ..self.local_info(caller)
                })
            }
            Caller::Local { .. } => Ok(self.local_info(caller)),
            Caller::Service(_) => Err(not_logged_in("A service has a token and no session.")),
        }
    }

    /// A caller on the gateway's own machine, without a session.
    fn local_info(&self, caller: &Caller) -> api::SessionInfo {
        api::SessionInfo {
            home: self.ctx.id().to_string(),
            name: caller.actor().name,
            caller: "local".into(),
            role: "local".into(),
            environments: Vec::new(),
            may: Act::ALL.iter().map(ToString::to_string).collect(),
            csrf: None,
            expires_at: None,
            fresh_until: None,
            ways: Vec::new(),
        }
    }

    /// A person's session, as their browser sees it.
    pub(crate) fn info_of(&self, visit: &Visit) -> Result<api::SessionInfo, Failure> {
        let person = &visit.person;
        let (ways, passkeys) = self.ctx.store().read(|registry| {
            Ok((
                registry.ways_of(&person.id)?,
                registry.passkeys_of(&person.id)?.len(),
            ))
        })?;
        let here = self.people.passkeys.under(&visit.authority).is_some();
        let has = [
            ("passkey", passkeys > 0 && here),
            ("code", ways.password.is_some()),
        ];
        Ok(api::SessionInfo {
            home: self.ctx.id().to_string(),
            name: person.name.to_string(),
            caller: "person".into(),
            role: person.mandate.role().to_string(),
            environments: person
                .mandate
                .environments()
                .iter()
                .map(ToString::to_string)
                .collect(),
            may: person.mandate.acts().map(|act| act.to_string()).collect(),
            csrf: Some(visit.csrf.clone()),
            expires_at: Some(visit.session.expires_at().to_string()),
            fresh_until: Some(visit.session.fresh_until.to_string()),
            ways: has
                .iter()
                .filter(|(_, has)| *has)
                .map(|(way, _)| (*way).to_owned())
                .collect(),
        })
    }

    /// The live sessions that a caller may see: their own, or all.
    pub(crate) fn web_sessions(&self, caller: &Caller) -> Result<api::WebSessionList, Failure> {
        let now = self.ctx.now();
        let own = match caller {
            Caller::Person(visit) if !caller.may_everywhere(Act::PeopleChange) => {
                Some(visit.person.id.as_str())
            }
            _ => None,
        };
        let this = caller.person().ok().map(|visit| visit.session.hash);
        let sessions = self
            .ctx
            .store()
            .read(|registry| registry.web_sessions(own))?;
        let live = sessions.into_iter().filter(|(session, person)| {
            session.is_live(now) && !self.people.gone.has(session, person)
        });
        Ok(api::WebSessionList {
            sessions: live
                .map(|(session, person)| api::WebSessionView {
                    this: this == Some(session.hash),
                    expires_at: session.expires_at().to_string(),
                    id: session.id,
                    person: person.name.to_string(),
                    role: person.mandate.role().to_string(),
                    created_at: session.created_at.to_string(),
                    last_used_at: session.last_used_at.to_string(),
                    address: session.address,
                    agent: session.agent,
                })
                .collect(),
        })
    }

    /// Ends a session that the caller may see. Returns whether that is on the disk.
    pub(crate) async fn end_session(&self, caller: &Caller, id: &str) -> Result<bool, Failure> {
        let seen = self.web_sessions(caller)?;
        let Some(session) = seen.sessions.iter().find(|session| session.id == id) else {
            let shown: String = id.chars().take(40).collect();
            return Err(Failure::not_found("session", &shown));
        };
        let object = format!("person:{}", session.person);
        let entry = Entry::new(self.ctx.now(), caller.actor(), "session.end", object)
            .with("session", id.to_owned());
        Ok(self.cut_session(id, entry).durable_in_time().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_cookie_of_ours_is_read_and_two_are_not_chosen_between() {
        let one = headers(&["theme=dark; __Host-hearthkey=abc"]);
        assert_eq!(secret_in(&one), Some("abc"));
        for two in [
            &["__Host-hearthkey=abc; __Host-hearthkey=def"][..],
            &["__Host-hearthkey=abc", "__Host-hearthkey=def"],
            &["hearthkey=abc"],
            &[],
        ] {
            assert_eq!(secret_in(&headers(two)), None, "{two:?}");
        }
    }

    #[test]
    fn the_cookie_is_for_this_host_over_tls_and_for_no_script() {
        let cookie = set_cookie("abc", Span::days(7)).unwrap();
        assert_eq!(
            cookie.to_str().unwrap(),
            "__Host-hearthkey=abc; Path=/; Max-Age=604800; Secure; HttpOnly; SameSite=Strict"
        );
        assert!(cookie.is_sensitive());
    }
}
