//! Fields as they stand in a packet.

use bytes::{BufMut, BytesMut};

use super::scalar::VARINT_MAX;

/// Two bytes of length, then the bytes. What has more than 65,535 was refused before, when it became a `Text`.
pub(super) fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(bytes.len().min(usize::from(u16::MAX)) as u16);
    out.put_slice(bytes);
}

pub(super) fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(super) fn varint_length(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

/// The length of a packet with such a body.
pub(super) fn packet_length(body: usize) -> usize {
    match body <= VARINT_MAX as usize {
        true => 1 + varint_length(body) + body,
        false => usize::MAX,
    }
}
