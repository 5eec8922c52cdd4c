//! Revocation lists for others.

use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::time::Span;
use hearthkey_pki::{
    CertificateAuthority, CrlError, RevokedEntry, SigningKey, check_crl, crl_life,
};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::home::{Home, now, serial};
use crate::openssl::{openssl, said};

fn entries() -> Vec<RevokedEntry> {
    RevocationReason::ALL
        .into_iter()
        .zip(20..)
        .map(|(reason, seed)| RevokedEntry {
            serial: serial(seed),
            at: now(),
            reason,
        })
        .collect()
}

fn crl_of(ca: &CertificateAuthority, revoked: Vec<RevokedEntry>) -> Vec<u8> {
    ca.crl(7, revoked, now(), now().after(Span::days(7)))
        .unwrap()
}

#[test]
fn a_crl_names_every_revoked_certificate_and_why() {
    let home = Home::new();
    let der = crl_of(&home.issuing, entries());
    let (rest, crl) = CertificateRevocationList::from_der(&der).unwrap();
    assert!(rest.is_empty());
    assert_eq!(crl.version().map(|version| version.0), Some(1));
    assert_eq!(crl.crl_number().map(ToString::to_string), Some("7".into()));
    assert_eq!(crl.last_update().timestamp(), now().as_s());
    let authority = crl
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        });
    assert_eq!(authority.unwrap().0, home.issuing.certificate().ski);
    let found: Vec<_> = crl
        .iter_revoked_certificates()
        .map(|entry| {
            let reason = entry.reason_code().map_or(0, |(_, reason)| reason.0);
            (entry.raw_serial().to_vec(), reason)
        })
        .collect();
    let expected: Vec<_> = entries()
        .iter()
        .map(|entry| (entry.serial.as_bytes().to_vec(), entry.reason.code()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_crl_signed_by_another_key_is_refused() {
    let home = Home::new();
    let twin = Home::new();
    let crl = crl_of(&twin.issuing, entries());
    assert!(check_crl(&crl, twin.issuing.certificate()).is_ok());
    let refusal = check_crl(&crl, home.issuing.certificate());
    assert!(matches!(refusal, Err(CrlError::Signature)), "{refusal:?}");
    let refusal = check_crl(&crl, home.server_ca.certificate());
    assert!(matches!(refusal, Err(CrlError::OtherIssuer)), "{refusal:?}");
}

#[test]
fn a_crl_with_any_byte_changed_or_cut_off_is_refused() {
    let home = Home::new();
    let der = crl_of(&home.issuing, entries());
    for at in 0..der.len() {
        assert!(check_crl(&der[..at], home.issuing.certificate()).is_err());
        let mut changed = der.clone();
        changed[at] ^= 0x11;
        assert!(
            check_crl(&changed, home.issuing.certificate()).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn a_crl_must_end_after_it_begins() {
    let home = Home::new();
    let refusal = home.issuing.crl(1, [], now(), now());
    assert!(matches!(refusal, Err(CrlError::NextUpdate)));
}

#[test]
fn a_crl_says_when_it_was_made_and_when_the_next_is_due() {
    let home = Home::new();
    for ca in [&home.root, &home.server_ca, &home.issuing] {
        let life = crl_life(&crl_of(ca, Vec::new()));
        assert_eq!(life, Some((now(), now().after(Span::days(7)))));
    }
    assert_eq!(crl_life(&home.root.certificate().der), None);
}

#[test]
fn openssl_verifies_the_crl_and_finds_the_revoked_leaf_in_it() {
    let home = Home::new();
    let issued = home.enroll(&SigningKey::generate().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let write = |name, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
    let cas = [
        home.root.certificate().clone(),
        home.issuing.certificate().clone(),
    ];
    write("cas.pem", hearthkey_pki::pem_bundle(&cas).as_bytes());
    write("leaf.pem", hearthkey_pki::pem(&issued.der).as_bytes());
    let revoked = RevokedEntry {
        serial: issued.certificate.serial,
        at: now(),
        reason: RevocationReason::KeyCompromise,
    };
    let at = now().as_s().to_string();
    let mut verdicts = Vec::new();
    for list in [vec![revoked], vec![]] {
        write("list.crl", &crl_of(&home.issuing, list));
        let check = [
            "crl", "-inform", "DER", "-in", "list.crl", "-CAfile", "cas.pem", "-out", "list.pem",
        ];
        let Some(signature) = openssl(directory.path(), &check) else {
            return;
        };
        assert!(
            said(&signature).contains("verify OK"),
            "{}",
            said(&signature)
        );
        let verify = ["verify", "-attime", &at, "-crl_check", "-CAfile", "cas.pem"];
        let verify = [&verify[..], &["-CRLfile", "list.pem", "leaf.pem"]].concat();
        verdicts.push(said(&openssl(directory.path(), &verify).unwrap()));
    }
    assert!(
        verdicts[0].contains("certificate revoked"),
        "{}",
        verdicts[0]
    );
    assert!(verdicts[1].contains("leaf.pem: OK"), "{}", verdicts[1]);
}
