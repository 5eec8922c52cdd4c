//! Proofs of possession, good and malformed: nothing but the one form is taken.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearthkey_core::id::Fingerprint;
use hearthkey_core::proof::KeyId;
use hearthkey_pki::{ProofError, read_proof};

fn key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

fn coordinates(key: &EcdsaKeyPair) -> (String, String) {
    let point = key.public_key().as_ref();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    (encode(&point[1..33]), encode(&point[33..]))
}

fn jwk(key: &EcdsaKeyPair, more: &str) -> String {
    let (x, y) = coordinates(key);
    format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"{more}}}"#)
}

fn header(jwk: &str) -> String {
    format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{jwk}}}"#)
}

const CLAIMS: &str = r#"{"jti":"a","htm":"GET","htu":"https://h/x","iat":1700000000,"ath":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","more":1}"#;

fn sign(key: &EcdsaKeyPair, header: &str, claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_good_proof_is_read_with_the_thumbprint_of_its_key() {
    let key = key();
    let proof = read_proof(&sign(&key, &header(&jwk(&key, "")), CLAIMS)).unwrap();
    let (x, y) = coordinates(&key);
    let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    assert_eq!(proof.key, KeyId(Fingerprint::of(thumbprint.as_bytes())));
    assert_eq!(proof.token, Some(Fingerprint([1; 32])));
    assert_eq!((proof.method.as_str(), proof.id.as_str()), ("GET", "a"));
    let named = header(&jwk(&key, r#","kid":"1","use":"sig","key_ops":["verify"]"#));
    assert!(read_proof(&sign(&key, &named, CLAIMS)).is_ok());
}

#[test]
fn a_header_of_another_kind_is_refused() {
    let key = key();
    let jwk = |more| jwk(&key, more);
    let (x, y) = coordinates(&key);
    let ec = |crv: &str, x: &str, y: &str| {
        format!(r#"{{"kty":"EC","crv":"{crv}","x":"{x}","y":"{y}"}}"#)
    };
    for bad in [
        header("{}"),
        header("null"),
        header(&jwk(r#","d":"AQ""#)),
        header(&jwk(r#","x":"AQ""#)),
        header(&jwk(r#","x5c":[]"#)),
        header(&ec("P-384", &x, &y)),
        header(&ec("P-256", &y, &x)),
        header(&ec("P-256", &x[..42], &y)),
        header(&ec("P-256", &format!("{x}="), &y)),
        header(r#"{"kty":"oct","k":"AQ"}"#),
        header(&jwk("")).replace("ES256", "none"),
        header(&jwk("")).replace("ES256", "HS256"),
        header(&jwk("")).replace("ES256", "es256"),
        header(&jwk("")).replace("dpop+jwt", "JWT"),
        header(&jwk("")).replace(r#""alg""#, r#""crit":["b64"],"b64":false,"alg""#),
        header(&jwk("")).replace(r#""alg""#, r#""alg":"ES256","alg""#),
        header(&jwk("")).replace(r#""typ":"dpop+jwt","#, ""),
        header(&jwk("")) + " x",
        "[]".into(),
        String::new(),
    ] {
        assert!(read_proof(&sign(&key, &bad, CLAIMS)).is_err(), "{bad}");
    }
}

#[test]
fn claims_that_lack_something_are_refused() {
    let key = key();
    let header = header(&jwk(&key, ""));
    let long = CLAIMS.replace(r#""a""#, &format!(r#""{}""#, "a".repeat(129)));
    for bad in [
        "{}",
        "[]",
        "null",
        &CLAIMS.replace("1700000000", "1.5"),
        &CLAIMS.replace("1700000000", r#""1700000000""#),
        &CLAIMS.replace("1700000000", "99999999999999999999"),
        &CLAIMS.replace(r#""jti":"a","#, ""),
        &CLAIMS.replace(r#""jti":"a","#, r#""jti":"","#),
        &CLAIMS.replace(r#""jti":"a","#, r#""jti":"a","jti":"b","#),
        &CLAIMS.replace(r#""htm":"GET","#, ""),
        &CLAIMS.replace("AQEB", "AQE"),
        &long,
        &CLAIMS.replace(r#""more":1"#, &format!(r#""more":"{}""#, "x".repeat(5000))),
    ] {
        assert!(read_proof(&sign(&key, &header, bad)).is_err(), "{bad}");
    }
}

#[test]
fn a_proof_with_any_character_changed_cut_or_added_is_refused() {
    let key = key();
    let good = sign(&key, &header(&jwk(&key, "")), CLAIMS);
    for place in 0..good.len() {
        for new in [b'A', b'.', b'=', b'\n', b'-'] {
            let mut bad = good.clone().into_bytes();
            if bad[place] == new {
                continue;
            }
            bad[place] = new;
            let bad = String::from_utf8(bad).unwrap();
            assert!(read_proof(&bad).is_err(), "{place}: {bad}");
        }
        assert!(read_proof(&good[..place]).is_err(), "cut at {place}");
        let added = format!("{}.{}", &good[..place], &good[place..]);
        assert!(read_proof(&added).is_err(), "{added}");
    }
    assert_eq!(
        read_proof(&good.repeat(20)),
        Err(ProofError::TooLong),
        "nothing endless is read"
    );
}

#[test]
fn a_signature_of_another_key_or_in_der_is_refused() {
    let (key, other) = (key(), self::key());
    let stolen = sign(&other, &header(&jwk(&key, "")), CLAIMS);
    assert_eq!(read_proof(&stolen), Err(ProofError::Signature));
    let good = sign(&key, &header(&jwk(&key, "")), CLAIMS);
    let (signed, _) = good.rsplit_once('.').unwrap();
    for signature in [vec![0; 64], vec![0xff; 64], vec![], vec![0x30; 70]] {
        let bad = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert!(read_proof(&bad).is_err());
    }
}
