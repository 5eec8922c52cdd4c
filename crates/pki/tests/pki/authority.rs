//! The authorities themselves.

use hearthkey_core::certificate::BACKDATE;
use hearthkey_pki::{
    CaCertificate, CaRefusal, CaRole, CertificateAuthority, IssueError, KeyError, LoadError,
    PemError, SigningKey, der_from_pem, pem_bundle,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::home::{Home, now, order, proven, serial};

#[test]
fn each_ca_says_what_it_signs_and_no_two_have_one_name() {
    let home = Home::new();
    let cas = [&home.root, &home.issuing, &home.server_ca].map(|ca| ca.certificate());
    let expected = [
        ("O=ada, CN=Hearthkey Root ada", CaRole::Root, 1),
        (
            "O=ada, OU=home, CN=Hearthkey Issuing CA",
            CaRole::Issuing("home".parse().unwrap()),
            0,
        ),
        ("O=ada, CN=Hearthkey Server CA", CaRole::Server, 0),
    ];
    for (ca, (name, role, path_length)) in cas.into_iter().zip(expected) {
        let (_, x509) = X509Certificate::from_der(&ca.der).unwrap();
        assert_eq!((ca.name.as_str(), &ca.role), (name, &role));
        let basic = x509.basic_constraints().unwrap().unwrap();
        assert!(basic.critical && basic.value.ca);
        assert_eq!(basic.value.path_len_constraint, Some(path_length));
        let usage = x509.key_usage().unwrap().unwrap();
        assert!(usage.critical);
        assert_eq!(
            usage.value.flags, 0b110_0000,
            "keyCertSign and cRLSign alone"
        );
        assert_eq!(ca.not_before, now().before(BACKDATE));
        assert_eq!(x509.issuer().to_string(), home.root.certificate().name);
    }
    assert_eq!(cas[0].not_after.to_string(), "2046-11-22T10:00:00Z");
    assert_eq!(cas[1].not_after.to_string(), "2031-11-22T10:00:00Z");
}

#[test]
fn a_ca_knows_what_it_has_signed() {
    let home = Home::new();
    let [root, issuing, server] =
        [&home.root, &home.issuing, &home.server_ca].map(|ca| ca.certificate());
    let key = SigningKey::generate().unwrap();
    let leaf = home
        .issuing
        .sign(order("lamp", "home", proven(&key), now()))
        .unwrap();
    assert!(issuing.has_signed(&leaf.der));
    assert!(!server.has_signed(&leaf.der) && !root.has_signed(&leaf.der));
    assert!(root.has_signed(&root.der) && root.has_signed(&issuing.der));
    assert!(!Home::new().issuing.certificate().has_signed(&leaf.der));
    let mut altered = leaf.der.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    assert!(!issuing.has_signed(&altered) && !issuing.has_signed(b""));
}

#[test]
fn an_authority_that_was_kept_and_loaded_issues_as_before() {
    let home = Home::new();
    let ca = &home.issuing;
    let loaded = CertificateAuthority::load(&ca.certificate().der, ca.key().to_pkcs8()).unwrap();
    assert_eq!(loaded.certificate().role, ca.certificate().role);
    let key = SigningKey::generate().unwrap();
    let issued = loaded
        .sign(order("lamp", "home", proven(&key), now()))
        .unwrap();
    home.admit(&issued.der, issued.certificate.not_after);
    assert!(home.verifier().judge(&issued.der).is_ok());
}

#[test]
fn an_authority_is_not_loaded_with_another_key() {
    let home = Home::new();
    let der = &home.issuing.certificate().der;
    let refusal = CertificateAuthority::load(der, home.root.key().to_pkcs8());
    assert!(matches!(refusal, Err(LoadError::OtherKey)));
    let refusal = CertificateAuthority::load(der, Zeroizing::new(vec![1, 2, 3]));
    assert!(matches!(refusal, Err(LoadError::Key(KeyError::NotP256))));
}

#[test]
fn only_a_ca_of_this_product_is_loaded() {
    let home = Home::new();
    let leaf = home.enroll(&SigningKey::generate().unwrap()).der;
    assert_eq!(
        CaCertificate::from_der(&leaf).unwrap_err(),
        CaRefusal::NotACa
    );
    let mut der = home.root.certificate().der.clone();
    for length in 0..der.len() {
        assert!(CaCertificate::from_der(&der[..length]).is_err());
    }
    der.push(0);
    assert_eq!(
        CaCertificate::from_der(&der).unwrap_err(),
        CaRefusal::Malformed
    );
}

#[test]
fn only_the_root_makes_cas() {
    let home = Home::new();
    let refusal = home.issuing.new_server_ca(serial(4), now()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "O=ada, OU=home, CN=Hearthkey Issuing CA does not sign CA certificates"
    );
}

#[test]
fn a_home_has_a_name_that_fits() {
    for bad in ["", "a\nb", &"x".repeat(50)] {
        let refusal = CertificateAuthority::new_root(bad, serial(1), now()).unwrap_err();
        assert!(matches!(refusal, IssueError::HomeName));
    }
    assert!(CertificateAuthority::new_root("Über uns", serial(1), now()).is_ok());
}

#[test]
fn no_key_is_shown_by_debug() {
    let home = Home::new();
    assert_eq!(format!("{:?}", home.root.key()), "SigningKey { .. }");
    assert!(format!("{:?}", home.root).starts_with("CertificateAuthority { certificate: "));
}

#[test]
fn a_bundle_is_read_as_it_was_written() {
    let home = Home::new();
    let cas = [
        home.root.certificate().clone(),
        home.issuing.certificate().clone(),
    ];
    let read = der_from_pem(&pem_bundle(&cas)).unwrap();
    assert_eq!(read, cas.map(|ca| ca.der));
    assert_eq!(der_from_pem("nothing"), Err(PemError::None));
    assert_eq!(
        der_from_pem("-----BEGIN CERTIFICATE-----\nMA"),
        Err(PemError::Malformed)
    );
    assert_eq!(der_from_pem(&" ".repeat(300_000)), Err(PemError::TooLarge));
}
