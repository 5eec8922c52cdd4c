//! A client that speaks every QoS step by step, and decides itself what it acknowledges.

use crate::mqtt::{Client, packet, string};
use crate::wire::{Door, Identity, Refused};

/// How a client introduces itself, in MQTT 5.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    pub client_id: &'a str,
    /// Whether it begins anew.
    pub clean: bool,
    /// How long the session outlives its connection, in seconds.
    pub life_s: u32,
    /// Topic, payload and delay in seconds of a will: QoS 1, retained.
    pub will: Option<(&'a str, &'a str, u32)>,
}

impl<'a> Opening<'a> {
    /// A session that lasts, taken up again.
    pub fn lasting(client_id: &'a str) -> Self {
        Self {
            client_id,
            clean: false,
            life_s: 3_600,
            will: None,
        }
    }

    /// A session that ends with its connection.
    pub fn passing(client_id: &'a str) -> Self {
        Self {
            clean: true,
            life_s: 0,
            ..Self::lasting(client_id)
        }
    }

    fn packet(&self) -> Vec<u8> {
        let mut body = b"\0\x04MQTT\x05".to_vec();
        // Will flag, QoS 1, retained.
        let will = if self.will.is_some() { 0x2c } else { 0 };
        body.extend_from_slice(&[u8::from(self.clean) << 1 | will, 0, 60, 5, 0x11]);
        body.extend_from_slice(&self.life_s.to_be_bytes());
        string(&mut body, self.client_id);
        if let Some((topic, payload, delay_s)) = self.will {
            body.extend_from_slice(&[5, 0x18]);
            body.extend_from_slice(&delay_s.to_be_bytes());
            string(&mut body, topic);
            string(&mut body, payload);
        }
        packet(0x10, &body)
    }
}

/// A message as it comes or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub id: u16,
}

impl Said {
    pub fn new(topic: &str, payload: &str, qos: u8, id: u16) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            retain: false,
            dup: false,
            id,
        }
    }

    pub fn retained(self) -> Self {
        let retain = true;
        Self { retain, ..self }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }

    /// The packet of MQTT 5.
    pub fn packet(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.topic.len() + self.payload.len() + 5);
        string(&mut body, &self.topic);
        if self.qos > 0 {
            body.extend_from_slice(&self.id.to_be_bytes());
        }
        body.push(0);
        body.extend_from_slice(&self.payload);
        let first = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        packet(first, &body)
    }

    fn read(first: u8, body: &[u8]) -> Self {
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, mut rest) = body[2..].split_at(length);
        let qos = first >> 1 & 3;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        assert!(rest[0] < 128, "more properties than this client reads");
        Self {
            topic: String::from_utf8(topic.to_vec()).unwrap(),
            payload: rest[1 + usize::from(rest[0])..].to_vec(),
            qos,
            retain: first & 1 == 1,
            dup: first & 8 == 8,
            id,
        }
    }
}

/// What the gateway sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Message(Said),
    Puback(u16, u8),
    Pubrec(u16, u8),
    Pubrel(u16),
    Pubcomp(u16, u8),
    /// SUBACK or UNSUBACK with its last reason.
    Answer(u16, u8),
    Other,
}

/// A connection on which CONNECT was accepted.
pub struct Exact {
    client: Client,
    pub session_present: bool,
}

impl Exact {
    pub async fn open(door: &Door, who: &Identity, opening: &Opening<'_>) -> Result<Self, Refused> {
        let tls = door.dial(Some(who)).await?;
        let mut client = Client::new(tls, true);
        client.send(&opening.packet()).await;
        let (first, body) = client.read().await?;
        assert_eq!(first, 0x20, "CONNACK comes first");
        if body[1] != 0 {
            return Err(Refused::Connack(body[1], String::new()));
        }
        let session_present = body[0] == 1;
        Ok(Self {
            client,
            session_present,
        })
    }

    pub async fn read(&mut self) -> Result<Heard, Refused> {
        let (first, body) = self.client.read().await?;
        let id = body
            .get(..2)
            .map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
        let reason = body.get(2).copied().unwrap_or(0);
        Ok(match first >> 4 {
            3 => Heard::Message(Said::read(first, &body)),
            4 => Heard::Puback(id, reason),
            5 => Heard::Pubrec(id, reason),
            6 => Heard::Pubrel(id),
            7 => Heard::Pubcomp(id, reason),
            9 | 11 => Heard::Answer(id, *body.last().unwrap()),
            _ => Heard::Other,
        })
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.client.send(bytes).await;
    }

    pub async fn say(&mut self, said: &Said) {
        self.send(&said.packet()).await;
    }

    /// PUBACK (4), PUBREC (5), PUBREL (6) or PUBCOMP (7).
    pub async fn acknowledge(&mut self, kind: u8, id: u16) {
        let [high, low] = id.to_be_bytes();
        let first = kind << 4 | if kind == 6 { 2 } else { 0 };
        self.send(&[first, 2, high, low]).await;
    }

    /// Subscribes with QoS 2; gives the reason code. Messages that come meanwhile are dropped unanswered.
    pub async fn subscribe(&mut self, id: u16, filter: &str) -> Result<u8, Refused> {
        let mut body = id.to_be_bytes().to_vec();
        body.push(0);
        string(&mut body, filter);
        body.push(2);
        self.send(&packet(0x82, &body)).await;
        self.answer(id).await
    }

    /// Ends a subscription; gives the reason code.
    pub async fn unsubscribe(&mut self, id: u16, filter: &str) -> Result<u8, Refused> {
        let mut body = id.to_be_bytes().to_vec();
        body.push(0);
        string(&mut body, filter);
        self.send(&packet(0xa2, &body)).await;
        self.answer(id).await
    }

    async fn answer(&mut self, id: u16) -> Result<u8, Refused> {
        loop {
            if let Heard::Answer(its, reason) = self.read().await?
                && its == id
            {
                return Ok(reason);
            }
        }
    }

    /// Publishes a message of QoS 1 or 2 to the end of its handshake.
    pub async fn publish(&mut self, said: &Said) -> Result<(), Refused> {
        self.say(said).await;
        loop {
            match self.read().await? {
                Heard::Puback(id, reason) if id == said.id => {
                    assert_eq!(reason & 0x80, 0, "{said:?}: {reason:#x}");
                    return Ok(());
                }
                Heard::Pubrec(id, reason) if id == said.id => {
                    assert_eq!(reason & 0x80, 0, "{said:?}: {reason:#x}");
                    self.acknowledge(6, id).await;
                }
                Heard::Pubcomp(id, _) if id == said.id => return Ok(()),
                _ => {}
            }
        }
    }

    pub async fn leave(self) {
        self.client.leave().await;
    }
}
