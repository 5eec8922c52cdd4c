//! Use cases of who calls, on a home that nobody can reach; and the people whom tests of other rooms need.

use std::net::SocketAddr;
use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderValue, header};
use hearthkey_api as api;
use hearthkey_core::audit::Record;
use hearthkey_core::time::Timestamp;
use totp_rs::Builder;
use zeroize::Zeroizing;

use crate::auth::caller::{Caller, Visit};
use crate::auth::ceremonies::{Ceremony, Joining, NewPassword};
use crate::auth::passwords::{new_totp_secret, stretch};
use crate::auth::secrets::hash_of;
use crate::auth::sessions::{Opened, Visitor};
use crate::process::testing::{HERE, TestHome};
use crate::state::failure::Failure;
use crate::state::locked;

mod local_code;
mod login;
mod sessions;
mod step_up;

/// The password of everybody in tests.
pub(crate) const PASSWORD: &str = "walnut orbit kettle moss";

/// Stretched once: each time takes much longer than the rest of a test.
fn phc() -> String {
    static PHC: OnceLock<String> = OnceLock::new();
    PHC.get_or_init(|| stretch(PASSWORD).unwrap()).clone()
}

/// A browser at an address.
pub(crate) fn visitor_at(address: &str) -> Visitor {
    let address: SocketAddr = format!("{address}:40000").parse().unwrap();
    Visitor {
        address,
        authority: "localhost:8443".into(),
        agent: "a browser".into(),
    }
}

/// The browser in which people of tests join.
pub(crate) fn visitor() -> Visitor {
    visitor_at("198.51.100.4")
}

/// As what something was refused.
pub(crate) fn code_of<T>(outcome: Result<T, Failure>) -> String {
    outcome.err().unwrap().0.code
}

/// The code that an authenticator shows.
pub(crate) fn totp(secret: &[u8], at: Timestamp) -> String {
    let totp = Builder::new()
        .with_secret(secret.to_vec())
        .with_step_duration(30)
        .build()
        .unwrap();
    totp.generate(at.as_s().try_into().unwrap()).to_string()
}

/// The headers by which a browser shows its session.
pub(crate) fn cookie_of(opened: &Opened) -> HeaderMap {
    let set = opened.cookie.as_ref().unwrap().to_str().unwrap();
    let pair = set.split(';').next().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::COOKIE, HeaderValue::from_str(pair).unwrap());
    headers
}

/// Somebody who has joined, with a password and an authenticator.
pub(crate) struct Someone {
    pub(crate) visit: Visit,
    pub(crate) secret: Vec<u8>,
    pub(crate) codes: Vec<String>,
    pub(crate) cookie: HeaderMap,
}

impl Someone {
    pub(crate) fn caller(&self) -> Caller {
        Caller::Person(Box::new(self.visit.clone()))
    }

    /// What their authenticator shows now.
    pub(crate) fn code(&self, home: &TestHome) -> String {
        totp(&self.secret, home.now())
    }

    /// The same, as a second factor on the gateway's machine.
    pub(crate) fn second_factor(&self, home: &TestHome) -> Option<api::SecondFactor> {
        Some(api::SecondFactor {
            person: self.visit.person.name.to_string(),
            code: self.code(home),
        })
    }
}

/// A ceremony of somebody who joins by a link with a password, and the secret of their authenticator.
pub(crate) fn joining(home: &TestHome, url: &str, name: &str) -> (String, Vec<u8>) {
    let invitation = hash_of(url.split_once('#').unwrap().1);
    let store = home.ctx.store();
    let known = store.read(|registry| registry.person_invited_by(&invitation));
    let new_id = || "00112233445566778899aabbccddeeff".to_owned();
    let joining = Joining {
        invitation,
        person: known.unwrap().map_or_else(new_id, |person| person.id),
        name: name.parse().unwrap(),
    };
    let secret = new_totp_secret().to_vec();
    let new = NewPassword {
        phc: phc(),
        totp: Zeroizing::new(secret.clone()),
    };
    let ceremony = Ceremony::JoinByPassword(joining, new);
    let ceremony = locked(&home.auth.people.ceremonies).begin(ceremony, home.now());
    (ceremony, secret)
}

/// An answer to a ceremony.
pub(crate) fn answer(ceremony: &str, code: String) -> api::CodeAnswer {
    api::CodeAnswer {
        ceremony: Some(ceremony.to_owned()),
        person: None,
        code,
    }
}

/// Joins by a link.
pub(crate) async fn join_by(home: &TestHome, url: &str, name: &str) -> Result<Someone, Failure> {
    let (ceremony, secret) = joining(home, url, name);
    let shown = answer(&ceremony, totp(&secret, home.now()));
    let joined = home.people.join_by_password(&visitor(), &shown).await?;
    Ok(Someone {
        cookie: cookie_of(&joined.opened),
        visit: joined.opened.visit,
        secret,
        codes: joined.codes.iter().map(|code| code.to_string()).collect(),
    })
}

/// The first owner of a home.
pub(crate) async fn owner(home: &TestHome) -> Someone {
    let link = home.people.new_setup_link(&HERE).unwrap();
    join_by(home, &link.url, "anna").await.unwrap()
}

/// What is asked to invite somebody.
pub(crate) fn request(name: &str, role: &str, environments: &[&str]) -> api::PersonRequest {
    api::PersonRequest {
        name: name.into(),
        role: role.into(),
        environments: environments.iter().map(|name| (*name).into()).collect(),
        second_factor: None,
    }
}

/// Somebody whom an owner has invited, and who has joined.
pub(crate) async fn member(
    home: &TestHome,
    owner: &Someone,
    name: &str,
    (role, environments): (&str, &[&str]),
) -> Someone {
    let asked = request(name, role, environments);
    let invited = home.people.invite(&owner.caller(), asked).await.unwrap();
    join_by(home, &invited.url, name).await.unwrap()
}

/// The reasons of records.
pub(crate) fn reasons(records: &[Record]) -> Vec<&str> {
    let reasons = records.iter().map(|record| record.reason.as_deref());
    reasons.map(Option::unwrap_or_default).collect()
}
