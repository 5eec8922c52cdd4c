//! What is taken from a CSR, and what is refused.

use hearthkey_core::key::{CsrRefusal, KeyType};
use hearthkey_pki::{SigningKey, read_csr};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, PublicKeyData, RsaKeySize, SignatureAlgorithm, SigningKey as _,
};

use crate::openssl::openssl;

const ECDSA_SHA256: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const NO_ATTRIBUTES: &[u8] = &[0xa0, 0];
const NO_NAME: &[u8] = &[0x30, 0];
const VERSION_1: &[u8] = &[2, 1, 0];

/// The CSR of a device that asks for everything.
pub fn greedy_csr(key: &SigningKey) -> String {
    let names = vec!["root.example".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "some-other-device");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::Any,
    ];
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn csr_with(key: &KeyPair) -> Vec<u8> {
    let csr = CertificateParams::default().serialize_request(key).unwrap();
    csr.pem().unwrap().into_bytes()
}

fn csr_of(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
    csr_with(&KeyPair::generate_for(algorithm).unwrap())
}

fn csr_der(key: &SigningKey) -> Vec<u8> {
    let csr = CertificateParams::default().serialize_request(key).unwrap();
    csr.der().to_vec()
}

fn pem_of(der: &[u8]) -> Vec<u8> {
    hearthkey_pki::pem(der)
        .replace("CERTIFICATE", "CERTIFICATE REQUEST")
        .into_bytes()
}

fn tlv(identifier: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut element = vec![identifier];
    match content.len() {
        short @ 0..0x80 => element.push(short as u8),
        medium @ 0x80..0x100 => element.extend([0x81, medium as u8]),
        long => element.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    element.extend(content);
    element
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

/// A CSR with these parts, rightly signed with this key.
fn signed(key: &SigningKey, parts: &[&[u8]]) -> Vec<u8> {
    let info = sequence(parts);
    let signature = tlv(3, &[&[0], &key.sign(&info).unwrap()]);
    sequence(&[&info, ECDSA_SHA256, &signature])
}

#[test]
fn only_the_key_is_taken_from_a_csr() {
    let key = SigningKey::generate().unwrap();
    let proven = read_csr(greedy_csr(&key).as_bytes()).unwrap();
    assert_eq!(proven.key_type, KeyType::P256);
    assert_eq!(proven.spki, key.spki());
    assert_eq!(proven.fingerprint, key.fingerprint());
}

#[test]
fn p256_p384_and_rsa_of_2048_to_4096_bits_are_accepted() {
    let rsa = |size| csr_with(&KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap());
    for (csr, key_type) in [
        (csr_of(&PKCS_ECDSA_P256_SHA256), KeyType::P256),
        (csr_of(&PKCS_ECDSA_P384_SHA384), KeyType::P384),
        (rsa(RsaKeySize::_2048), KeyType::Rsa2048),
        (rsa(RsaKeySize::_3072), KeyType::Rsa2048),
    ] {
        assert_eq!(read_csr(&csr).map(|key| key.key_type), Ok(key_type));
    }
}

#[test]
fn keys_that_common_devices_fail_on_are_refused() {
    for algorithm in [&PKCS_ECDSA_P521_SHA512, &PKCS_ED25519] {
        let refusal = read_csr(&csr_of(algorithm)).unwrap_err();
        assert_eq!(refusal, CsrRefusal::KeyUnsupported, "{algorithm:?}");
    }
}

#[test]
fn rsa_keys_that_are_too_small_or_too_large_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (bits, expected) in [
        ("1024", Err(CsrRefusal::KeyUnsupported)),
        ("2047", Err(CsrRefusal::KeyUnsupported)),
        ("2048", Ok(KeyType::Rsa2048)),
        ("4104", Err(CsrRefusal::KeyUnsupported)),
    ] {
        let size = format!("rsa:{bits}");
        let arguments = ["req", "-new", "-newkey", &size, "-nodes", "-subj", "/CN=x"];
        let arguments = [&arguments[..], &["-keyout", "/dev/null"]].concat();
        let Some(output) = openssl(directory.path(), &arguments) else {
            return;
        };
        let read = read_csr(&output.stdout).map(|key| key.key_type);
        assert_eq!(read, expected, "{bits} bits");
    }
}

#[test]
fn a_csr_signed_by_another_key_is_refused() {
    let [own, other] = [(); 2].map(|()| SigningKey::generate().unwrap());
    let der = signed(&other, &[VERSION_1, NO_NAME, &own.spki(), NO_ATTRIBUTES]);
    assert_eq!(read_csr(&pem_of(&der)), Err(CsrRefusal::SignatureInvalid));
    let der = signed(&own, &[VERSION_1, NO_NAME, &own.spki(), NO_ATTRIBUTES]);
    assert!(read_csr(&pem_of(&der)).is_ok());
}

#[test]
fn no_byte_is_left_over_in_a_csr() {
    let key = SigningKey::generate().unwrap();
    let spki = key.spki();
    let null: &[u8] = &[5, 0];
    let good = csr_der(&key);
    let header_bytes = 2 + usize::from(good[1] & 0x7f);
    let body = |extra: &[u8]| sequence(&[&good[header_bytes..], extra]);
    assert_eq!(body(&[]), good);
    let spki_and_more = sequence(&[&spki[2..], null]);
    let cases: [(&str, Vec<u8>); 8] = [
        ("after the CSR", [good.as_slice(), null].concat()),
        ("one byte after the CSR", [good.as_slice(), &[0]].concat()),
        ("in the CSR", body(null)),
        (
            "in the info",
            signed(&key, &[VERSION_1, NO_NAME, &spki, NO_ATTRIBUTES, null]),
        ),
        (
            "in the key",
            signed(&key, &[VERSION_1, NO_NAME, &spki_and_more, NO_ATTRIBUTES]),
        ),
        (
            "version 2",
            signed(&key, &[&[2, 1, 1], NO_NAME, &spki, NO_ATTRIBUTES]),
        ),
        ("no attributes", signed(&key, &[VERSION_1, NO_NAME, &spki])),
        ("no name", signed(&key, &[VERSION_1, &spki, NO_ATTRIBUTES])),
    ];
    for (what, der) in cases {
        assert_eq!(
            read_csr(&pem_of(&der)),
            Err(CsrRefusal::Malformed),
            "{what}"
        );
    }
}

#[test]
fn a_key_has_one_canonical_form_and_no_other() {
    let key = SigningKey::generate().unwrap();
    let point = key.der_bytes();
    let algorithm = &key.spki()[2..23];
    let spki = |point: &[u8]| sequence(&[algorithm, &tlv(3, &[&[0], point])]);
    assert_eq!(spki(point), key.spki());
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    let long_length = [&[0x30, 0x81, 89][..], &key.spki()[2..]].concat();
    for (spki, expected) in [
        (spki(&compressed), CsrRefusal::KeyUnsupported),
        (spki(&point[..64]), CsrRefusal::Malformed),
        (spki(&[]), CsrRefusal::Malformed),
        (long_length, CsrRefusal::Malformed),
    ] {
        let der = signed(&key, &[VERSION_1, NO_NAME, &spki, NO_ATTRIBUTES]);
        assert_eq!(read_csr(&pem_of(&der)), Err(expected));
    }
}

#[test]
fn a_request_is_one_pem_block_with_white_space_around_it() {
    let key = SigningKey::generate().unwrap();
    let pem = String::from_utf8(pem_of(&csr_der(&key))).unwrap();
    let end = "-----END CERTIFICATE REQUEST-----";
    for good in [
        pem.clone(),
        format!("\r\n \t{pem}\n\n"),
        pem.trim_end().to_owned(),
        pem.replace('\n', "\r\n"),
    ] {
        assert!(read_csr(good.as_bytes()).is_ok(), "{good:?}");
    }
    for bad in [
        String::new(),
        "{}".to_owned(),
        format!("{pem}{pem}"),
        format!("{pem}x"),
        format!("{pem}\0"),
        format!("x{pem}"),
        format!("{pem}rest {end}"),
        pem.replace(end, &format!("{end} ")).replace('\n', "\n!"),
        pem.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        pem.replace("CERTIFICATE REQUEST", "PRIVATE KEY"),
        pem.replacen('M', "*", 1),
    ] {
        assert_eq!(
            read_csr(bad.as_bytes()),
            Err(CsrRefusal::Malformed),
            "{bad:?}"
        );
    }
}

#[test]
fn a_request_of_more_than_16_kib_is_not_looked_at() {
    let key = SigningKey::generate().unwrap();
    let mut csr = pem_of(&csr_der(&key));
    csr.resize(16 * 1024, b'\n');
    assert!(read_csr(&csr).is_ok());
    csr.push(b'\n');
    assert_eq!(read_csr(&csr), Err(CsrRefusal::TooLarge));
    assert_eq!(read_csr(&[b'-'; 20 * 1024]), Err(CsrRefusal::TooLarge));
}

#[test]
fn a_csr_cut_short_anywhere_is_refused() {
    let key = SigningKey::generate().unwrap();
    let pem = greedy_csr(&key).into_bytes();
    let whole = pem.trim_ascii_end().len();
    for length in 0..whole {
        assert_eq!(read_csr(&pem[..length]), Err(CsrRefusal::Malformed));
    }
    let der = csr_der(&key);
    for length in 0..der.len() {
        let cut = pem_of(&der[..length]);
        assert_eq!(read_csr(&cut), Err(CsrRefusal::Malformed), "{length}");
    }
}

#[test]
fn a_csr_with_any_bit_flipped_is_refused() {
    let der = csr_der(&SigningKey::generate().unwrap());
    for bit in 0..der.len() * 8 {
        let mut flipped = der.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read_csr(&pem_of(&flipped)).is_err(), "bit {bit}");
    }
}
