//! Use cases of the vault, on a home that nobody can reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use hearthkey_api::{
    BridgeRequest, CredentialChanged, CredentialRequest, LeaseRequest, Leased, Problem,
    RevealRequest, Revealed, RotateRequest, RotationPolicyView, RotationView, SecondFactor,
    SecretValue, TokenRequest, VersionView,
};
use hearthkey_core::credential::CredentialId;
use hearthkey_core::id::Fingerprint;
use hearthkey_core::person::{Invitation, Person, WebSession};
use hearthkey_core::role::{Act, Mandate};
use hearthkey_core::time::Span;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::log_search::RecordFilter;
use hearthkey_store::people::PersonWrite;
use hearthkey_store::vault::SecretName;
use zeroize::Zeroizing;

use crate::auth::caller::{Caller, Service, Visit};
use crate::auth::login::TOTP;
use crate::process::testing::{HERE, TestHome, here};
use crate::state::failure::Failure;

mod bridges;
mod credentials;
mod findings;
mod guarding;
mod inventory;
mod leases;
mod made;
mod manifest;
mod marks;
mod retire;
mod reveal;
mod rewrap;
mod rotation;
mod tokens;

/// The owner of [`joined`], and what their codes are made of.
const ANNA: &str = "00";
const TOTP_SECRET: &[u8] = b"12345678901234567890";

/// A credential of the environment lab.
fn id(name: &str) -> CredentialId {
    id_in("lab", name)
}

fn id_in(environment: &str, name: &str) -> CredentialId {
    CredentialId {
        environment: environment.parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

fn secret(text: &str) -> SecretValue {
    SecretValue::new(Zeroizing::new(text.as_bytes().to_vec()))
}

/// The value that [`asked`] gives a credential.
fn value_of(name: &str) -> String {
    format!("the secret of {name}")
}

/// What adds a credential to lab with a value of its own.
fn asked(name: &str) -> CredentialRequest {
    CredentialRequest {
        name: name.into(),
        environment: "lab".into(),
        kind: "api-key".into(),
        owner: "anna".into(),
        purpose: "a test".into(),
        tier: "standard".into(),
        value: Some(secret(&value_of(name))),
        generate: false,
        location: None,
        used_by: Vec::new(),
        scopes: Vec::new(),
        expires_at: None,
        remote_id: None,
        imported_from: None,
        rotation: RotationPolicyView::default(),
        second_factor: None,
    }
}

/// The same of the tier critical.
fn critical(name: &str) -> CredentialRequest {
    CredentialRequest {
        tier: "critical".into(),
        ..asked(name)
    }
}

/// The same with a value that the gateway, or its bridge, makes.
fn generated(name: &str) -> CredentialRequest {
    CredentialRequest {
        value: None,
        generate: true,
        ..asked(name)
    }
}

/// What one credential is asked for by a program.
fn use_of(name: &str) -> RevealRequest {
    RevealRequest {
        names: vec![name.into()],
        r#use: "run".into(),
        reason: None,
        version: None,
        second_factor: None,
    }
}

/// The problem that a use case ends with.
fn problem<T>(outcome: Result<T, Failure>) -> Problem {
    outcome.err().expect("it is refused").0
}

/// The code of that problem.
fn refusal<T>(outcome: Result<T, Failure>) -> String {
    problem(outcome).code
}

/// The values that were given, as text.
fn texts(revealed: Revealed) -> Vec<String> {
    let text =
        |given: hearthkey_api::Given| String::from_utf8(given.value.expose().to_vec()).unwrap();
    revealed.values.into_iter().map(text).collect()
}

impl TestHome {
    async fn add(&self, request: CredentialRequest) -> CredentialChanged {
        self.vault.add_credential(&HERE, request).await.unwrap()
    }

    /// A value as it is given out on the gateway's own machine.
    async fn value(&self, name: &str) -> Result<String, Failure> {
        let given = self.vault.reveal(&HERE, "lab", use_of(name)).await?;
        Ok(texts(given).remove(0))
    }

    async fn version(&self, name: &str, version: u32) -> Result<String, Failure> {
        let mut request = use_of(name);
        request.version = Some(version);
        let given = self.vault.reveal(&HERE, "lab", request).await?;
        Ok(texts(given).remove(0))
    }

    async fn lent(&self, caller: &Caller, name: &str) -> Result<Leased, Failure> {
        let request = LeaseRequest::default();
        self.vault.lend(caller, &id(name), request).await
    }

    async fn rotate(&self, name: &str, request: RotateRequest) -> Result<RotationView, Failure> {
        let vault = &self.vault;
        vault.rotate_credential(&HERE, &id(name), request).await
    }

    /// Gives a credential another value, and takes the rotation as far as it goes by itself.
    async fn renew(&self, name: &str, value: &str) {
        let request = RotateRequest {
            value: Some(secret(value)),
            ..RotateRequest::default()
        };
        self.rotate(name, request).await.unwrap();
        self.drive(name).await;
    }

    /// Takes a rotation as far as it goes now.
    async fn drive(&self, name: &str) {
        while self.vault.take_next(&id(name)).await {}
    }

    fn shown(&self, name: &str) -> hearthkey_api::CredentialInFull {
        self.vault.credential_in_full(&HERE, &id(name)).unwrap()
    }

    /// The states of a credential's versions, the oldest first.
    fn versions(&self, name: &str) -> Vec<String> {
        let versions = self.shown(name).versions;
        let state = |version: &VersionView| version.state.clone();
        versions.iter().rev().map(state).collect()
    }

    /// The kinds of the findings about a credential.
    fn found(&self, name: &str) -> Vec<String> {
        let findings = self.shown(name).findings;
        findings.into_iter().map(|finding| finding.kind).collect()
    }

    async fn retire(&self, name: &str) -> hearthkey_api::Retired {
        self.retire_after(name, "7d").await.unwrap()
    }

    async fn retire_after(
        &self,
        name: &str,
        grace: &str,
    ) -> Result<hearthkey_api::Retired, Failure> {
        let request = hearthkey_api::RetireRequest {
            grace: Some(grace.into()),
            ..hearthkey_api::RetireRequest::default()
        };
        let permit = here(Act::CredentialRetire);
        let vault = &self.vault;
        vault.retire_credential(&permit, &id(name), &request).await
    }

    /// Everything that is written down, as text.
    fn log_text(&self) -> String {
        let size = self.audit.log_size();
        let filter = RecordFilter::default();
        let store = self.ctx.store();
        let found = store.read(|registry| registry.search_records(&filter, (0, size), 1000));
        let records = found.unwrap().records;
        let texts = records
            .iter()
            .map(|(_, leaf)| String::from_utf8_lossy(leaf));
        texts.collect()
    }

    /// A token of lab with these grants, as a caller.
    async fn token(&self, name: &str, allow: &[&str]) -> Caller {
        let key = rcgen::KeyPair::generate().unwrap();
        let request = TokenRequest {
            name: name.into(),
            environments: vec!["lab".into()],
            allow: allow.iter().map(|grant| (*grant).to_owned()).collect(),
            role: None,
            owner: None,
            purpose: None,
            ttl: "1h".into(),
            ceiling: "1d".into(),
            public_key: Some(key.public_key_pem()),
            bind: None,
            second_factor: None,
        };
        self.tokens.create_token(&HERE, request).await.unwrap();
        Caller::Service(Service {
            token: self.auth.token_named(name).unwrap(),
            address: ([192, 0, 2, 9], 50_000).into(),
            certificate: None,
        })
    }

    /// Anna joins as the owner, with a password and an authenticator: from here on codes are asked for.
    async fn joined(&self) -> Person {
        let hash = Fingerprint([7; 32]);
        let mut anna = Person {
            id: ANNA.into(),
            name: "anna".parse().unwrap(),
            mandate: Mandate::owner(),
            created_at: self.now(),
            ended_at: None,
            last_seen_at: None,
            invitation: Some(Invitation {
                hash,
                expires_at: self.now().after(Span::hours(1)),
                made_by: None,
            }),
            joined: false,
        };
        let name = SecretName {
            kind: TOTP,
            name: ANNA,
            version: 1,
        };
        let codes = Write::Secret {
            kind: TOTP,
            name: ANNA.into(),
            version: 1,
            sealed: self.ctx.store().vault().seal(name, TOTP_SECRET),
            at: self.now(),
        };
        let change = Change::default()
            .write(Write::Person(PersonWrite::Found(anna.clone())))
            .write(Write::Person(PersonWrite::Join(ANNA.into(), hash)))
            .write(Write::Person(PersonWrite::Password(
                ANNA.into(),
                "a hash".into(),
            )))
            .write(codes);
        self.ctx.commit(change).await.unwrap();
        anna.invitation = None;
        anna.joined = true;
        anna
    }

    /// The code of Anna's authenticator now.
    fn code(&self) -> Option<SecondFactor> {
        let totp = totp_rs::Builder::new()
            .with_secret(TOTP_SECRET.to_vec())
            .with_step_duration(30)
            .build()
            .unwrap();
        let now = u64::try_from(self.now().as_s()).unwrap();
        Some(SecondFactor {
            person: "anna".into(),
            code: totp.generate(now).to_string(),
        })
    }

    /// A session of a person in a browser, who showed a second factor now.
    fn session(&self, person: Person) -> Caller {
        let session = WebSession {
            id: WebSession::id_from_random([1; 8]),
            hash: Fingerprint([1; 32]),
            person: person.id.clone(),
            created_at: self.now(),
            last_used_at: self.now(),
            fresh_until: self.now().after(Span::minutes(5)),
            address: "192.0.2.8".into(),
            agent: "a browser".into(),
        };
        Caller::Person(Box::new(Visit {
            person,
            session,
            address: ([192, 0, 2, 8], 50_000).into(),
            authority: "localhost".into(),
            csrf: "a test".into(),
        }))
    }

    /// Where the program of a bridge is, and what it writes down.
    fn bridge_dir(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("bridge-{name}"))
    }

    /// What connects a program as a bridge of lab.
    fn program(&self, name: &str, can: &[&str]) -> BridgeRequest {
        let directory = self.bridge_dir(name);
        let (text, program) = (directory.join("text"), directory.join("program"));
        if !directory.exists() {
            fs::create_dir(&directory).unwrap();
            fs::write(&text, PROGRAM).unwrap();
            fs::write(directory.join("gone"), "").unwrap();
            // Another process writes it: a program that this one has open for writing, in a child that just forked, too,
            // cannot be run.
            let mut copy = Command::new("cp");
            assert!(copy.arg(&text).arg(&program).status().unwrap().success());
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        BridgeRequest {
            name: name.into(),
            environment: "lab".into(),
            kind: "command".into(),
            owner: "anna".into(),
            purpose: "a test".into(),
            settings: serde_json::json!({ "program": program, "can": can }),
            authority: None,
            second_factor: None,
        }
    }

    async fn connect(&self, name: &str, can: &[&str]) {
        let request = self.program(name, can);
        self.vault.connect_bridge(&HERE, request).await.unwrap();
    }

    /// From here on a program answers differently: `fails`, `silent`, `wide`, `lies`.
    fn set(&self, name: &str, how: &str) {
        fs::write(self.bridge_dir(name).join(how), "").unwrap();
    }

    fn unset(&self, name: &str, how: &str) {
        fs::remove_file(self.bridge_dir(name).join(how)).unwrap();
    }

    /// From here on a value does not work at its bridge, whatever the gateway knows of it.
    fn end_at_bridge(&self, name: &str, value: &str) {
        fs::write(self.bridge_dir(name).join("gone"), format!("{value}\n")).unwrap();
    }

    /// How often a program was asked to do something.
    fn times(&self, name: &str, verb: &str) -> usize {
        let said = fs::read_to_string(self.bridge_dir(name).join("said")).unwrap_or_default();
        let part = format!("\"do\":\"{verb}\"");
        said.lines().filter(|line| line.contains(&part)).count()
    }
}

/// A bridge: each value that it makes is another one, and each that is shown works until it is ended, unless a file beside it
/// says otherwise.
const PROGRAM: &str = r#"#!/bin/sh
here=${0%/*}
read -r said
printf '%s\n' "$said" >> "$here/said"
[ -e "$here/silent" ] && exit 1
value=${said#*'"held":{"value":"'}
value=${value%%'"'*}
gone=
case $said in
*'"do":"verify"'*)
    [ -e "$here/fails" ] && gone=$value
    while read -r ended; do [ "$ended" = "$value" ] && gone=$value; done < "$here/gone"
    if [ "$gone" ]; then echo '{"works":false,"why":"unknown"}'; else echo '{"works":true}'; fi ;;
*'"do":"mint"'*)
    n=0
    while read -r line; do n=$((n + 1)); done < "$here/said"
    echo "{\"value\":\"minted value $n\",\"remote_id\":\"r$n\"}" ;;
*'"do":"revoke"'*)
    [ -e "$here/lies" ] || printf '%s\n' "$value" >> "$here/gone"
    echo '{"gone":true}' ;;
*'"do":"scopes"'*)
    if [ -e "$here/wide" ]; then echo '{"rights":["read","admin"]}'; else echo '{"rights":["read"]}'; fi ;;
*'"do":"notify"'*) echo '{"told":true}' ;;
esac
"#;

/// A caller whose token is in no book: it was cut off a moment ago.
fn cut_off(allow: &[&str]) -> Caller {
    crate::auth::caller::tests::service(allow)
}

/// A token that is shared by the callers of one test.
fn holder(caller: &Caller) -> Arc<hearthkey_core::token::Token> {
    match caller {
        Caller::Service(service) => Arc::clone(&service.token),
        _ => unreachable!("a service"),
    }
}
