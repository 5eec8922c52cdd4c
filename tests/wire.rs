//! A device that writes its own bytes: TLS and MQTT as they are on the wire, and every refusal in
//! its exact words.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::rig::{PATIENCE, Rig};

/// A certificate and the key that says it belongs to it.
#[derive(Debug)]
pub struct Identity {
    pub device: String,
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// From PEM as the gateway sends it: leaf first.
    pub fn from_pem(device: &str, chain: &str, key: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
        Self {
            device: device.to_owned(),
            chain: chain.map(Result::unwrap).collect(),
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        }
    }

    /// This certificate with another key: what somebody has who has only seen it pass by.
    pub fn with_key_of(&self, other: &Self) -> Self {
        Self {
            device: self.device.clone(),
            chain: self.chain.clone(),
            key: other.key.clone_key(),
        }
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        self.with_key_of(self)
    }
}

/// Shows its certificate whatever the server asks for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// How a client was turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// By a TLS alert with this number.
    Alert(u8),
    /// By a CONNACK with this code, and its reason string.
    Connack(u8, String),
    /// By an MQTT 5 DISCONNECT with this code.
    Disconnect(u8),
    /// Without a word.
    Closed(String),
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        let tls = error.get_ref().and_then(|e| e.downcast_ref());
        match tls {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert((*alert).into()),
            _ => Self::Closed(error.to_string()),
        }
    }
}

pub const REVOKED: Refused = Refused::Alert(44);
pub const SUSPENDED: Refused = Refused::Alert(49);
pub const UNKNOWN_CA: Refused = Refused::Alert(48);
pub const CERTIFICATE_REQUIRED: Refused = Refused::Alert(116);

/// Both versions of TLS that the door speaks.
pub const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// Runs something that must end in time.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// The door of a home as a client sees it.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddr,
    pub from: Option<IpAddr>,
    roots: Arc<RootCertStore>,
}

impl Door {
    pub async fn of(rig: &Rig) -> Self {
        let pem = rig.cli(&["trust", "bundle"]).await.stdout;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&pem) {
            roots.add(root.unwrap()).unwrap();
        }
        let address = format!("{}:{}", rig.host(), rig.port()).parse().unwrap();
        Self {
            address,
            from: None,
            roots: Arc::new(roots),
        }
    }

    /// The same door, seen from another address.
    pub fn seen_from(&self, address: IpAddr) -> Self {
        let from = Some(address);
        Self {
            from,
            ..self.clone()
        }
    }

    pub fn config(
        &self,
        who: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots));
        let config = match who {
            None => builder.with_no_client_auth(),
            Some(who) => {
                let key = provider.key_provider.load_private_key(who.key.clone_key());
                let certified = CertifiedKey::new(who.chain.clone(), key.unwrap());
                builder.with_client_cert_resolver(Arc::new(Always(Arc::new(certified))))
            }
        };
        Arc::new(config)
    }

    pub async fn tcp(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind((from, 0).into())?;
        }
        within("a TCP connection", socket.connect(self.address)).await
    }

    /// A TLS connection that has said nothing yet. In TLS 1.3 a refusal comes later.
    pub async fn dial_with(
        &self,
        config: Arc<ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, Refused> {
        let tcp = self.tcp().await?;
        let name = ServerName::from(self.address.ip());
        let tls = TlsConnector::from(config).connect(name, tcp);
        Ok(within("a TLS handshake", tls).await?)
    }

    pub async fn dial(&self, who: Option<&Identity>) -> Result<TlsStream<TcpStream>, Refused> {
        self.dial_with(self.config(who, rustls::ALL_VERSIONS)).await
    }

    /// Connects and says hello.
    pub async fn connect(
        &self,
        who: Option<&Identity>,
        hello: &Hello<'_>,
    ) -> Result<Client, Refused> {
        let config = self.config(who, rustls::ALL_VERSIONS);
        self.connect_with(config, hello).await
    }

    pub async fn connect_with(
        &self,
        config: Arc<ClientConfig>,
        hello: &Hello<'_>,
    ) -> Result<Client, Refused> {
        let tls = self.dial_with(config).await?;
        let mut client = Client::new(tls, hello.v5);
        client.send(&hello.packet()).await;
        let (first, body) = client.read().await?;
        assert_eq!(first, 0x20, "CONNACK comes first");
        client.session_present = body[0] == 1;
        if body[1] == 0 {
            return Ok(client);
        }
        let reason = body
            .get(6..)
            .map(String::from_utf8_lossy)
            .unwrap_or_default();
        Err(Refused::Connack(body[1], reason.into_owned()))
    }

    /// Connects as a device, under its own id.
    pub async fn device(&self, who: &Identity) -> Result<Client, Refused> {
        self.connect(Some(who), &Hello::v5(&who.device)).await
    }
}

/// A CONNECT packet.
#[derive(Debug, Clone)]
pub struct Hello<'a> {
    pub client_id: &'a str,
    pub v5: bool,
    pub login: Option<(&'a str, &'a str)>,
    /// Whether the session outlives the connection.
    pub lasting: bool,
    pub will: Option<&'a str>,
}

impl<'a> Hello<'a> {
    pub fn v5(client_id: &'a str) -> Self {
        Self {
            client_id,
            v5: true,
            login: None,
            lasting: false,
            will: None,
        }
    }

    pub fn v311(client_id: &'a str) -> Self {
        Self {
            v5: false,
            ..Self::v5(client_id)
        }
    }

    pub fn claim(claim: &'a str, secret: &'a str) -> Self {
        Self {
            login: Some((claim, secret)),
            ..Self::v5(claim)
        }
    }

    pub fn packet(&self) -> Vec<u8> {
        const HOUR: [u8; 4] = 3_600_u32.to_be_bytes();
        let mut body = b"\0\x04MQTT".to_vec();
        body.push(if self.v5 { 5 } else { 4 });
        let login = if self.login.is_some() { 0xc0 } else { 0 };
        let flags = u8::from(!self.lasting) << 1 | u8::from(self.will.is_some()) << 2 | login;
        body.extend_from_slice(&[flags, 0, 60]);
        match (self.v5, self.lasting) {
            (true, true) => body.extend_from_slice(&[&[5, 0x11][..], &HOUR].concat()),
            (true, false) => body.push(0),
            (false, _) => {}
        }
        string(&mut body, self.client_id);
        if let Some(topic) = self.will {
            if self.v5 {
                body.push(0);
            }
            string(&mut body, topic);
            string(&mut body, "gone");
        }
        if let Some((username, password)) = self.login {
            string(&mut body, username);
            string(&mut body, password);
        }
        packet(0x10, &body)
    }
}

pub fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retained: bool,
}

/// A connection on which CONNECT was accepted.
pub struct Client {
    tls: TlsStream<TcpStream>,
    v5: bool,
    next: u16,
    pub session_present: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    pub fn new(tls: TlsStream<TcpStream>, v5: bool) -> Self {
        let (next, session_present) = (0, false);
        Self {
            tls,
            v5,
            next,
            session_present,
        }
    }

    /// Sends bytes. A server that has closed already is for the next read to see.
    pub async fn send(&mut self, bytes: &[u8]) {
        let send = async {
            self.tls.write_all(bytes).await?;
            self.tls.flush().await
        };
        let _ = within("a write", send).await;
    }

    async fn read_packet(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let first = self.tls.read_u8().await?;
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.tls.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.tls.read_exact(&mut body).await?;
        Ok((first, body))
    }

    /// The next packet, or how the connection ended.
    pub async fn read(&mut self) -> Result<(u8, Vec<u8>), Refused> {
        let (first, body) = within("a packet", self.read_packet()).await?;
        if first == 0xe0 {
            return Err(Refused::Disconnect(body.first().copied().unwrap_or(0)));
        }
        Ok((first, body))
    }

    async fn answer(&mut self, kind: u8) -> Result<Vec<u8>, Refused> {
        loop {
            let (first, body) = self.read().await?;
            if first >> 4 == kind {
                return Ok(body);
            }
        }
    }

    fn number(&mut self) -> [u8; 2] {
        self.next += 1;
        self.next.to_be_bytes()
    }

    /// Subscribes at QoS 1; gives the reason code.
    pub async fn subscribe(&mut self, filter: &str) -> Result<u8, Refused> {
        let mut body = self.number().to_vec();
        if self.v5 {
            body.push(0);
        }
        string(&mut body, filter);
        body.push(1);
        self.send(&packet(0x82, &body)).await;
        Ok(*self.answer(9).await?.last().unwrap())
    }

    /// A PUBLISH packet at QoS 1.
    pub fn publication(&mut self, topic: &str, payload: &[u8], retain: bool) -> Vec<u8> {
        let mut body = Vec::new();
        string(&mut body, topic);
        body.extend_from_slice(&self.number());
        if self.v5 {
            body.push(0);
        }
        body.extend_from_slice(payload);
        packet(0x32 | u8::from(retain), &body)
    }

    /// Publishes at QoS 1; gives the reason code.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<u8, Refused> {
        let packet = self.publication(topic, payload, false);
        self.send(&packet).await;
        Ok(self.answer(4).await?.get(2).copied().unwrap_or(0))
    }

    pub async fn retain(&mut self, topic: &str, payload: &[u8]) -> Result<u8, Refused> {
        let packet = self.publication(topic, payload, true);
        self.send(&packet).await;
        Ok(self.answer(4).await?.get(2).copied().unwrap_or(0))
    }

    /// The next message, acknowledged.
    pub async fn message(&mut self) -> Result<Message, Refused> {
        loop {
            let (first, body) = self.read().await?;
            if first >> 4 == 3 {
                return Ok(self.take(first, &body).await);
            }
        }
    }

    async fn take(&mut self, first: u8, body: &[u8]) -> Message {
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, mut rest) = body[2..].split_at(length);
        if first & 6 != 0 {
            let number = &rest[..2];
            self.send(&[0x40, 2, number[0], number[1]]).await;
            rest = &rest[2..];
        }
        if self.v5 {
            assert!(rest[0] < 128, "more properties than this client reads");
            rest = &rest[1 + usize::from(rest[0])..];
        }
        Message {
            topic: String::from_utf8(topic.to_vec()).unwrap(),
            payload: rest.to_vec(),
            retained: first & 1 == 1,
        }
    }

    /// Asks on a request topic: the accepted text, or the rejection.
    pub async fn ask(&mut self, topic: &str, payload: &[u8]) -> Result<Answer, Refused> {
        let filter = format!("{topic}/+");
        assert!(self.subscribe(&filter).await? < 0x80, "{filter}");
        let request = self.publication(topic, payload, false);
        self.send(&request).await;
        loop {
            let message = self.message().await?;
            match message.topic.strip_prefix(topic) {
                Some("/accepted") => {
                    return Ok(Answer::Accepted(String::from_utf8(message.payload).unwrap()));
                }
                Some("/rejected") => {
                    return Ok(Answer::Rejected(
                        serde_json::from_slice(&message.payload).unwrap(),
                    ));
                }
                _ => {}
            }
        }
    }

    /// Says goodbye and waits for the end.
    pub async fn leave(mut self) {
        self.send(&[0xe0, 0]).await;
        while self.read().await.is_ok() {}
    }

    /// How the connection ends; no message may come before.
    pub async fn end(&mut self) -> Refused {
        loop {
            match self.read().await {
                Ok((first, _)) => assert_ne!(first >> 4, 3, "a message before the end"),
                Err(refused) => return refused,
            }
        }
    }
}

/// The gateway's answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Accepted(String),
    Rejected(Value),
}

impl Answer {
    /// The code of a rejection; "accepted" otherwise.
    pub fn code(&self) -> &str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Rejected(rejection) => rejection["code"].as_str().unwrap(),
        }
    }

    pub fn accepted(self) -> String {
        match self {
            Self::Accepted(text) => text,
            Self::Rejected(rejection) => panic!("{rejection}"),
        }
    }
}
