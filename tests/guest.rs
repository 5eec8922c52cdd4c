//! A device on its way in: its key, its signing request, its claim, its first certificate, with
//! nothing but the public protocol.

use hearthkey_api::{ClaimOpened, ClaimRequest};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::mqtt::{Answer, Client, Hello};
use crate::rig::{Rig, json};
use crate::wire::{Door, Identity, Refused};

/// A home that serves, and its listener.
pub async fn home() -> (Rig, Door) {
    let mut rig = Rig::new().await;
    rig.start().await;
    let door = Door::of(&rig).await;
    (rig, door)
}

/// A home with one device, enrolled without the stock tools.
pub async fn home_with_a_lamp() -> (Rig, Door, Identity) {
    let (rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    (rig, door, lamp)
}

/// The topic on which a claim asks.
pub fn enroll_topic(claim: &str) -> String {
    format!("hearthkey/v1/claims/{claim}/enroll")
}

/// The topic on which a device renews.
pub fn renew_topic(device: &str) -> String {
    format!("hearthkey/v1/devices/{device}/renew")
}

pub fn new_key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// What a signing request says beside the key.
pub fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

/// A signing request in PEM.
pub fn request(key: &KeyPair, common_name: &str) -> String {
    let request = params(common_name).serialize_request(key).unwrap();
    request.pem().unwrap()
}

/// Opens a claim with the command line.
pub async fn claim(rig: &Rig, device: &str) -> ClaimOpened {
    let output = rig
        .cli(&[
            "device",
            "claim",
            device,
            "--profile",
            "generic",
            "--environment",
            "home",
            "--owner",
            "anna",
            "--purpose",
            "test",
            "--json",
        ])
        .await;
    serde_json::from_value(json(&output)).unwrap_or_else(|e| panic!("{e}: {}", json(&output)))
}

/// Opens a claim of another profile or lifetime.
pub async fn claim_for(rig: &Rig, device: &str, profile: &str, lifetime: &str) -> ClaimOpened {
    let request = ClaimRequest {
        device: device.into(),
        profile: profile.into(),
        environment: "home".into(),
        owner: "anna".into(),
        purpose: "test".into(),
        lifetime: lifetime.into(),
    };
    rig.client().post("/api/v1/claims", &request).await.unwrap()
}

/// Logs in with a claim.
pub async fn log_in(door: &Door, claim: &ClaimOpened) -> Result<Client, Refused> {
    let hello = Hello::claim(&claim.claim, &claim.secret);
    door.connect(None, &hello).await
}

/// Logs in with a claim and asks once.
pub async fn ask(door: &Door, claim: &ClaimOpened, payload: &[u8]) -> Answer {
    let mut client = log_in(door, claim).await.unwrap();
    let asked = client.ask(&enroll_topic(&claim.claim), payload).await;
    asked.unwrap()
}

/// Enrolls a device of the generic profile.
pub async fn enroll(rig: &Rig, door: &Door, device: &str) -> Identity {
    let claim = claim(rig, device).await;
    enroll_with(door, &claim).await
}

pub async fn enroll_with(door: &Door, claim: &ClaimOpened) -> Identity {
    let key = new_key();
    let answer = ask(door, claim, request(&key, &claim.device).as_bytes()).await;
    Identity::from_pem(&claim.device, &answer.accepted(), &key.serialize_pem())
}

/// Adds a profile.
pub async fn add_profile(rig: &Rig, name: &str, toml: &str) {
    let file = rig.work.path().join(format!("{name}.toml"));
    let head = format!("name = \"{name}\"\ndescription = \"for a test\"\n");
    std::fs::write(&file, head + toml).unwrap();
    done(rig, &["profile", "add", file.to_str().unwrap()]).await;
}

/// Runs a command that must succeed; gives its answer.
pub async fn done(rig: &Rig, args: &[&str]) -> Value {
    let output = rig.cli(&[args, &["--json"]].concat()).await;
    assert!(output.status.success(), "{args:?}: {}", json(&output));
    json(&output)
}

/// The newest records of the log, oldest first.
pub async fn records(rig: &Rig) -> Vec<Value> {
    let records = done(rig, &["log", "tail", "-n", "1000"]).await;
    records.as_array().unwrap().clone()
}

/// Waits for a record of this action, outcome and reason about this object.
pub async fn recorded(rig: &Rig, action: &str, outcome: &str, object: &str, reason: &str) {
    let what = format!("a record {action} {outcome} {object} {reason:?}");
    crate::rig::until(&what, async || {
        records(rig)
            .await
            .iter()
            .any(|r| {
                r["action"] == action
                    && r["outcome"] == outcome
                    && r["object"] == object
                    && r["reason"].as_str().is_some_and(|r| r.contains(reason))
            })
            .then_some(())
    })
    .await;
}

/// How many certificates were ever issued to a device.
pub async fn certificates(rig: &Rig, device: &str) -> usize {
    rig.device(device).await.certificates.len()
}

/// What can be read in a certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct Leaf {
    pub common_name: String,
    pub names: Vec<String>,
    pub is_ca: bool,
    pub client_auth_only: bool,
    pub der_bytes: usize,
}

impl Leaf {
    pub fn of(der: &CertificateDer<'_>) -> Self {
        let (rest, leaf) = X509Certificate::from_der(der).unwrap();
        assert!(rest.is_empty());
        let text = |name: &x509_parser::extensions::GeneralName<'_>| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => (*name).to_owned(),
            other => format!("{other:?}"),
        };
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        let usage = leaf.extended_key_usage().unwrap().unwrap().value.clone();
        let others =
            usage.any || usage.server_auth || usage.code_signing || !usage.other.is_empty();
        Self {
            common_name: leaf
                .subject()
                .iter_common_name()
                .map(|name| name.as_str().unwrap())
                .collect(),
            names: names.value.general_names.iter().map(text).collect(),
            is_ca: leaf.is_ca(),
            client_auth_only: usage.client_auth && !others,
            der_bytes: der.len(),
        }
    }
}
