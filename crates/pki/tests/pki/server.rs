//! How the listener speaks TLS.

use std::net::IpAddr;
use std::sync::Arc;

use hearthkey_core::certificate::CertificateState;
use hearthkey_core::id::Fingerprint;
use hearthkey_core::time::Span;
use hearthkey_pki::{
    CertificateAuthority, ClientVerifier, IssueError, SigningKey, life_of, needs_reissue, provider,
    server_config,
};
use rustls::server::danger::ClientCertVerifier;
use rustls::{AlertDescription, HandshakeKind, ProtocolVersion};
use rustls_pki_types::ServerName;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::handshake::{VERSIONS, shake};
use crate::home::{Home, now, order, proven, serial};
use crate::openssl::{openssl, said};

fn names() -> [ServerName<'static>; 3] {
    [
        ServerName::try_from("hearthkey.local").unwrap(),
        ServerName::from("192.168.1.2".parse::<IpAddr>().unwrap()),
        ServerName::from("fd00::2".parse::<IpAddr>().unwrap()),
    ]
}

fn server_leaf(ca: &CertificateAuthority, key: &SigningKey) -> Vec<u8> {
    ca.issue_server(key, &names(), serial(5), now()).unwrap()
}

#[test]
fn nobody_resumes_a_session_and_so_a_revoked_device_cannot() {
    for version in VERSIONS {
        let home = Home::new();
        let key = SigningKey::generate().unwrap();
        let der = home.enroll(&key).der;
        let door = home.door();
        let client = Arc::new(home.client(version, Some((&der, &key.to_pkcs8()))));
        let state = |state| {
            let mut access = home.access.write().unwrap();
            access.set_certificate_state(&Fingerprint::of(&der), state);
        };
        for _ in 0..3 {
            let shaken = shake(&door, &client);
            assert_eq!(shaken.alert(), None);
            assert_eq!(shaken.client.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(shaken.client.tls13_tickets_received(), 0);
        }
        state(CertificateState::Revoked);
        let told = shake(&door, &client).alert();
        assert_eq!(told, Some(AlertDescription::CertificateRevoked));
    }
}

#[test]
fn without_a_certificate_the_door_opens_only_while_the_bell_rings() {
    let home = Home::new();
    let door = home.door();
    for version in VERSIONS {
        let client = Arc::new(home.client(version, None));
        let told = shake(&door, &client).alert();
        assert_eq!(
            told,
            Some(AlertDescription::CertificateRequired),
            "{version:?}"
        );
        home.ring();
        let shaken = shake(&door, &client);
        assert_eq!(shaken.alert(), None);
        assert!(!shaken.server.is_handshaking());
        assert!(shaken.server.peer_certificates().is_none());
        home.set_clock(now().after(Span::hours(2)));
        assert!(shake(&door, &client).alert().is_some());
        *home.access.write().unwrap() = Default::default();
        home.set_clock(now());
    }
}

#[test]
fn a_bell_does_not_excuse_a_bad_certificate() {
    let home = Home::new();
    home.ring();
    let key = SigningKey::generate().unwrap();
    let der = Home::named("eve", "home").enroll(&key).der;
    for version in VERSIONS {
        let client = Arc::new(home.client(version, Some((&der, &key.to_pkcs8()))));
        let told = shake(&home.door(), &client).alert();
        assert_eq!(told, Some(AlertDescription::UnknownCA));
    }
}

#[test]
fn the_root_is_sent_to_clients_that_enroll_and_to_no_other() {
    let home = Home::new();
    home.ring();
    let door = home.door();
    for (offered, agreed, certificates) in [
        (vec![], None, 2),
        (vec!["mqtt"], Some("mqtt"), 2),
        (vec!["x-amzn-mqtt-ca"], Some("x-amzn-mqtt-ca"), 2),
        (vec!["http/1.1", "mqtt"], Some("mqtt"), 2),
        (vec!["hearthkey-enroll"], Some("hearthkey-enroll"), 3),
        (
            vec!["mqtt", "hearthkey-enroll"],
            Some("hearthkey-enroll"),
            3,
        ),
    ] {
        for version in VERSIONS {
            let mut client = home.client(version, None);
            client.alpn_protocols = offered
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect();
            let shaken = shake(&door, &Arc::new(client));
            assert_eq!(shaken.alert(), None);
            assert_eq!(shaken.server.alpn_protocol(), agreed.map(str::as_bytes));
            let sent = shaken.client.peer_certificates().unwrap();
            assert_eq!(sent.len(), certificates, "{offered:?}");
            let root = &home.root.certificate().der;
            assert_eq!(
                sent.iter().any(|der| der.as_ref() == root),
                certificates == 3
            );
        }
    }
}

#[test]
fn a_client_that_speaks_another_protocol_only_is_refused() {
    let home = Home::new();
    home.ring();
    let mut client = home.client(VERSIONS[1], None);
    client.alpn_protocols = vec![b"h2".to_vec()];
    let told = shake(&home.door(), &Arc::new(client)).alert();
    assert_eq!(told, Some(AlertDescription::NoApplicationProtocol));
}

#[test]
fn only_ecdhe_with_an_aead_is_spoken() {
    for suite in &provider().cipher_suites {
        let name = format!("{:?}", suite.suite());
        let tls12 = suite.version().version == ProtocolVersion::TLSv1_2;
        let ecdhe_gcm = name.contains("ECDHE") && name.contains("GCM");
        assert!(!tls12 || ecdhe_gcm, "{name}");
    }
}

#[test]
fn a_ca_and_its_successor_are_both_trusted_and_hinted_by_one_name() {
    let home = Home::new();
    let successor = home
        .root
        .new_issuing(&"home".parse().unwrap(), serial(8), now())
        .unwrap();
    let cas = [&home.issuing, &successor].map(|ca| ca.certificate().clone());
    let access = Arc::clone(&home.access);
    let verifier = ClientVerifier::new(&cas, access, Arc::new(now));
    assert_eq!(verifier.root_hint_subjects().len(), 1);
    let key = SigningKey::generate().unwrap();
    for ca in [&home.issuing, &successor] {
        let order = order("lamp", "home", proven(&key), now());
        let issued = ca.sign(order).unwrap();
        home.admit(&issued.der, issued.certificate.not_after);
        assert!(verifier.judge(&issued.der).is_ok());
    }
}

#[test]
fn a_server_certificate_names_its_hosts_and_addresses() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let der = server_leaf(&home.server_ca, &key);
    let (_, x509) = X509Certificate::from_der(&der).unwrap();
    let usage = x509.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any);
    let names = x509.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names.len(), 3);
    assert_eq!(
        x509.basic_constraints()
            .unwrap()
            .map(|basic| basic.value.ca),
        Some(false)
    );
    let refusal = home
        .issuing
        .issue_server(&key, &self::names(), serial(5), now());
    assert!(matches!(refusal, Err(IssueError::NotItsRole { .. })));
    let refusal = home.server_ca.issue_server(&key, &[], serial(5), now());
    assert!(matches!(refusal, Err(IssueError::ServerNames)));
}

#[test]
fn openssl_accepts_the_server_certificate_for_its_host_and_address() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name, pem: String| std::fs::write(directory.path().join(name), pem).unwrap();
    write("root.pem", home.root.certificate().pem());
    write("ca.pem", home.server_ca.certificate().pem());
    write(
        "leaf.pem",
        hearthkey_pki::pem(&server_leaf(&home.server_ca, &key)),
    );
    let at = now().as_s().to_string();
    let names = [
        "-verify_hostname",
        "hearthkey.local",
        "-verify_ip",
        "192.168.1.2",
    ];
    let verify = [
        "verify",
        "-x509_strict",
        "-attime",
        &at,
        "-purpose",
        "sslserver",
    ];
    let chain = ["-CAfile", "root.pem", "-untrusted", "ca.pem", "leaf.pem"];
    let arguments = [&verify[..], &names, &chain].concat();
    if let Some(output) = openssl(directory.path(), &arguments) {
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn a_server_certificate_is_replaced_in_time_and_when_its_names_change() {
    let home = Home::new();
    let der = server_leaf(&home.server_ca, &SigningKey::generate().unwrap());
    let [host, v4, v6] = names();
    let reversed = [v6.clone(), v4.clone(), host.clone()];
    let ca = home.server_ca.certificate();
    assert!(!needs_reissue(&der, &reversed, ca, now()));
    assert!(!needs_reissue(
        &der,
        &names(),
        ca,
        now().after(Span::days(59))
    ));
    assert!(needs_reissue(
        &der,
        &names(),
        ca,
        now().after(Span::days(61))
    ));
    assert!(needs_reissue(
        &der,
        &names(),
        ca,
        now().before(Span::hours(2))
    ));
    assert!(needs_reissue(&der, &[host, v4], ca, now()));
    let more = [&names()[..], &[ServerName::try_from("pi.local").unwrap()]].concat();
    assert!(needs_reissue(&der, &more, ca, now()));
    assert!(needs_reissue(b"", &names(), ca, now()));
    let another = Home::new();
    assert!(needs_reissue(
        &der,
        &names(),
        another.server_ca.certificate(),
        now()
    ));
}

#[test]
fn a_server_ca_that_ends_signs_no_longer_than_it_lives_and_one_that_has_ended_signs_what_has_ended()
{
    let home = Home::new();
    let ca = home.server_ca.certificate();
    let key = SigningKey::generate().unwrap();
    for at in [
        ca.not_after.before(Span::days(10)),
        ca.not_after.after(Span::days(400)),
    ] {
        let leaf = home.server_ca.issue_server(&key, &names(), serial(9), at);
        let leaf = leaf.unwrap();
        let (begins, ends) = life_of(&leaf).unwrap();
        assert_eq!(ends, ca.not_after.whole_second());
        assert!(begins < ends);
        assert!(
            !needs_reissue(&leaf, &names(), ca, at),
            "nothing better can be had"
        );
    }
}

#[test]
fn a_server_key_must_be_the_certificates() {
    let home = Home::new();
    let [key, other] = [(); 2].map(|()| SigningKey::generate().unwrap());
    let der = server_leaf(&home.server_ca, &key);
    let chain = [home.server_ca.certificate().clone()];
    let refusal = server_config(&der, &chain, &other, home.verifier(), None).unwrap_err();
    let expected = "the server's private key does not belong to its certificate";
    assert_eq!(refusal.to_string(), expected);
}
