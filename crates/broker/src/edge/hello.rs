//! The first packet of a connection: CONNECT, bounded, and wiped from the buffer it was read into.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroize;

use crate::edge::shared::{Incoming, Shared};
use crate::protocol::{Connect, Decoder, Packet, Violation};

/// Room for an ordinary CONNECT.
const FIRST_BYTES: usize = 1024;

/// Why a first packet is not a CONNECT that can be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("the connection was lost before CONNECT was complete")]
    Lost(#[from] io::Error),
    #[error("too many long packets arrive at the same time")]
    Crowded,
}

/// Reads the first packet. What the client sent behind it is left in the buffer. What the buffer needs beyond an ordinary
/// CONNECT is counted with all packets that are not complete.
pub(crate) async fn read<R>(
    stream: &mut R,
    decoder: &mut Decoder,
    input: &mut BytesMut,
    mut counted: Incoming<&Shared>,
) -> Result<Box<Connect>, HelloError>
where
    R: AsyncRead + Unpin,
{
    input.reserve(FIRST_BYTES);
    loop {
        if let Some(packet) = decoder.next(input)? {
            match packet {
                Packet::Connect(connect) => return Ok(connect),
                // The decoder lets nothing else be first.
                _ => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
            }
        }
        make_room(input, decoder.wanted_bytes());
        if input.capacity() > FIRST_BYTES && !counted.hold(input.capacity()) {
            return Err(HelloError::Crowded);
        }
        if stream.read_buf(input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Room for more of the packet, as it comes, without leaving a copy of a password behind.
fn make_room(input: &mut BytesMut, wanted: usize) {
    if input.capacity() > input.len() {
        return;
    }
    let capacity = wanted.min(input.len() * 2).max(input.len() + FIRST_BYTES);
    let mut larger = BytesMut::with_capacity(capacity);
    larger.extend_from_slice(input);
    input.as_mut().zeroize();
    *input = larger;
}
