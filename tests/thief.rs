//! Somebody who has the disk and the key file, and changes the database behind the gateway's back: written from what
//! docs/SECURITY.md says of the keys, with nothing of the store.

use std::fs;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;
use serde_json::Value;

use crate::rig::Rig;

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

fn derived(salt: &[u8], secret: &[u8], label: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    let secret = Salt::new(HKDF_SHA256, salt).extract(secret);
    let label = [label];
    let expanded = secret.expand(&label, Bytes32).unwrap();
    expanded.fill(&mut key).unwrap();
    key
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]);
    digits
        .map(|two| u8::from_str_radix(two, 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The root key, as the slot of the key file wraps it.
fn root_key(home: &str, slot: &Value, key_file: &[u8]) -> Vec<u8> {
    let salt = bytes(slot["salt"].as_str().unwrap());
    let key = derived(&salt, key_file, b"hearthkey/slot/v1");
    let wrapped = STANDARD.decode(slot["wrapped"].as_str().unwrap()).unwrap();
    let (nonce, sealed) = wrapped.split_at(NONCE_LEN);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
    let about = Aad::from(format!("hk1|slot|{home}|KeyFile"));
    let mut sealed = sealed.to_vec();
    key.open_in_place(nonce, about, &mut sealed)
        .unwrap()
        .to_vec()
}

/// Opens the database of a home with a key file.
pub fn open(rig: &Rig) -> Connection {
    let slots = fs::read(rig.data_dir.join("slots.json")).unwrap();
    let slots: Value = serde_json::from_slice(&slots).unwrap();
    let home = slots["home"].as_str().unwrap();
    let slot = &slots["slots"][0];
    let key_file = fs::read(rig.data_dir.join("unseal.key")).unwrap();
    let root = root_key(home, slot, &key_file);
    let key = derived(home.as_bytes(), &root, b"hearthkey/sqlcipher/v1");
    let database = Connection::open(rig.data_dir.join("hearthkey.db")).unwrap();
    database
        .execute_batch(&format!("PRAGMA key = \"x'{}'\"", hex(&key)))
        .unwrap();
    database
}

/// Runs a statement on the database, which must change something.
pub fn tamper(rig: &Rig, sql: &str) {
    assert!(open(rig).execute(sql, []).unwrap() > 0, "{sql}");
}
