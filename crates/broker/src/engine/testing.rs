//! Clients for tests of the engine: they speak bytes, as real ones do, without a connection.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, and how the fuzzer finds something.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::{BufMut, BytesMut};
use hearthkey_core::access::{Access, Admission};
use hearthkey_core::profile::{Profile, Rights};

use crate::engine::bounds::Bounds;
use crate::engine::session::{Handle, Key, Owner};
use crate::engine::{Arrival, Attached, Departure, Drained, Engine, Identity, Output, Progress};
use crate::limits::Limits;
use crate::protocol::{Decoder, DecoderLimits, Packet};

/// What the engine sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Connack {
        present: bool,
        code: u8,
    },
    Publish(Published),
    /// PUBACK, PUBREC, PUBREL, PUBCOMP: the packet type, the identifier and the reason.
    Ack(u8, u16, u8),
    Suback(u16, Vec<u8>),
    Unsuback(u16, Vec<u8>),
    Pingresp,
    Disconnect(u8),
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Published {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) id: u16,
    pub(crate) ids: Vec<u32>,
    pub(crate) expiry_s: Option<u32>,
    /// The other properties as they stand.
    pub(crate) rest: Vec<u8>,
}

/// What a client says in CONNECT.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) v5: bool,
    pub(crate) clean: bool,
    pub(crate) expiry_s: u32,
    pub(crate) receive_max: u16,
    pub(crate) packet_max: u32,
    pub(crate) alias_max: u16,
    pub(crate) keep_alive_s: u16,
    pub(crate) will: Option<WillSaid>,
}

#[derive(Debug, Clone)]
pub(crate) struct WillSaid {
    pub(crate) topic: &'static str,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) delay_s: u32,
}

impl Default for Hello {
    fn default() -> Self {
        Self {
            v5: true,
            clean: true,
            expiry_s: 0,
            receive_max: 0,
            packet_max: 0,
            alias_max: 0,
            keep_alive_s: 0,
            will: None,
        }
    }
}

fn string(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

fn varint(out: &mut BytesMut, mut value: usize) {
    while value >= 128 {
        out.put_u8((value & 127) as u8 | 128);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn packet(first: u8, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(first);
    varint(&mut out, body.len());
    out.put_slice(body);
    out
}

fn properties(out: &mut BytesMut, v5: bool, block: &[u8]) {
    if v5 {
        varint(out, block.len());
        out.put_slice(block);
    }
}

impl Hello {
    fn packet(&self, client_id: &str) -> BytesMut {
        let mut body = BytesMut::new();
        string(&mut body, b"MQTT");
        let will = self.will.as_ref();
        let flags = u8::from(self.clean) << 1
            | will.map_or(0, |will| 4 | will.qos << 3 | u8::from(will.retain) << 5);
        body.put_slice(&[if self.v5 { 5 } else { 4 }, flags]);
        body.put_u16(self.keep_alive_s);
        let mut block = BytesMut::new();
        block.put_u8(0x11);
        block.put_u32(self.expiry_s);
        if self.receive_max > 0 {
            block.put_u8(0x21);
            block.put_u16(self.receive_max);
        }
        if self.packet_max > 0 {
            block.put_u8(0x27);
            block.put_u32(self.packet_max);
        }
        if self.alias_max > 0 {
            block.put_u8(0x22);
            block.put_u16(self.alias_max);
        }
        properties(&mut body, self.v5, &block);
        string(&mut body, client_id.as_bytes());
        if let Some(will) = will {
            let mut block = BytesMut::new();
            block.put_u8(0x18);
            block.put_u32(will.delay_s);
            properties(&mut body, self.v5, &block);
            string(&mut body, will.topic.as_bytes());
            string(&mut body, &will.payload);
        }
        packet(0x10, &body)
    }
}

/// A message that a client publishes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Say<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) id: u16,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) properties: &'a [u8],
}

/// An engine with the hand on its clock.
pub(crate) struct Room {
    pub(crate) engine: Engine,
    pub(crate) access: Access,
    pub(crate) now_ms: u64,
    /// Where the next client comes from, at 127.0.0.x.
    pub(crate) host: u8,
    /// Sessions that a device may have.
    pub(crate) sessions_max: usize,
    connections: u64,
    /// How often a client had to leave the engine to others.
    pub(crate) turns: usize,
}

/// A client with a connection.
pub(crate) struct Client {
    pub(crate) at: Handle,
    pub(crate) v5: bool,
    decoder: Decoder,
    input: BytesMut,
    packets: VecDeque<Packet>,
    raw: BytesMut,
}

impl Room {
    pub(crate) fn new(limits: &Limits) -> Self {
        let access = Access::default();
        Self {
            engine: Engine::new(Bounds::new(limits), access.epoch()),
            access,
            now_ms: 0,
            host: 1,
            sessions_max: 9,
            connections: 0,
            turns: 0,
        }
    }

    /// All below `a`, `b` and `c`.
    pub(crate) fn rights(device: &str) -> Arc<Rights> {
        let rules = |verb: &str| {
            let rule = |first| format!("[[{verb}]]\ntopic = \"{first}/#\"\nreason = \"r\"\n");
            ["a", "b", "c"].map(rule).concat()
        };
        let text = format!(
            "name = \"p\"\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 30\n\
             keys = [\"p256\"]\nsessions_max = 9\n{}{}",
            rules("publish"),
            rules("subscribe"),
        );
        let profile = Profile::parse(&text).unwrap();
        Arc::new(profile.rights(&device.parse().unwrap(), &"home".parse().unwrap()))
    }

    pub(crate) fn connect(&mut self, device: &str, client_id: &str, hello: &Hello) -> Client {
        self.connect_with(device, client_id, hello, Self::rights(device))
    }

    pub(crate) fn connect_with(
        &mut self,
        device: &str,
        client_id: &str,
        hello: &Hello,
        rights: Arc<Rights>,
    ) -> Client {
        let mut decoder = Decoder::new(DecoderLimits {
            connect_max_bytes: 100_000,
            packet_max_bytes: 1_000_000,
            topic_alias_max: 16,
        });
        let mut input = hello.packet(client_id);
        let Some(Packet::Connect(connect)) = decoder.next(&mut input).unwrap() else {
            panic!("a CONNECT")
        };
        self.connections += 1;
        let mut bounds = self.engine.bounds().session;
        bounds.stored_max = self.sessions_max;
        let arrival = Arrival {
            key: Key {
                owner: Owner::Device(device.parse().unwrap()),
                client_id: client_id.into(),
            },
            identity: Identity {
                certificate: None,
                admission: Admission::Full,
                rights,
                epoch: self.access.epoch().now(),
            },
            bounds,
            connection: self.connections,
            address: ([127, 0, 0, self.host], 1).into(),
            ja4: None,
            connect: *connect,
            is_assigned: false,
        };
        let Attached::Done { handle } = self.engine.attach(Box::new(arrival), self.now_ms) else {
            panic!("a session")
        };
        Client {
            at: handle,
            v5: hello.v5,
            decoder,
            input,
            packets: VecDeque::new(),
            raw: BytesMut::new(),
        }
    }

    /// Hands bytes of a client to the engine.
    pub(crate) fn send(&mut self, client: &mut Client, bytes: &[u8]) -> Progress {
        client.input.extend_from_slice(bytes);
        loop {
            match client.decoder.next(&mut client.input) {
                Ok(Some(packet)) => client.packets.push_back(packet),
                Ok(None) => break,
                Err(violation) => {
                    self.leave(client, Departure::Violated(violation));
                    return Progress::Over(Departure::Violated(violation));
                }
            }
        }
        loop {
            match self
                .engine
                .packets(client.at, &mut client.packets, self.now_ms)
            {
                Progress::Turn => self.turns += 1,
                Progress::Over(departure) => {
                    self.leave(client, departure);
                    return Progress::Over(departure);
                }
                other => return other,
            }
        }
    }

    fn leave(&mut self, client: &mut Client, departure: Departure) {
        let words = self.engine.depart(client.at, departure, self.now_ms);
        client.raw.extend_from_slice(&words);
    }

    pub(crate) fn lose(&mut self, client: &mut Client) {
        self.leave(client, Departure::Lost);
    }

    pub(crate) fn publish(&mut self, client: &mut Client, say: &Say<'_>) -> Progress {
        let bytes = self.published(client, say);
        self.send(client, &bytes)
    }

    /// The packet of a message.
    pub(crate) fn published(&self, client: &Client, say: &Say<'_>) -> BytesMut {
        let mut body = BytesMut::new();
        string(&mut body, say.topic.as_bytes());
        if say.qos > 0 {
            body.put_u16(say.id);
        }
        let mut block = BytesMut::new();
        if let Some(expiry_s) = say.expiry_s {
            block.put_u8(2);
            block.put_u32(expiry_s);
        }
        block.put_slice(say.properties);
        properties(&mut body, client.v5, &block);
        body.put_slice(say.payload);
        let first = 0x30 | u8::from(say.dup) << 3 | say.qos << 1 | u8::from(say.retain);
        packet(first, &body)
    }

    /// `options`: QoS, No Local (4), Retain As Published (8), Retain Handling (16, 32).
    pub(crate) fn subscribe(
        &mut self,
        client: &mut Client,
        packet_id: u16,
        filters: &[(&str, u8)],
        id: Option<u32>,
    ) -> Progress {
        let mut body = BytesMut::new();
        body.put_u16(packet_id);
        let mut block = BytesMut::new();
        if let Some(id) = id {
            block.put_u8(0x0b);
            varint(&mut block, id as usize);
        }
        properties(&mut body, client.v5, &block);
        for (filter, options) in filters {
            string(&mut body, filter.as_bytes());
            body.put_u8(*options);
        }
        self.send(client, &packet(0x82, &body))
    }

    pub(crate) fn unsubscribe(&mut self, client: &mut Client, packet_id: u16, filter: &str) {
        let mut body = BytesMut::new();
        body.put_u16(packet_id);
        properties(&mut body, client.v5, &[]);
        string(&mut body, filter.as_bytes());
        self.send(client, &packet(0xa2, &body));
    }

    /// PUBACK (4), PUBREC (5), PUBREL (6), PUBCOMP (7).
    pub(crate) fn acknowledge(&mut self, client: &mut Client, kind: u8, id: u16) -> Progress {
        let first = kind << 4 | if kind == 6 { 2 } else { 0 };
        self.send(client, &packet(first, &id.to_be_bytes()))
    }

    /// Everything that the engine has for a client now.
    pub(crate) fn hear(&mut self, client: &mut Client) -> Vec<Heard> {
        loop {
            let mut output = Output::default();
            let drained = self
                .engine
                .drain(client.at, Waker::noop(), &mut output, self.now_ms);
            client.raw.extend_from_slice(&output.head);
            if let Some(payload) = output.payload() {
                client.raw.extend_from_slice(payload);
            }
            match drained {
                Drained::Some | Drained::Again => {}
                Drained::All | Drained::Nothing | Drained::Stale | Drained::Last(_) => break,
            }
        }
        parse(&mut client.raw, client.v5)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n);
        self.0 = rest;
        taken
    }

    fn u16(&mut self) -> u16 {
        let bytes = self.take(2);
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    fn varint(&mut self) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.take(1)[0];
            value |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte & 128 == 0 {
                return value;
            }
        }
    }

    fn string(&mut self) -> &'a [u8] {
        let n = self.u16();
        self.take(n.into())
    }
}

fn parse(raw: &mut BytesMut, v5: bool) -> Vec<Heard> {
    let all = raw.split();
    let mut reader = Reader(&all);
    let mut heard = Vec::new();
    while !reader.0.is_empty() {
        let first = reader.take(1)[0];
        let n = reader.varint();
        let mut body = Reader(reader.take(n));
        heard.push(match first >> 4 {
            2 => Heard::Connack {
                present: body.take(1)[0] == 1,
                code: body.take(1)[0],
            },
            3 => Heard::Publish(read_publish(first, &mut body, v5)),
            kind @ 4..=7 => {
                let id = body.u16();
                Heard::Ack(kind, id, body.0.first().copied().unwrap_or(0))
            }
            kind @ (9 | 11) => {
                let id = body.u16();
                if v5 {
                    let n = body.varint();
                    body.take(n);
                }
                match kind {
                    9 => Heard::Suback(id, body.0.to_vec()),
                    _ => Heard::Unsuback(id, body.0.to_vec()),
                }
            }
            13 => Heard::Pingresp,
            14 => Heard::Disconnect(body.0.first().copied().unwrap_or(0)),
            other => panic!("a packet of type {other}"),
        });
    }
    heard
}

fn read_publish(first: u8, body: &mut Reader<'_>, v5: bool) -> Published {
    let topic = String::from_utf8(body.string().to_vec()).unwrap();
    let qos = first >> 1 & 3;
    let mut published = Published {
        topic,
        qos,
        retain: first & 1 == 1,
        dup: first & 8 == 8,
        id: if qos > 0 { body.u16() } else { 0 },
        ..Published::default()
    };
    if v5 {
        let n = body.varint();
        let mut block = Reader(body.take(n));
        while let Some(id) = block.0.first().copied() {
            match id {
                2 => {
                    block.take(1);
                    let bytes: [u8; 4] = block.take(4).try_into().unwrap();
                    published.expiry_s = Some(u32::from_be_bytes(bytes));
                }
                0x0b => {
                    block.take(1);
                    published.ids.push(block.varint() as u32);
                }
                _ => {
                    published.rest = block.0.to_vec();
                    block.0 = &[];
                }
            }
        }
    }
    published.payload = body.0.to_vec();
    published
}
