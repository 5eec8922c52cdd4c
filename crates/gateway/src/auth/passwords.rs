//! Passwords (Argon2id, RFC 9106), the codes beside them (TOTP, RFC 6238), and recovery codes.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use hearthkey_core::id::Fingerprint;
use hearthkey_core::person::RECOVERY_CODES;
use hearthkey_core::time::Timestamp;
use totp_rs::{Builder, Secret};
use zeroize::Zeroizing;

/// 19 MiB, 2 passes, 1 lane: OWASP's least, because a second factor is beside it and a Raspberry Pi behind it.
const ARGON2_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;
/// Seconds that a code is good for; one more before and after is taken (RFC 6238 §5.2).
const STEP_S: u64 = 30;
/// Characters of a recovery code: 20 of 32, so 100 bits.
const CODE_CHARS: usize = 20;
/// Without those that are taken for one another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

fn argon2() -> Argon2<'static> {
    let params = Params::new(ARGON2_KIB, ARGON2_PASSES, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// A password, stretched, as a PHC string.
pub(crate) fn stretch(password: &str) -> Option<String> {
    let salt = hearthkey_store::keys::random::<16>();
    let salt = SaltString::encode_b64(salt.as_slice()).ok()?;
    let hash = argon2().hash_password(password.as_bytes(), &salt).ok()?;
    Some(hash.to_string())
}

/// Whether a password is the one that was stretched. Where there is none, the same work is done in vain.
pub(crate) fn fits(password: &str, phc: Option<&str>) -> bool {
    let parsed = phc.and_then(|phc| PasswordHash::new(phc).ok());
    match parsed {
        Some(hash) => argon2().verify_password(password.as_bytes(), &hash).is_ok(),
        None => {
            let _ = stretch(password);
            false
        }
    }
}

/// A new secret for codes.
pub(crate) fn new_totp_secret() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(hearthkey_store::keys::random::<20>().to_vec())
}

/// The secret as text, and as what a QR code holds.
pub(crate) fn totp_texts(secret: &[u8], name: &str, home: &str) -> (String, String) {
    let text = Secret::from(secret.to_vec()).to_base32();
    let uri = format!(
        "otpauth://totp/Hearthkey:{name}%20({home})?secret={text}&issuer=Hearthkey&digits=6&period={STEP_S}"
    );
    (text, uri)
}

/// The step of a code that is good now, if it is one.
pub(crate) fn step_of(secret: &[u8], code: &str, now: Timestamp) -> Option<u64> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    if code.len() != 6 || !code.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let totp = Builder::new()
        .with_secret(secret.to_vec())
        .with_skew(1)
        .with_step_duration(STEP_S)
        .build()
        .ok()?;
    totp.check(&code, u64::try_from(now.as_s()).ok()?)
}

/// New recovery codes, as they are shown.
pub(crate) fn new_recovery_codes() -> Vec<Zeroizing<String>> {
    (0..RECOVERY_CODES).map(|_| new_recovery_code()).collect()
}

fn new_recovery_code() -> Zeroizing<String> {
    let bytes = hearthkey_store::keys::random::<CODE_CHARS>();
    let mut code = Zeroizing::new(String::with_capacity(CODE_CHARS + 3));
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 && place % 5 == 0 {
            code.push('-');
        }
        code.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    code
}

/// What is kept of a recovery code, however it was typed.
pub(crate) fn recovery_hash(code: &str) -> Fingerprint {
    let plain: Zeroizing<String> = Zeroizing::new(
        code.chars()
            .filter(|c| c.is_ascii_alphanumeric())
            .take(2 * CODE_CHARS)
            .collect(),
    );
    Fingerprint::of(plain.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_and_no_other() {
        let phc = stretch("correct horse").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(fits("correct horse", Some(&phc)));
        assert!(!fits("correct hors", Some(&phc)));
        assert!(!fits("correct horse", None));
        assert!(!fits("correct horse", Some("not a hash")));
    }

    #[test]
    fn a_code_is_good_for_its_step_and_the_ones_beside_it() {
        // RFC 6238, appendix B: the secret is "12345678901234567890"; eight digits there, the last six here.
        let secret = b"12345678901234567890";
        let at = Timestamp::from_s;
        assert_eq!(step_of(secret, "287082", at(59)), Some(1));
        assert_eq!(
            step_of(secret, "081804", at(1_111_111_109)),
            Some(37_037_036)
        );
        assert_eq!(step_of(secret, "287 082", at(89)), Some(1));
        assert_eq!(step_of(secret, "287082", at(120)), None);
        for bad in ["", "28708", "2870822", "28708a", "٢٨٧٠٨٢"] {
            assert_eq!(step_of(secret, bad, at(59)), None, "{bad}");
        }
    }

    #[test]
    fn a_recovery_code_is_known_again_however_it_is_typed() {
        let code = new_recovery_code();
        assert_eq!(code.len(), 23);
        let typed = code.replace('-', " ");
        assert_eq!(recovery_hash(&code), recovery_hash(&typed));
        assert_ne!(recovery_hash(&code), recovery_hash(&new_recovery_code()));
        assert_eq!(new_recovery_codes().len(), RECOVERY_CODES);
    }
}
