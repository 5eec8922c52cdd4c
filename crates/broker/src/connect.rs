//! Reading the first packet of a connection: CONNECT, bounded, and without its credentials.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroizing;

use crate::wire::{Cursor, properties, put_varint};

/// The MQTT version of a connection. Nothing else is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

/// A CONNECT packet, as far as the door must understand it.
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Zeroizing<Vec<u8>>>,
    pub(crate) will_topic: Option<String>,
    /// The longest packet that the client takes (MQTT 5).
    pub(crate) packet_max_bytes: Option<u32>,
    /// The same packet without username and password: what the library gets to see.
    pub(crate) replay: Bytes,
}

/// Why a first packet is not a CONNECT that can be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the first packet was not CONNECT")]
    NotConnect,
    #[error("the CONNECT packet is longer than {0} bytes")]
    TooLong(usize),
    #[error("the CONNECT packet is malformed: {0}")]
    Malformed(&'static str),
    #[error("MQTT version {0} is not spoken here: use 3.1.1 or 5")]
    Version(u8),
    #[error("the connection was lost before CONNECT was complete")]
    Io(#[from] std::io::Error),
}

/// Reads exactly one CONNECT packet. Bytes that the client sent after it stay unread.
pub(crate) async fn read<R>(stream: &mut R, max_bytes: usize) -> Result<Connect, ConnectError>
where
    R: AsyncRead + Unpin,
{
    if stream.read_u8().await? != 0x10 {
        return Err(ConnectError::NotConnect);
    }
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return read_body(stream, length, max_bytes).await;
        }
    }
    Err(ConnectError::Malformed(
        "its length has more than four bytes",
    ))
}

async fn read_body<R>(
    stream: &mut R,
    length: usize,
    max_bytes: usize,
) -> Result<Connect, ConnectError>
where
    R: AsyncRead + Unpin,
{
    if length > max_bytes {
        return Err(ConnectError::TooLong(max_bytes));
    }
    let mut body = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut body).await?;
    parse(&body)
}

const FLAG_RESERVED: u8 = 0x01;
const FLAG_WILL: u8 = 0x04;
const FLAG_PASSWORD: u8 = 0x40;
const FLAG_USERNAME: u8 = 0x80;

/// Reads the body of a CONNECT packet (MQTT 5 §3.1, MQTT 3.1.1 §3.1).
fn parse(body: &[u8]) -> Result<Connect, ConnectError> {
    let short = ConnectError::Malformed;
    let mut cursor = Cursor::new(body);
    let name = cursor.string().ok_or(short("no protocol name"))?;
    let level = cursor.byte().ok_or(short("no protocol level"))?;
    let version = match (name, level) {
        ("MQTT", 4) => Version::V311,
        ("MQTT", 5) => Version::V5,
        ("MQTT" | "MQIsdp", other) => return Err(ConnectError::Version(other)),
        _ => return Err(short("the protocol is not MQTT")),
    };
    let flags_at = cursor.position();
    let flags = cursor.byte().ok_or(short("no flags"))?;
    if flags & FLAG_RESERVED != 0 {
        return Err(short("a reserved flag is set"));
    }
    cursor.u16().ok_or(short("no keep alive"))?;
    let packet_max_bytes = match version {
        Version::V5 => packet_max(property_block(&mut cursor)?)?,
        Version::V311 => None,
    };
    let client_id = cursor.string().ok_or(short("no client id"))?.to_owned();
    let will_topic = match flags & FLAG_WILL != 0 {
        true => Some(will(&mut cursor, version)?),
        false => None,
    };
    let credentials_at = cursor.position();
    let username = match flags & FLAG_USERNAME != 0 {
        true => Some(cursor.string().ok_or(short("no username"))?.to_owned()),
        false => None,
    };
    let password = match flags & FLAG_PASSWORD != 0 {
        true => Some(Zeroizing::new(
            cursor.binary().ok_or(short("no password"))?.to_vec(),
        )),
        false => None,
    };
    if !cursor.is_at_end() {
        return Err(short("bytes are left over"));
    }
    let replay = without_credentials(&body[..credentials_at], flags_at);
    Ok(Connect {
        version,
        client_id,
        username,
        password,
        will_topic,
        packet_max_bytes,
        replay,
    })
}

fn property_block<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], ConnectError> {
    cursor
        .varint()
        .and_then(|length| cursor.take(length))
        .ok_or(ConnectError::Malformed("its properties run past its end"))
}

fn packet_max(block: &[u8]) -> Result<Option<u32>, ConnectError> {
    let found = properties(block).ok_or(ConnectError::Malformed("a property is malformed"))?;
    Ok(found
        .iter()
        .find(|p| p.id == 0x27)
        .and_then(|p| p.value().u32()))
}

fn will(cursor: &mut Cursor<'_>, version: Version) -> Result<String, ConnectError> {
    if version == Version::V5 {
        properties(property_block(cursor)?).ok_or(ConnectError::Malformed("a will property"))?;
    }
    let topic = cursor
        .string()
        .ok_or(ConnectError::Malformed("no will topic"))?
        .to_owned();
    cursor
        .binary()
        .ok_or(ConnectError::Malformed("no will payload"))?;
    Ok(topic)
}

fn without_credentials(body: &[u8], flags_at: usize) -> Bytes {
    let mut packet = vec![0x10];
    put_varint(&mut packet, body.len());
    let flags_at = packet.len() + flags_at;
    packet.extend_from_slice(body);
    if let Some(flags) = packet.get_mut(flags_at) {
        *flags &= !(FLAG_USERNAME | FLAG_PASSWORD);
    }
    packet.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v5(client_id: &str, username: Option<&str>, password: Option<&[u8]>) -> Vec<u8> {
        let mut body = b"\0\x04MQTT\x05".to_vec();
        let flags = 0x02
            | if username.is_some() { FLAG_USERNAME } else { 0 }
            | if password.is_some() { FLAG_PASSWORD } else { 0 };
        body.extend_from_slice(&[flags, 0, 30, 5, 0x27, 0, 0, 1, 0]);
        crate::wire::put_string(&mut body, client_id);
        if let Some(name) = username {
            crate::wire::put_string(&mut body, name);
        }
        if let Some(secret) = password {
            body.extend_from_slice(&(secret.len() as u16).to_be_bytes());
            body.extend_from_slice(secret);
        }
        body
    }

    #[test]
    fn the_replayed_packet_holds_neither_username_nor_password() {
        let body = v5("c-1", Some("c-1?SDK=x"), Some(b"top-secret"));
        let connect = parse(&body).unwrap();
        assert_eq!(connect.username.as_deref(), Some("c-1?SDK=x"));
        assert_eq!(connect.password.unwrap().as_slice(), b"top-secret");
        assert_eq!(connect.packet_max_bytes, Some(256));
        let text = String::from_utf8_lossy(&connect.replay).into_owned();
        assert!(
            !text.contains("top-secret") && !text.contains("SDK"),
            "{text:?}"
        );
        let again = parse(&connect.replay[2..]).unwrap();
        assert_eq!(again.client_id, "c-1");
        assert!(again.username.is_none() && again.password.is_none());
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_answered_without_a_panic() {
        let mut body = v5("lamp", Some("u"), Some(b"p"));
        for end in 0..body.len() {
            assert!(parse(&body[..end]).is_err(), "{end}");
        }
        for at in 0..body.len() {
            for value in 0..=255 {
                let before = std::mem::replace(&mut body[at], value);
                let _ = parse(&body);
                body[at] = before;
            }
        }
    }

    #[tokio::test]
    async fn a_first_packet_that_is_no_connect_or_too_long_is_refused() {
        for (bytes, max) in [
            (&b""[..], 100),
            (b"\xc0\0", 100),
            (b"\x10\xff\xff\xff\xff\x01", 100),
            (b"\x10\x80\x80\x04", 100),
            (b"\x10\0", 100),
            (b"GET / HTTP/1.1\r\n\r\n", 100),
        ] {
            assert!(read(&mut &bytes[..], max).await.is_err(), "{bytes:?}");
        }
        let mut old = vec![0x10, 14];
        old.extend_from_slice(b"\0\x06MQIsdp\x03\x02\0\x1e\0\0");
        assert!(matches!(
            read(&mut &old[..], 100).await,
            Err(ConnectError::Version(3))
        ));
    }
}
