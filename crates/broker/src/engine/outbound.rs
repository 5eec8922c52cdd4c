//! What a client is sent: answers first, then what waits for it, then what is retained, as much as fits into one write.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use crate::engine::Engine;
use crate::engine::outbox::{Entry, Outbox, Outgoing};
use crate::engine::parcel::Parcel;
use crate::engine::retained::{Cursor, Retained, Step};
use crate::engine::session::{Handle, Link, Session};
use crate::protocol::{Alias, Delivery, PacketId, QoS, ReasonCode, SubscriptionId};

/// No more is added to a buffer that holds so much: one TLS record.
const ENOUGH_BYTES: usize = 15 * 1024;
/// A longer payload is not copied behind its head.
const COPIED_BYTES: usize = 8 * 1024;
/// Retained messages that a reader looks at in one turn.
const LOOKED_AT: usize = 1_000;

/// Bytes to write.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) head: BytesMut,
    /// A long payload, to be written after the head. As long as this is here, the message counts as held.
    pub(crate) tail: Option<Arc<Parcel>>,
}

impl Output {
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_none()
    }

    /// The payload that follows the head.
    pub(crate) fn payload(&self) -> Option<&Bytes> {
        self.tail.as_ref().map(|parcel| &parcel.message.payload)
    }
}

/// What there is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Something, and there may be more: write it and ask again.
    Some,
    /// Something, and nothing else: the waker is called when there is.
    All,
    /// Nothing; the waker is called when there is.
    Nothing,
    /// Nothing yet, but the search goes on.
    Again,
    /// Rights have changed: judge the identity again.
    Stale,
    /// The connection has lost its session: these are the last words.
    Last(ReasonCode),
}

impl Engine {
    /// Puts what a connection has to send into an empty output.
    pub(crate) fn drain(
        &mut self,
        at: Handle,
        waker: &Waker,
        out: &mut Output,
        now_ms: u64,
    ) -> Drained {
        let epoch = self.epoch.now();
        if self.live(at).is_none() {
            let Some(last) = self.leaving.remove(&at.connection) else {
                return Drained::Last(ReasonCode::Success);
            };
            out.head.extend_from_slice(&last.bytes);
            return Drained::Last(last.reason);
        }
        let Self {
            sessions,
            retained,
            books,
            ledger,
            ..
        } = self;
        let Some(session) = sessions.get_mut(at.session) else {
            return Drained::Last(ReasonCode::Success);
        };
        if session.identity.epoch != epoch {
            return Drained::Stale;
        }
        let held = session.outbox.bytes();
        let done = fill(session, retained, out, now_ms);
        if let Some(book) = books.get_mut(session.book) {
            book.queue_bytes = book.queue_bytes + session.outbox.bytes() - held;
        }
        if session.is_lasting() && !out.is_empty() && session.touch() {
            ledger.stale(at.session);
        }
        let Some(link) = session.link.as_mut() else {
            return Drained::Nothing;
        };
        let is_over = done == Fill::Over;
        link.is_awake = !is_over;
        if link.waker.as_ref().is_none_or(|its| !its.will_wake(waker)) {
            link.waker = Some(waker.clone());
        }
        match (out.is_empty(), is_over) {
            (false, true) => Drained::All,
            (false, false) => Drained::Some,
            (true, true) => Drained::Nothing,
            (true, false) => Drained::Again,
        }
    }

    /// Why a connection has lost its session; nothing while it has it.
    pub(crate) fn ended(&self, at: Handle) -> Option<ReasonCode> {
        match self.live(at) {
            Some(_) => None,
            None => {
                let last = self.leaving.get(&at.connection);
                Some(last.map_or(ReasonCode::Success, |last| last.reason))
            }
        }
    }

    /// The bytes of answers that wait for a connection: a client that does not take them is not read.
    pub(crate) fn answers_waiting(&self, at: Handle) -> usize {
        let link = self.live(at).and_then(|session| session.link.as_ref());
        link.map_or(0, |link| link.control.len())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Over,
    More,
}

fn fill(session: &mut Session, retained: &Retained, out: &mut Output, now_ms: u64) -> Fill {
    let Session {
        link,
        outbox,
        cursors,
        bounds,
        ..
    } = session;
    let Some(link) = link.as_mut() else {
        return Fill::Over;
    };
    if !link.control.is_empty() {
        out.head.extend_from_slice(&link.control);
        link.control = BytesMut::new();
    }
    while out.tail.is_none() && out.head.len() < ENOUGH_BYTES {
        match outbox.next(link.window) {
            Some(Outgoing::Message { entry, id, dup }) => {
                let sent = Sent {
                    entry: &entry,
                    id,
                    dup,
                    may_alias: true,
                };
                if !write(link, sent, out, now_ms)
                    && let Some(id) = id
                {
                    outbox.abandon(id);
                }
            }
            Some(Outgoing::Release(id)) => {
                link.encoder.pubrel(id, ReasonCode::Success, &mut out.head);
            }
            None => {
                // Half of the room is for what is published meanwhile.
                let most = bounds.queue_max_bytes / 2;
                return read_on((link, outbox, cursors, most), retained, out, now_ms);
            }
        }
    }
    Fill::More
}

/// Goes on with what is retained.
fn read_on(
    (link, outbox, cursors, most): (&mut Link, &mut Outbox, &mut VecDeque<Cursor>, usize),
    retained: &Retained,
    out: &mut Output,
    now_ms: u64,
) -> Fill {
    let mut budget = LOOKED_AT;
    while let Some(cursor) = cursors.front_mut() {
        if out.tail.is_some() || out.head.len() >= ENOUGH_BYTES {
            return Fill::More;
        }
        // It follows its reader: no faster than that acknowledges.
        if cursor.options.qos != QoS::AtMostOnce && !outbox.is_open(link.window, most) {
            return Fill::Over;
        }
        match retained.next(cursor, &mut budget) {
            Step::Found(parcel) => {
                let qos = cursor.options.qos.min(parcel.qos);
                let ids = cursor.options.id.map(|id| Arc::from([id]));
                let entry = Entry {
                    parcel,
                    qos,
                    retain: true,
                    ids,
                    number: 0,
                };
                write_retained(link, outbox, entry, out, now_ms);
            }
            Step::Spent => return Fill::More,
            Step::Over => drop(cursors.pop_front()),
        }
    }
    if cursors.capacity() > 32 {
        *cursors = VecDeque::new();
    }
    Fill::Over
}

fn write_retained(
    link: &mut Link,
    outbox: &mut Outbox,
    entry: Entry,
    out: &mut Output,
    now_ms: u64,
) {
    if entry.qos == QoS::AtMostOnce {
        let sent = Sent {
            entry: &entry,
            id: None,
            dup: false,
            may_alias: false,
        };
        write(link, sent, out, now_ms);
        return;
    }
    let (entry, id) = outbox.send_at_once(entry);
    let sent = Sent {
        entry: &entry,
        id: Some(id),
        dup: false,
        may_alias: false,
    };
    if !write(link, sent, out, now_ms) {
        outbox.abandon(id);
    }
}

/// A message as it is sent now.
struct Sent<'a> {
    entry: &'a Entry,
    id: Option<PacketId>,
    dup: bool,
    /// Retained messages are read once: they take no alias from those that come again and again.
    may_alias: bool,
}

/// Writes a message. False if it is not sent: it has expired, or is longer than the client takes [MQTT-3.1.2-25].
fn write(link: &mut Link, sent: Sent<'_>, out: &mut Output, now_ms: u64) -> bool {
    let parcel = &sent.entry.parcel;
    let Ok(expiry_s) = parcel.left_s(now_ms) else {
        return false;
    };
    let message = &parcel.message;
    let alias = match sent.may_alias {
        true => link.aliases.assign(&message.topic),
        false => Alias::None,
    };
    let ids: &[SubscriptionId] = sent.entry.ids.as_deref().unwrap_or_default();
    let delivery = Delivery {
        qos: sent.entry.qos,
        packet_id: sent.id,
        dup: sent.dup,
        retain: sent.entry.retain,
        expiry_s,
        subscription_ids: ids,
        alias,
    };
    let written = match message.payload.len() > COPIED_BYTES {
        false => link.encoder.publish(message, &delivery, &mut out.head),
        true => link.encoder.publish_head(message, &delivery, &mut out.head),
    };
    if written.is_err() {
        link.aliases.forget(&message.topic);
        return false;
    }
    if message.payload.len() > COPIED_BYTES {
        out.tail = Some(Arc::clone(parcel));
    }
    true
}
