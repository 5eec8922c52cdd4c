//! A device that writes its own MQTT bytes, so that it sees what is on the wire.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::wire::{Refused, within};

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

    /// How the handshake went.
    pub fn handshake(&self) -> rustls::HandshakeKind {
        self.tls.get_ref().1.handshake_kind().unwrap()
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
                    return Ok(Answer::Accepted(
                        String::from_utf8(message.payload).unwrap(),
                    ));
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
