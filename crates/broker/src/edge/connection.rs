//! One connection between its socket and its engine: everything that has come is read and handed over in one step, everything
//! that is ready is written in one.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use crate::edge::farewell::{farewell_after, goodbye};
use crate::edge::hall::Hall;
use crate::edge::shared::{Incoming, Shared};
use crate::edge::socket::{Cut, SharedTcp};
use crate::engine::session::Handle;
use crate::engine::{Asked, Departure, Drained, Output, Progress};
use crate::protocol::{Decoder, Packet, ReasonCode};

/// A client that does not take its answers is not read, once so many bytes of them wait.
const ANSWERS_MAX_BYTES: usize = 64 * 1024;
/// Steps after which other tasks have their turn.
const STEPS: usize = 32;
/// A packet that is not complete counts against these bounds once its buffer is longer than this: one TLS record.
const SMALL_BYTES: usize = 16 * 1024;
/// A packet that is longer than this gets a buffer of its own, which grows with it.
const LONG_BYTES: usize = 64 * 1024;
/// A queue of packets that was longer than this gives its memory back.
const KEPT_PACKETS: usize = 16;
/// Packets that are read ahead of the engine.
const PACKETS_AHEAD: usize = 1_024;

/// Why a connection cannot go on by itself.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Rights have changed: its identity is to be judged again.
    Stale,
    /// The gateway is asked for something.
    Asked(Vec<Asked>),
    /// It has ended from the client's side.
    Over(Departure),
    /// It has lost its session; the last words are in the output.
    Last(ReasonCode),
    /// Its socket was shut.
    Cut,
    /// Too many long packets arrive at the same time.
    Crowded,
}

/// A connection with a session.
pub(crate) struct Connection {
    tls: TlsStream<SharedTcp>,
    cut: Arc<Cut>,
    pub(crate) hall: Arc<Hall>,
    pub(crate) at: Handle,
    decoder: Decoder,
    input: BytesMut,
    /// What `input` counts against the bounds of its device and the home.
    counted: Incoming<Arc<Shared>>,
    packets: VecDeque<Packet>,
    /// What the client sent behind its last good packet.
    broken: Option<Departure>,
    output: Output,
    /// Bytes of `output` that were written.
    written: usize,
    /// The client was too fast: it is not read until then.
    rest: Option<Pin<Box<Sleep>>>,
    /// The engine calls when there is something to send.
    is_idle: bool,
    /// It takes nothing, and its answers pile up: it is not read.
    is_stuck: bool,
    /// What follows as soon as the gateway has been asked.
    then: Option<Turn>,
}

/// What a connection is made of.
pub(crate) struct Parts {
    pub(crate) tls: TlsStream<SharedTcp>,
    pub(crate) cut: Arc<Cut>,
    pub(crate) decoder: Decoder,
    pub(crate) input: BytesMut,
}

/// How far a step got.
enum Step {
    /// There may be more to do.
    On,
    /// Nothing until the socket or the engine calls.
    Wait,
    Turn(Turn),
}

impl Connection {
    /// One with a session. With it: what the connections of its device share of packets that are not complete.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        hall: Arc<Hall>,
        at: Handle,
        (parts, of_device): (Parts, Option<Arc<AtomicUsize>>),
    ) -> Self {
        let Parts {
            tls,
            cut,
            decoder,
            input,
        } = parts;
        let mut connection = Self {
            tls,
            cut,
            hall,
            at,
            decoder,
            input,
            counted: Incoming::of(Arc::clone(shared), of_device),
            packets: VecDeque::new(),
            broken: None,
            output: Output::default(),
            written: 0,
            rest: None,
            is_idle: false,
            is_stuck: false,
            then: None,
        };
        connection.decode();
        connection
    }

    /// Goes on until somebody else has to do something.
    pub(crate) async fn next(&mut self) -> Turn {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Sends what is ready before anything is taken from the client: CONNACK first.
    pub(crate) async fn greet(&mut self) -> Option<Turn> {
        poll_fn(|cx| {
            if self.output.is_empty() {
                let (at, output) = (self.at, &mut self.output);
                let drain = |engine: &mut crate::engine::Engine, now_ms| {
                    engine.drain(at, cx.waker(), output, now_ms)
                };
                match self.hall.with(drain) {
                    Drained::Stale => return Poll::Ready(Some(Turn::Stale)),
                    Drained::Last(reason) => return Poll::Ready(Some(Turn::Last(reason))),
                    _ => {}
                }
            }
            match self.send(cx) {
                Step::Turn(turn) => Poll::Ready(Some(turn)),
                Step::On => Poll::Ready(None),
                Step::Wait => Poll::Pending,
            }
        })
        .await
    }

    /// Ends the connection with these last bytes, behind what was being written.
    pub(crate) async fn farewell(mut self, packet: &[u8]) {
        let output = std::mem::take(&mut self.output);
        match output.is_empty() && packet.is_empty() {
            _ if self.cut.is_done() => {}
            true => goodbye(&mut self.tls).await,
            false => farewell_after(&mut self.tls, &output, self.written, packet).await,
        }
    }

    /// Ends the connection of a client that has left: it waits for nothing more.
    pub(crate) async fn hang_up(mut self) {
        if !self.cut.is_done() {
            goodbye(&mut self.tls).await;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut is_asked = false;
        if let Some(turn) = self.then.take() {
            return Poll::Ready(turn);
        }
        for _ in 0..STEPS {
            if self.cut.is_done() {
                return Poll::Ready(Turn::Cut);
            }
            let is_blocked = match self.send(cx) {
                Step::Turn(turn) => return Poll::Ready(turn),
                Step::Wait => true,
                Step::On => false,
            };
            // With packets left over, for instance from before its rights changed, the socket is not asked: it is next time.
            let was_held = !self.packets.is_empty() || self.broken.is_some();
            let has_read = match self.receive(cx) {
                Step::Turn(turn) => return Poll::Ready(turn),
                Step::Wait => false,
                Step::On => true,
            };
            let has_work = self.has_packets() || !is_blocked && !self.is_idle;
            if !has_work && is_asked {
                match has_read {
                    true => continue,
                    false => return Poll::Pending,
                }
            }
            is_asked = true;
            match self.exchange(cx, is_blocked) {
                Step::Turn(turn) => return Poll::Ready(turn),
                Step::On => {}
                Step::Wait if has_read || was_held => {}
                Step::Wait => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn has_packets(&self) -> bool {
        self.rest.is_none() && (!self.packets.is_empty() || self.broken.is_some())
    }

    /// Writes what is in the output. `Wait`: the socket takes no more for now.
    fn send(&mut self, cx: &mut Context<'_>) -> Step {
        while !self.output.is_empty() {
            let head = self.output.head.get(self.written..).unwrap_or_default();
            let in_payload = self.written.saturating_sub(self.output.head.len());
            let payload = self.output.payload().map_or(&[][..], |payload| payload);
            let payload = payload.get(in_payload..).unwrap_or_default();
            if head.is_empty() && payload.is_empty() {
                self.output = Output::default();
                self.written = 0;
                break;
            }
            let slices = [IoSlice::new(head), IoSlice::new(payload)];
            match Pin::new(&mut self.tls).poll_write_vectored(cx, &slices) {
                Poll::Pending => return Step::Wait,
                Poll::Ready(Ok(0)) => return Step::Turn(Turn::Over(Departure::Lost)),
                Poll::Ready(Ok(n)) => self.written += n,
                Poll::Ready(Err(error)) => return self.lost(&error),
            }
        }
        match Pin::new(&mut self.tls).poll_flush(cx) {
            Poll::Pending => Step::Wait,
            Poll::Ready(Ok(())) => {
                self.is_stuck = false;
                Step::On
            }
            Poll::Ready(Err(error)) => self.lost(&error),
        }
    }

    fn lost(&self, error: &io::Error) -> Step {
        tracing::debug!(%error, "a connection was lost");
        Step::Turn(Turn::Over(Departure::Lost))
    }

    /// Reads what has come. `Wait`: nothing, or it is not the time.
    fn receive(&mut self, cx: &mut Context<'_>) -> Step {
        if let Some(rest) = &mut self.rest {
            match rest.as_mut().poll(cx) {
                Poll::Pending => return Step::Wait,
                Poll::Ready(()) => self.rest = None,
            }
        }
        if self.is_stuck || !self.packets.is_empty() || self.broken.is_some() {
            return Step::Wait;
        }
        let read = match Pin::new(&mut self.tls).poll_fill_buf(cx) {
            Poll::Pending => return Step::Wait,
            // Devices that lose power send no close_notify; MQTT's own DISCONNECT is what counts.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Poll::Ready(Err(error)) => return self.lost(&error),
            Poll::Ready(Ok(plain)) => {
                let wanted = self.decoder.wanted_bytes();
                take_in(&mut self.input, wanted, plain)
            }
        };
        if read == 0 {
            self.broken = Some(Departure::Lost);
            return Step::On;
        }
        Pin::new(&mut self.tls).consume(read);
        self.decode();
        self.charge()
    }

    fn decode(&mut self) {
        while self.packets.len() < PACKETS_AHEAD {
            match self.decoder.next(&mut self.input) {
                Ok(Some(packet)) => self.packets.push_back(packet),
                Ok(None) => break,
                Err(violation) => {
                    self.broken = Some(Departure::Violated(violation));
                    break;
                }
            }
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// Counts the packet that is not complete against the bounds of its device and the home.
    fn charge(&mut self) -> Step {
        let holds = match self.input.capacity() {
            small if small <= SMALL_BYTES => 0,
            long => long,
        };
        match self.counted.hold(holds) {
            true => Step::On,
            false => Step::Turn(Turn::Crowded),
        }
    }

    /// Hands packets to the engine, and takes from it what is ready.
    fn exchange(&mut self, cx: &mut Context<'_>, is_blocked: bool) -> Step {
        let (at, packets, output) = (self.at, &mut self.packets, &mut self.output);
        let may_hand_over = self.rest.is_none();
        let (progress, asked, drained, answers, now_ms) = self.hall.with(|engine, now_ms| {
            let progress = match may_hand_over && !packets.is_empty() {
                true => engine.packets(at, packets, now_ms),
                false => Progress::All,
            };
            let drained = match is_blocked {
                false => engine.drain(at, cx.waker(), output, now_ms),
                true => match engine.ended(at) {
                    None => Drained::Some,
                    Some(reason) => Drained::Last(reason),
                },
            };
            let answers = engine.answers_waiting(at);
            (progress, engine.take_asked(), drained, answers, now_ms)
        });
        self.is_idle = matches!(drained, Drained::Nothing | Drained::All);
        self.is_stuck = is_blocked && answers >= ANSWERS_MAX_BYTES;
        if self.packets.is_empty() && self.packets.capacity() > KEPT_PACKETS {
            self.packets = VecDeque::new();
        }
        if let Progress::Rest(until_ms) = progress {
            let wait = Duration::from_millis(until_ms.saturating_sub(now_ms));
            self.rest = Some(Box::pin(tokio::time::sleep(wait)));
        }
        let follows = self.follows(progress, drained, may_hand_over);
        match (asked.is_empty(), follows) {
            (true, Some(turn)) => return Step::Turn(turn),
            (false, follows) => {
                self.then = follows;
                return Step::Turn(Turn::Asked(asked));
            }
            (true, None) => {}
        }
        // More may have been read than fitted.
        self.decode();
        match drained {
            _ if self.is_stuck => Step::Wait,
            // Its alarm is to be set.
            _ if matches!(progress, Progress::Rest(_)) => Step::On,
            Drained::Some | Drained::All if !is_blocked => Step::On,
            Drained::Again => Step::On,
            _ if progress == Progress::Turn || self.has_packets() => Step::On,
            _ => Step::Wait,
        }
    }

    /// What somebody else has to do now.
    fn follows(
        &mut self,
        progress: Progress,
        drained: Drained,
        may_hand_over: bool,
    ) -> Option<Turn> {
        match (progress, drained) {
            (Progress::Over(departure), _) => Some(Turn::Over(departure)),
            (_, Drained::Last(reason)) => Some(Turn::Last(reason)),
            (Progress::Stale, _) | (_, Drained::Stale) => Some(Turn::Stale),
            _ if self.packets.is_empty() && may_hand_over => self.broken.take().map(Turn::Over),
            _ => None,
        }
    }
}

/// Takes bytes into the buffer, and returns how many. One that a long packet fills alone grows with it, and ends where the
/// packet does: as long as the message is kept, so is the whole buffer.
fn take_in(input: &mut BytesMut, wanted: usize, plain: &[u8]) -> usize {
    if wanted <= LONG_BYTES {
        input.extend_from_slice(plain);
        return plain.len();
    }
    let missing = wanted.saturating_sub(input.len());
    let taken = plain.get(..missing).unwrap_or(plain);
    if input.capacity() < input.len() + taken.len() {
        let capacity = wanted.min((input.len() + taken.len()) * 2);
        let mut longer = BytesMut::with_capacity(capacity);
        longer.extend_from_slice(input);
        *input = longer;
    }
    input.extend_from_slice(taken);
    taken.len()
}
