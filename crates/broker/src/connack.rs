//! Refusing a connection in the words of its own MQTT version.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use crate::connect::Version;
use crate::wire::{put_string, put_varint};

/// What a CONNACK says (MQTT 5 §3.2.2.2, MQTT 3.1.1 §3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    ClientIdNotValid,
    BadCredentials,
    NotAuthorized,
    Unavailable,
    Busy,
    QuotaExceeded,
    UnsupportedVersion,
}

impl Code {
    fn v5(self) -> u8 {
        match self {
            Self::UnsupportedVersion => 0x84,
            Self::ClientIdNotValid => 0x85,
            Self::BadCredentials => 0x86,
            Self::NotAuthorized => 0x87,
            Self::Unavailable => 0x88,
            Self::Busy => 0x89,
            Self::QuotaExceeded => 0x97,
        }
    }

    fn v311(self) -> u8 {
        match self {
            Self::UnsupportedVersion => 1,
            Self::ClientIdNotValid => 2,
            Self::Unavailable | Self::Busy => 3,
            Self::BadCredentials => 4,
            Self::NotAuthorized | Self::QuotaExceeded => 5,
        }
    }
}

/// The CONNACK packet. The reason is left out when the client takes no packet that long.
pub(crate) fn encode(
    version: Version,
    code: Code,
    reason: &str,
    packet_max: Option<u32>,
) -> Vec<u8> {
    if version == Version::V311 {
        return vec![0x20, 2, 0, code.v311()];
    }
    let mut properties = vec![0x1f];
    put_string(&mut properties, reason);
    let mut body = vec![0, code.v5()];
    put_varint(&mut body, properties.len());
    body.extend_from_slice(&properties);
    let mut packet = vec![0x20];
    put_varint(&mut packet, body.len());
    packet.extend_from_slice(&body);
    match packet_max {
        Some(max) if packet.len() > max as usize => vec![0x20, 3, 0, code.v5(), 0],
        _ => packet,
    }
}

/// How long a refused client has to take its answer.
const FAREWELL: Duration = Duration::from_secs(1);
/// How much more a refused client may send before the socket is closed on it.
const FAREWELL_MAX_BYTES: u64 = 64 * 1024;

/// Sends a last packet and closes so that the client gets to read it: what it may still be
/// sending is taken in and thrown away, or the kernel would answer with a reset.
pub(crate) async fn farewell<S>(mut stream: S, packet: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let goodbye = async {
        stream.write_all(packet).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FAREWELL_MAX_BYTES), &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = timeout(FAREWELL, goodbye).await {
        tracing::trace!(%error, "a refused client left before its answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_gets_its_own_words() {
        let packet = encode(Version::V5, Code::ClientIdNotValid, "use \"lamp\"", None);
        assert_eq!(&packet[..7], &[0x20, 16, 0, 0x85, 13, 0x1f, 0]);
        assert_eq!(&packet[8..], b"use \"lamp\"");
        assert_eq!(
            encode(Version::V311, Code::ClientIdNotValid, "x", None),
            [0x20, 2, 0, 2]
        );
        assert_eq!(
            encode(Version::V311, Code::BadCredentials, "x", None),
            [0x20, 2, 0, 4]
        );
        assert_eq!(
            encode(Version::V5, Code::NotAuthorized, "long", Some(6)),
            [0x20, 3, 0, 0x87, 0]
        );
    }
}
