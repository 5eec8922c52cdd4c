//! A gateway small enough to read: TLS with a chain chosen by ALPN, a few MQTT 5 packets, certificates on request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    IsCa, KeyPair, PublicKeyData as _,
};
use rumqttc::{
    ConnAck, ConnectAuth, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck,
    SubscribeReasonCode,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::door::Door;

/// A running gateway and what it saw.
pub struct Gateway {
    address: SocketAddr,
    desk: Arc<Desk>,
}

/// What the gateway has, answers and has seen.
struct Desk {
    root: CertifiedIssuer<'static, KeyPair>,
    door: Arc<Door>,
    seen: Mutex<Seen>,
    refusals: Mutex<VecDeque<String>>,
    retained: Mutex<Vec<(String, String)>>,
    drop_answers: Mutex<usize>,
}

/// What the gateway saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Client id, user name and password of each CONNECT.
    pub logins: Vec<(String, Option<(String, String)>)>,
    /// Topic and payload of each PUBLISH.
    pub publishes: Vec<(String, String)>,
    /// Public key of each certificate request.
    pub requested_keys: Vec<Vec<u8>>,
}

impl Gateway {
    pub async fn start() -> Self {
        Self::start_with(rustls::DEFAULT_VERSIONS).await
    }

    pub async fn start_with(versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let root = authority("Test root", None);
        let server_ca = authority("Test server CA", Some(&root));
        let mut params = named("localhost", vec!["localhost".to_owned()]);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &server_ca).unwrap();
        let chain = vec![
            leaf.der().clone(),
            server_ca.der().clone(),
            root.der().clone(),
        ];
        let door = Arc::new(Door::default());
        let acceptor = TlsAcceptor::from(Arc::new(tls(chain, &key, door.clone(), versions)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Desk {
            root,
            door,
            seen: Mutex::default(),
            refusals: Mutex::default(),
            retained: Mutex::default(),
            drop_answers: Mutex::default(),
        });
        tokio::spawn(listen(listener, acceptor, desk.clone()));
        Self { address, desk }
    }

    /// A claim code of this gateway.
    pub fn claim(&self, claim: &str, device: &str) -> String {
        let spki = self.desk.root.key().subject_public_key_info();
        let root = hearthkey_agent::Fingerprint::of(&spki);
        let port = self.address.port();
        format!(
            "hearthkey://claim?host=localhost&port={port}&claim={claim}&secret={SECRET}&device={device}&root={root}"
        )
    }

    pub fn seen(&self) -> Seen {
        self.desk.seen.lock().unwrap().clone()
    }

    pub fn root_pem(&self) -> String {
        self.desk.root.pem()
    }

    /// From now on every client certificate is refused as revoked.
    pub fn revoke_all(&self) {
        self.desk.door.revoke_all();
    }

    /// From now on every client certificate is refused for this reason.
    pub fn refuse_all(&self, why: rustls::CertificateError) {
        self.desk.door.refuse_all(why);
    }

    /// From now on this certificate is refused.
    pub fn refuse_certificate(&self, pem: &[u8]) {
        self.desk
            .door
            .refuse(CertificateDer::from_pem_slice(pem).unwrap());
    }

    /// The next request is refused with this JSON.
    pub fn refuse_next(&self, rejection: &str) {
        self.desk
            .refusals
            .lock()
            .unwrap()
            .push_back(rejection.to_owned());
    }

    /// The next answer is lost on the way, with the connection.
    pub fn lose_next_answer(&self) {
        *self.desk.drop_answers.lock().unwrap() += 1;
    }

    /// Sends one more message to the subscribers of its topic.
    pub fn retain_also(&self, topic: &str, payload: &str) {
        let mut retained = self.desk.retained.lock().unwrap();
        retained.push((topic.to_owned(), payload.to_owned()));
    }

    /// Keeps a message for later subscribers of its topic.
    pub fn retain(&self, topic: &str, payload: &str) {
        let mut retained = self.desk.retained.lock().unwrap();
        retained.retain(|(kept, _)| kept != topic);
        retained.push((topic.to_owned(), payload.to_owned()));
    }
}

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn named(name: &str, alternatives: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(alternatives).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(
    name: &str,
    issuer: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = named(name, Vec::new());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    match issuer {
        Some(issuer) => CertifiedIssuer::signed_by(params, key, issuer).unwrap(),
        None => CertifiedIssuer::self_signed(params, key).unwrap(),
    }
}

/// Serves the root only to those who ask for it by ALPN.
#[derive(Debug)]
struct ChainByAlpn {
    plain: Arc<CertifiedKey>,
    enrolling: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ChainByAlpn {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let enrolling = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|name| name == b"hearthkey-enroll"));
        Some(if enrolling {
            self.enrolling.clone()
        } else {
            self.plain.clone()
        })
    }
}

fn tls(
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
    door: Arc<Door>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ServerConfig {
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der).unwrap();
    let resolver = ChainByAlpn {
        plain: Arc::new(CertifiedKey::new(chain[..2].to_vec(), signing.clone())),
        enrolling: Arc::new(CertifiedKey::new(chain, signing)),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(door)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"hearthkey-enroll".to_vec()];
    config
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, desk: Arc<Desk>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, desk) = (acceptor.clone(), desk.clone());
        tokio::spawn(async move {
            if let Ok(tls) = acceptor.accept(tcp).await {
                serve(tls, &desk).await;
            }
        });
    }
}

async fn serve(mut tls: TlsStream<TcpStream>, desk: &Desk) {
    let mut unread = BytesMut::new();
    loop {
        while let Ok(packet) = Packet::read(&mut unread, None) {
            let Some(answers) = desk.answer(packet) else {
                return;
            };
            let mut out = BytesMut::new();
            for answer in answers {
                answer.write(&mut out, None).unwrap();
            }
            if tls.write_all(&out).await.is_err() || tls.flush().await.is_err() {
                return;
            }
        }
        match tls.read_buf(&mut unread).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
}

impl Desk {
    /// The packets that answer a packet; nothing to hang up.
    fn answer(&self, packet: Packet) -> Option<Vec<Packet>> {
        match packet {
            Packet::Connect(connect, _, auth) => {
                let login = match auth {
                    ConnectAuth::UsernamePassword { username, password } => Some((
                        username.clone(),
                        String::from_utf8(password.to_vec()).unwrap(),
                    )),
                    _ => None,
                };
                self.seen
                    .lock()
                    .unwrap()
                    .logins
                    .push((connect.client_id, login));
                Some(vec![Packet::ConnAck(ConnAck {
                    session_present: false,
                    code: ConnectReturnCode::Success,
                    properties: None,
                })])
            }
            Packet::Subscribe(subscribe) => {
                let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
                let mut answers = vec![Packet::SubAck(SubAck {
                    pkid: subscribe.pkid,
                    return_codes: vec![granted; subscribe.filters.len()],
                    properties: None,
                })];
                for (topic, payload) in self.retained.lock().unwrap().iter() {
                    if subscribe.filters.iter().any(|filter| filter.path == *topic) {
                        answers.push(message(topic, payload, true));
                    }
                }
                Some(answers)
            }
            Packet::Publish(publish) => self.take(&publish),
            Packet::PingReq => Some(vec![Packet::PingResp]),
            Packet::Disconnect(_) => None,
            _ => Some(Vec::new()),
        }
    }

    fn take(&self, publish: &Publish) -> Option<Vec<Packet>> {
        let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
        let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
        let mut answers = vec![Packet::PubAck(PubAck::new(publish.pkid, None))];
        self.seen
            .lock()
            .unwrap()
            .publishes
            .push((topic.clone(), payload.clone()));
        if topic.ends_with("/enroll") || topic.ends_with("/renew") {
            let certificate = self.issue(&payload);
            let mut lost = self.drop_answers.lock().unwrap();
            if *lost > 0 {
                *lost -= 1;
                return None;
            }
            answers.push(match self.refusals.lock().unwrap().pop_front() {
                Some(refusal) => message(&format!("{topic}/rejected"), &refusal, false),
                None => message(&format!("{topic}/accepted"), &certificate, false),
            });
        }
        Some(answers)
    }

    fn issue(&self, request: &str) -> String {
        let request: serde_json::Value = serde_json::from_str(request).unwrap();
        let mut csr =
            CertificateSigningRequestParams::from_pem(request["csr"].as_str().unwrap()).unwrap();
        let key = csr.public_key.subject_public_key_info();
        self.seen.lock().unwrap().requested_keys.push(key);
        csr.params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        csr.params.not_after = rcgen::date_time_ymd(4000, 1, 1);
        serde_json::json!({
            "certificate": csr.signed_by(&self.root).unwrap().pem(),
            "chain": [],
            "serial": "00",
            "not_after": "4000-01-01T00:00:00Z",
            "renew_after": "3500-01-01T00:00:00Z",
            "trust_bundle": self.root.pem(),
        })
        .to_string()
    }
}

fn message(topic: &str, payload: &str, retain: bool) -> Packet {
    let mut publish = Publish::new(topic, QoS::AtMostOnce, payload.as_bytes().to_vec(), None);
    publish.retain = retain;
    Packet::Publish(publish)
}
