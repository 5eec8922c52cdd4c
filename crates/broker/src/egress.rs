//! What the library sends, put right before it reaches the client.
//!
//! The library adds the user properties `x-mqtt-client-id` and `x-mqtt-sender` to each message
//! it routes, wills included, which would tell every subscriber who published. Its publish hook
//! cannot take them out without losing all other properties, so they are cut out here.
//! To MQTT 3.1.1 clients it sends acknowledgements with reason codes and DISCONNECT, which that
//! version does not have: the first are shortened, the second left out.

use crate::connect::Version;
use crate::wire::{Cursor, properties, put_varint};

/// What becomes of one packet on its way out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes out as it is.
    Keep,
    /// It does not go out.
    Leave,
    /// These bytes go out in its place.
    Replace(Vec<u8>),
}

/// The length of the packet that begins here, as soon as its header is complete.
pub(crate) fn packet_length(bytes: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new(bytes);
    cursor.byte()?;
    let body = cursor.varint()?;
    cursor.position().checked_add(body)
}

/// Judges one whole packet.
pub(crate) fn judge(version: Version, packet: &[u8]) -> Verdict {
    let kind = packet.first().map_or(0, |first| first >> 4);
    match (version, kind) {
        (Version::V5, 3) => strip(packet).map_or(Verdict::Keep, Verdict::Replace),
        (Version::V311, 4..=7) => shorten(packet).map_or(Verdict::Keep, Verdict::Replace),
        (Version::V311, 14) => Verdict::Leave,
        _ => Verdict::Keep,
    }
}

/// An acknowledgement with its packet identifier alone, if it has more than that.
fn shorten(packet: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(packet);
    let first = cursor.byte()?;
    if cursor.varint()? <= 2 {
        return None;
    }
    let id = cursor.take(2)?;
    Some(vec![first, 2, id[0], id[1]])
}

/// A PUBLISH without the library's own user properties, if it has any.
fn strip(packet: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(packet);
    let first = cursor.byte()?;
    cursor.varint()?;
    let head_at = cursor.position();
    cursor.binary()?;
    if first & 0x06 != 0 {
        cursor.u16()?;
    }
    let head = &packet[head_at..cursor.position()];
    let length = cursor.varint()?;
    let block = cursor.take(length)?;
    let payload = &packet[cursor.position()..];

    let kept: Vec<&[u8]> = properties(block)?
        .iter()
        .filter(|p| !is_librarys(p))
        .map(|p| p.whole)
        .collect();
    let kept_length: usize = kept.iter().map(|p| p.len()).sum();
    if kept_length == block.len() {
        return None;
    }
    let mut length_bytes = Vec::with_capacity(4);
    put_varint(&mut length_bytes, kept_length);
    let body = head.len() + length_bytes.len() + kept_length + payload.len();
    let mut out = Vec::with_capacity(body + 5);
    out.push(first);
    put_varint(&mut out, body);
    out.extend_from_slice(head);
    out.extend_from_slice(&length_bytes);
    for property in kept {
        out.extend_from_slice(property);
    }
    out.extend_from_slice(payload);
    Some(out)
}

fn is_librarys(property: &crate::wire::Property<'_>) -> bool {
    property.id == 0x26
        && matches!(
            property.value().binary(),
            Some(b"x-mqtt-client-id" | b"x-mqtt-sender")
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_property(key: &str, value: &str) -> Vec<u8> {
        let mut bytes = vec![0x26];
        crate::wire::put_string(&mut bytes, key);
        crate::wire::put_string(&mut bytes, value);
        bytes
    }

    fn publish(first: u8, properties: &[Vec<u8>], payload: &[u8]) -> Vec<u8> {
        let mut body = b"\0\x03a/b".to_vec();
        if first & 6 != 0 {
            body.extend_from_slice(&[0, 7]);
        }
        put_varint(&mut body, properties.iter().map(Vec::len).sum());
        properties.iter().for_each(|p| body.extend_from_slice(p));
        body.extend_from_slice(payload);
        let mut packet = vec![first];
        put_varint(&mut packet, body.len());
        packet.extend_from_slice(&body);
        packet
    }

    #[test]
    fn the_librarys_properties_are_cut_out_and_the_publishers_stay() {
        for first in [0x30, 0x31, 0x32, 0x3d] {
            let own = user_property("room", "kitchen");
            let content_type = vec![0x03, 0, 1, b't'];
            let payload = vec![9; 300];
            let sent = publish(
                first,
                &[
                    own.clone(),
                    user_property("x-mqtt-client-id", "camera"),
                    content_type.clone(),
                    user_property("x-mqtt-sender", "camera"),
                ],
                &payload,
            );
            let wanted = publish(first, &[own, content_type], &payload);
            assert_eq!(packet_length(&sent), Some(sent.len()));
            assert_eq!(judge(Version::V5, &sent), Verdict::Replace(wanted));
        }
    }

    #[test]
    fn a_message_with_nothing_to_cut_out_is_not_copied() {
        let sent = publish(0x30, &[user_property("room", "kitchen")], b"x");
        assert_eq!(judge(Version::V5, &sent), Verdict::Keep);
    }

    #[test]
    fn an_mqtt_3_client_gets_no_reason_codes_and_no_disconnect() {
        let puback = [0x40, 4, 0, 7, 0x87, 0];
        assert_eq!(
            judge(Version::V311, &puback),
            Verdict::Replace(vec![0x40, 2, 0, 7])
        );
        assert_eq!(judge(Version::V311, &[0x40, 2, 0, 7]), Verdict::Keep);
        assert_eq!(judge(Version::V311, &[0xe0, 1, 0x8e]), Verdict::Leave);
        assert_eq!(judge(Version::V5, &puback), Verdict::Keep);
    }
}
