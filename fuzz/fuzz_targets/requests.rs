//! What devices and services send: a certificate request, a DPoP proof.
#![no_main]

use hearthkey_pki::{read_csr, read_proof};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = read_csr(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = read_proof(text);
    }
});
