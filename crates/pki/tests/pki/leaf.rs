//! What a leaf says: the policy, and nothing that the device asked for.

use hearthkey_core::certificate::{BACKDATE, CertificateState};
use hearthkey_core::id::Fingerprint;
use hearthkey_core::time::Span;
use hearthkey_pki::{IssueError, SigningKey, read_csr};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use crate::csr::greedy_csr;
use crate::home::{Home, now, order, proven, serial};
use crate::openssl::{openssl, said};

#[test]
fn a_greedy_csr_yields_a_leaf_in_which_every_field_is_policy() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let csr = read_csr(greedy_csr(&key).as_bytes()).unwrap();
    let issued = home
        .issuing
        .sign(order("lamp", "home", csr, now()))
        .unwrap();

    let (rest, leaf) = X509Certificate::from_der(&issued.der).unwrap();
    assert!(rest.is_empty());
    assert_eq!(leaf.version(), X509Version::V3);
    assert_eq!(leaf.raw_serial(), serial(7).as_bytes());
    assert_eq!(leaf.subject().to_string(), "CN=lamp");
    assert_eq!(leaf.issuer().to_string(), home.issuing.certificate().name);
    assert_eq!(
        leaf.validity().not_before.timestamp(),
        now().before(BACKDATE).as_s()
    );
    assert_eq!(
        leaf.validity().not_after.timestamp(),
        now().after(Span::days(30)).as_s()
    );
    assert_eq!(leaf.public_key().raw, key.spki());
    let ecdsa_with_sha256 = "1.2.840.10045.4.3.2";
    assert_eq!(
        leaf.signature_algorithm.algorithm.to_id_string(),
        ecdsa_with_sha256
    );
    assert!(issued.der.len() <= 800, "{} bytes", issued.der.len());

    assert_eq!(issued.certificate.fingerprint, Fingerprint::of(&issued.der));
    assert_eq!(issued.certificate.key, key.fingerprint());
    assert_eq!(issued.certificate.state, CertificateState::Issued);
}

#[test]
fn a_leaf_has_six_extensions_and_no_other() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let der = home.enroll(&key).der;
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    let mut seen = Vec::new();
    for extension in leaf.extensions() {
        seen.push((extension.oid.to_id_string(), extension.critical));
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                assert_eq!(
                    id.key_identifier.as_ref().unwrap().0,
                    home.issuing.certificate().ski
                );
                assert!(id.authority_cert_issuer.is_none() && id.authority_cert_serial.is_none());
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                let expected = [GeneralName::DNSName("lamp.home.home.arpa")];
                assert_eq!(names.general_names, expected);
            }
            ParsedExtension::KeyUsage(usage) => assert_eq!(usage.flags, 1, "{usage}"),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                assert!(usage.client_auth && !usage.any && !usage.server_auth);
                assert!(!usage.code_signing && !usage.email_protection && !usage.time_stamping);
                assert!(!usage.ocsp_signing && usage.other.is_empty());
            }
            ParsedExtension::SubjectKeyIdentifier(id) => assert_eq!(id.0.len(), 20),
            ParsedExtension::BasicConstraints(basic) => {
                assert!(!basic.ca && basic.path_len_constraint.is_none());
                assert_eq!(
                    extension.value,
                    [0x30, 0],
                    "CA:FALSE is the default, so not written"
                );
            }
            other => panic!("an extension too many: {other:?}"),
        }
    }
    seen.sort();
    let expected = [
        ("2.5.29.14", false),
        ("2.5.29.15", true),
        ("2.5.29.17", false),
        ("2.5.29.19", true),
        ("2.5.29.35", false),
        ("2.5.29.37", false),
    ];
    assert_eq!(
        seen,
        expected.map(|(oid, critical)| (oid.to_owned(), critical))
    );
}

#[test]
fn the_largest_leaf_of_a_p256_key_has_at_most_800_bytes() {
    let long = "x".repeat(63);
    let home = Home::named(&"h".repeat(49), &long);
    let sizes = (0..32).map(|_| {
        let key = proven(&SigningKey::generate().unwrap());
        home.issuing
            .sign(order(&long, &long, key, now()))
            .unwrap()
            .der
            .len()
    });
    let largest = sizes.max().unwrap();
    assert!(largest <= 800, "{largest} bytes");
}

#[test]
fn p384_and_rsa_keys_are_certified_unchanged() {
    let home = Home::new();
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_RSA_SHA256] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let csr = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let proven = read_csr(csr.pem().unwrap().as_bytes()).unwrap();
        let spki = proven.spki.clone();
        let issued = home
            .issuing
            .sign(order("lamp", "home", proven, now()))
            .unwrap();
        let (_, leaf) = X509Certificate::from_der(&issued.der).unwrap();
        assert_eq!(leaf.public_key().raw, spki);
    }
}

#[test]
fn an_issuing_ca_signs_for_its_own_environment_only() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let refusal = home
        .issuing
        .sign(order("lamp", "garage", proven(&key), now()))
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the certificate is ordered for environment garage, and this CA issues for home only"
    );
    for ca in [&home.root, &home.server_ca] {
        let refusal = ca
            .sign(order("lamp", "home", proven(&key), now()))
            .unwrap_err();
        assert!(
            matches!(refusal, IssueError::NotItsRole { .. }),
            "{refusal}"
        );
    }
}

#[test]
fn a_leaf_does_not_outlive_its_ca() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let late = home.issuing.certificate().not_after.before(Span::days(29));
    let refusal = home
        .issuing
        .sign(order("lamp", "home", proven(&key), late))
        .unwrap_err();
    assert!(
        matches!(refusal, IssueError::OutlivesItsCa { .. }),
        "{refusal}"
    );
    let in_time = late.before(Span::days(1));
    assert!(
        home.issuing
            .sign(order("lamp", "home", proven(&key), in_time))
            .is_ok()
    );
}

#[test]
fn openssl_accepts_the_chain_for_a_tls_client_and_for_nothing_else() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name, pem: String| std::fs::write(directory.path().join(name), pem).unwrap();
    write("root.pem", home.root.certificate().pem());
    write("issuing.pem", home.issuing.certificate().pem());
    write("leaf.pem", hearthkey_pki::pem(&home.enroll(&key).der));
    let at = now().as_s().to_string();
    let verify = |purpose| {
        let chain = [
            "-CAfile",
            "root.pem",
            "-untrusted",
            "issuing.pem",
            "leaf.pem",
        ];
        let arguments = [
            &[
                "verify",
                "-x509_strict",
                "-attime",
                &at,
                "-purpose",
                purpose,
            ],
            &chain[..],
        ];
        openssl(directory.path(), &arguments.concat())
    };
    let Some(client) = verify("sslclient") else {
        return;
    };
    assert!(client.status.success(), "{}", said(&client));
    assert!(!verify("sslserver").unwrap().status.success());
}
