//! What is read of a certificate's strength, of ours and of anybody's.

use hearthkey_core::posture::strength::{Algorithms, Digest, PublicKey};
use hearthkey_pki::{SigningKey, algorithms, keys_in_pem, pem, read_csr};
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize,
};

use crate::home::{Home, now, order};
use crate::openssl::openssl;

fn self_signed(key: &KeyPair) -> Vec<u8> {
    let certificate = CertificateParams::default().self_signed(key).unwrap();
    certificate.der().to_vec()
}

#[test]
fn the_homes_own_certificates_are_p256_over_a_sound_digest() {
    let home = Home::new();
    let ours = Some(Algorithms {
        key: PublicKey::Ec(256),
        digest: Digest::Sound,
    });
    let leaf = home.enroll(&SigningKey::generate().unwrap()).der;
    assert_eq!(algorithms(&leaf), ours);
    assert_eq!(algorithms(&home.issuing.certificate().der), ours);
    assert_eq!(algorithms(b"no certificate"), None);
}

#[test]
fn the_length_of_an_rsa_key_is_told_to_the_bit() {
    let home = Home::new();
    for (size, bits) in [(RsaKeySize::_2048, 2048), (RsaKeySize::_3072, 3072)] {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap();
        let csr = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let proven = read_csr(csr.pem().unwrap().as_bytes()).unwrap();
        let leaf = home.issuing.sign(order("lamp", "home", proven, now()));
        let read = algorithms(&leaf.unwrap().der).unwrap();
        assert_eq!(read.key, PublicKey::Rsa(bits));
        assert_eq!(read.digest, Digest::Sound, "the home signs over SHA-256");
    }
}

#[test]
fn other_curves_are_told_by_their_field_and_other_keys_as_such() {
    for (algorithm, key) in [
        (&PKCS_ECDSA_P384_SHA384, PublicKey::Ec(384)),
        (&PKCS_ECDSA_P521_SHA512, PublicKey::Ec(521)),
        (&PKCS_ED25519, PublicKey::Other),
    ] {
        let der = self_signed(&KeyPair::generate_for(algorithm).unwrap());
        assert_eq!(algorithms(&der).map(|read| read.key), Some(key));
    }
}

#[test]
fn every_certificate_of_a_pem_is_read() {
    let one = pem(&self_signed(&KeyPair::generate().unwrap()));
    let two = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let both = one + &pem(&self_signed(&two));
    assert_eq!(
        keys_in_pem(&both),
        [PublicKey::Ec(256), PublicKey::Rsa(2048)]
    );
    assert_eq!(keys_in_pem("nothing"), []);
}

#[test]
fn what_openssl_signs_over_sha1_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = [
        "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", "key.pem", "-subj", "/CN=old",
        "-sha1", "-out", "old.der", "-outform", "DER",
    ];
    let Some(output) = openssl(directory.path(), &arguments) else {
        return;
    };
    let Ok(der) = std::fs::read(directory.path().join("old.der")) else {
        // Some builds refuse to sign over SHA-1 at all.
        return eprintln!("less: {}", crate::openssl::said(&output));
    };
    let old = Algorithms {
        key: PublicKey::Rsa(1024),
        digest: Digest::Broken,
    };
    assert_eq!(algorithms(&der), Some(old));
}
