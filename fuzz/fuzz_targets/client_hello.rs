//! The first bytes of a connection (RFC 6066 §4, RFC 8449): whatever they are, the answer is a length that exists or none, and a fingerprint,
//! and what comes after a complete ClientHello changes nothing.
#![no_main]

use hearthkey_broker::client_hello::ClientHello;
use hearthkey_core::ja4::Ja4;
use libfuzzer_sys::fuzz_target;

/// What is read: the longest record, and the fingerprint, which is one that can be read back.
fn read(bytes: &[u8]) -> Option<(Option<usize>, Ja4)> {
    let hello = ClientHello::read(bytes)?;
    assert_eq!(hello.ja4().to_string().parse(), Ok(hello.ja4()));
    Some((hello.record_limit(), hello.ja4()))
}

fuzz_target!(|bytes: &[u8]| {
    let found = read(bytes);
    if let Some((limit, _)) = found {
        assert!(limit.is_none_or(|limit| (64..16_384).contains(&limit)), "{limit:?}");
        let more = [bytes, b"\x16\x03\x01\x00\x05more!"].concat();
        assert_eq!(read(&more), found);
    }
    // The same extensions in a ClientHello that is in order, so that the fuzzer need not find the frame by itself.
    let mut body = b"\x03\x03".to_vec();
    body.extend_from_slice(&[0; 32]);
    body.extend_from_slice(b"\x00\x00\x02\xc0\x2b\x01\x00");
    let bytes = bytes.get(..4096).unwrap_or(bytes);
    body.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    body.extend_from_slice(bytes);
    let mut message = (0x0100_0000 | body.len() as u32).to_be_bytes().to_vec();
    message.extend_from_slice(&body);
    let whole = read(&records(&message, message.len()));
    assert_eq!(
        whole,
        read(&records(&message, 100)),
        "records cut differently"
    );
});

fn records(message: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in message.chunks(piece) {
        out.extend_from_slice(b"\x16\x03\x01");
        out.extend_from_slice(&(piece.len() as u16).to_be_bytes());
        out.extend_from_slice(piece);
    }
    out
}
