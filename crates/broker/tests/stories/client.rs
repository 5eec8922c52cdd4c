//! An MQTT client that writes its own bytes, so that it sees what is on the wire.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::home::{Home, Identity, within};

pub struct Client {
    tls: TlsStream<TcpStream>,
    v5: bool,
    next: u16,
}

#[derive(Clone)]
pub struct Hello<'a> {
    pub client_id: &'a str,
    pub v5: bool,
    pub username: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub clean: bool,
    pub expiry_s: u32,
    pub will: Option<(&'a str, &'a [u8])>,
    pub will_delay_s: u32,
}

impl<'a> Hello<'a> {
    pub fn v5(client_id: &'a str) -> Self {
        let (username, password, will) = (None, None, None);
        let (clean, expiry_s, will_delay_s) = (true, 0, 0);
        Self {
            client_id,
            v5: true,
            username,
            password,
            clean,
            expiry_s,
            will,
            will_delay_s,
        }
    }

    pub fn v311(client_id: &'a str) -> Self {
        Self {
            v5: false,
            ..Self::v5(client_id)
        }
    }

    pub fn lasting(self) -> Self {
        Self {
            clean: false,
            expiry_s: 3_600,
            ..self
        }
    }

    pub fn claim(claim: &'a str, secret: &'a [u8]) -> Self {
        Self {
            username: Some(claim),
            password: Some(secret),
            ..Self::v5(claim)
        }
    }
}

/// A CONNACK that says no.
#[derive(Debug)]
pub struct Refused {
    pub code: u8,
    pub reason: String,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub user: Vec<(String, String)>,
    pub correlation: Option<Vec<u8>>,
}

impl Message {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

pub fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
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

pub fn connect_packet(hello: &Hello<'_>) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    body.push(if hello.v5 { 5 } else { 4 });
    let flags = u8::from(hello.clean) << 1
        | u8::from(hello.will.is_some()) << 2
        | u8::from(hello.password.is_some()) << 6
        | u8::from(hello.username.is_some()) << 7;
    body.extend_from_slice(&[flags, 0, 60]);
    if hello.v5 {
        body.extend_from_slice(&[5, 0x11]);
        body.extend_from_slice(&hello.expiry_s.to_be_bytes());
    }
    string(&mut body, hello.client_id);
    if let Some((topic, payload)) = hello.will {
        if hello.v5 {
            body.extend_from_slice(&[5, 0x18]);
            body.extend_from_slice(&hello.will_delay_s.to_be_bytes());
        }
        string(&mut body, topic);
        body.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        body.extend_from_slice(payload);
    }
    if let Some(username) = hello.username {
        string(&mut body, username);
    }
    if let Some(password) = hello.password {
        body.extend_from_slice(&(password.len() as u16).to_be_bytes());
        body.extend_from_slice(password);
    }
    packet(0x10, &body)
}

/// A TLS connection that has said nothing yet.
pub async fn dial(
    home: &Home,
    identity: Option<&Identity>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(home.broker.local_addr()).await?;
    let connector = TlsConnector::from(home.ca.client_config(identity));
    connector
        .connect(ServerName::try_from("localhost").unwrap(), tcp)
        .await
}

impl Client {
    /// Connects; says whether a session was there already.
    pub async fn connect(
        home: &Home,
        identity: Option<&Identity>,
        hello: &Hello<'_>,
    ) -> Result<(Self, bool), Refused> {
        let tls = dial(home, identity).await.unwrap();
        let mut client = Self {
            tls,
            v5: hello.v5,
            next: 1,
        };
        client.send(&connect_packet(hello)).await;
        let Some((first, body)) = client.read().await else {
            let reason = "the connection ended without an answer".to_owned();
            return Err(Refused { code: 0, reason });
        };
        assert_eq!(first, 0x20);
        if body[1] == 0 {
            return Ok((client, body[0] == 1));
        }
        let reason = body
            .get(6..)
            .map(String::from_utf8_lossy)
            .unwrap_or_default()
            .into_owned();
        Err(Refused {
            code: body[1],
            reason,
        })
    }

    pub async fn device(home: &Home, identity: &Identity, hello: Hello<'_>) -> Self {
        Self::connect(home, Some(identity), &hello).await.unwrap().0
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // A server that has closed already is for the next read to see.
        let _ = self.tls.write_all(bytes).await;
        let _ = self.tls.flush().await;
    }

    /// The next packet; `None` at the end of the connection.
    pub async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        within("a packet", async {
            let first = self.tls.read_u8().await.ok()?;
            let mut length = 0;
            for shift in [0, 7, 14, 21] {
                let byte = self.tls.read_u8().await.ok()?;
                length |= usize::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.tls.read_exact(&mut body).await.ok()?;
            Some((first, body))
        })
        .await
    }

    async fn answer(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let (first, body) = self.read().await.expect("an answer");
            if first >> 4 == kind {
                return body;
            }
        }
    }

    fn number(&mut self) -> u16 {
        self.next += 1;
        self.next
    }

    /// Subscribes; returns the reason code.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        let mut body = self.number().to_be_bytes().to_vec();
        if self.v5 {
            body.push(0);
        }
        string(&mut body, filter);
        body.push(qos);
        self.send(&packet(0x82, &body)).await;
        *self.answer(9).await.last().unwrap()
    }

    /// Publishes without waiting for anything.
    pub async fn offer(&mut self, topic: &str, payload: &[u8], first: u8, properties: &[u8]) {
        let mut body = Vec::new();
        string(&mut body, topic);
        if first & 6 != 0 {
            let number = self.number();
            body.extend_from_slice(&number.to_be_bytes());
        }
        if self.v5 {
            body.push(properties.len() as u8);
            body.extend_from_slice(properties);
        }
        body.extend_from_slice(payload);
        self.send(&packet(0x30 | first, &body)).await;
    }

    /// Publishes at QoS 1; returns the body of the PUBACK.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Vec<u8> {
        self.offer(topic, payload, 2 | u8::from(retain), &[]).await;
        self.answer(4).await
    }

    /// Publishes a request at QoS 1 with a response topic and correlation data.
    pub async fn request(&mut self, topic: &str, payload: &[u8], response: &str) {
        let mut properties = vec![0x08];
        string(&mut properties, response);
        properties.extend_from_slice(b"\x09\0\x02id");
        self.offer(topic, payload, 2, &properties).await;
    }

    /// The next message, acknowledged.
    pub async fn message(&mut self) -> Message {
        loop {
            let (first, body) = self.read().await.expect("a message");
            if first >> 4 == 3 {
                let (message, number) = self.decode(first, &body);
                if let Some(number) = number {
                    let [a, b] = number.to_be_bytes();
                    self.send(&[0x40, 2, a, b]).await;
                }
                return message;
            }
        }
    }

    fn decode(&self, first: u8, body: &[u8]) -> (Message, Option<u16>) {
        let take_string = |bytes: &[u8]| {
            let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
            (bytes[2..2 + length].to_vec(), 2 + length)
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (topic, mut at) = take_string(body);
        let qos = (first >> 1) & 3;
        let number = (qos > 0).then(|| u16::from_be_bytes([body[at], body[at + 1]]));
        at += if qos > 0 { 2 } else { 0 };
        let mut message = Message {
            topic: text(topic),
            qos,
            retain: first & 1 == 1,
            ..Message::default()
        };
        if self.v5 {
            let end = at + 1 + usize::from(body[at]);
            assert!(body[at] < 128, "more properties than this client reads");
            at += 1;
            while at < end {
                let id = body[at];
                let (value, length) = take_string(&body[at + 1..]);
                at += 1 + length;
                match id {
                    0x26 => {
                        let (other, length) = take_string(&body[at..]);
                        at += length;
                        message.user.push((text(value), text(other)));
                    }
                    0x09 => message.correlation = Some(value),
                    other => panic!("property {other:#x}"),
                }
            }
        }
        message.payload = body[at..].to_vec();
        (message, number)
    }

    /// Says goodbye.
    pub async fn leave(mut self) {
        self.send(&[0xe0, 0]).await;
        let _ = self.tls.shutdown().await;
        while self.read().await.is_some() {}
    }

    /// Waits for the end of the connection; nothing but goodbyes may come before it.
    pub async fn ends(&mut self) {
        while let Some((first, _)) = self.read().await {
            assert_ne!(first >> 4, 3, "a message after the end");
        }
    }
}

/// Many clients at once.
pub fn share(home: Home) -> Arc<Home> {
    Arc::new(home)
}
