//! Which client certificates are let in, and what the others are told.

use hearthkey_core::access::{Access, Admission, Blind, DeviceAccess, DoorRefusal};
use hearthkey_core::certificate::CertificateState;
use hearthkey_core::device::DeviceState;
use hearthkey_core::id::Fingerprint;
use hearthkey_core::profile;
use hearthkey_core::time::Span;
use hearthkey_pki::{ClientRefusal, SigningKey, read_csr};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    SanType,
};
use rustls::AlertDescription;
use rustls_pki_types::CertificateDer;

use crate::handshake::{VERSIONS, shake};
use crate::home::{Home, leaf_params, now, order, signed_as};
use crate::openssl::openssl;

/// Shakes hands with this certificate in TLS 1.2 and 1.3, and expects one end of it.
fn expect(home: &Home, der: &[u8], pkcs8: &[u8], expected: Option<AlertDescription>) {
    let door = home.door();
    for version in VERSIONS {
        let client = home.client(version, Some((der, pkcs8))).into();
        let shaken = shake(&door, &client);
        assert_eq!(shaken.alert(), expected, "{version:?}");
        let done = !shaken.server.is_handshaking();
        assert_eq!(done, expected.is_none(), "{version:?}");
    }
}

fn expect_forged(
    expected: AlertDescription,
    refusal: ClientRefusal,
    change: impl FnOnce(&mut CertificateParams),
) {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let der = home.forge(&key, change);
    assert_eq!(home.verifier().judge(&der).unwrap_err(), refusal);
    expect(&home, &der, &key.to_pkcs8(), Some(expected));
}

fn shape(why: &'static str) -> ClientRefusal {
    ClientRefusal::Shape(why)
}

#[test]
fn an_enrolled_device_comes_in() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let issued = home.enroll(&key);
    expect(&home, &issued.der, &key.to_pkcs8(), None);
    let admitted = home.verifier().judge(&issued.der).unwrap();
    assert_eq!(admitted.device.as_str(), "lamp");
    assert_eq!(admitted.admission, Admission::Full);
    let same_shape = home.forge(&key, |_| {});
    expect(&home, &same_shape, &key.to_pkcs8(), None);
}

#[test]
fn devices_with_p384_and_rsa_keys_come_in() {
    let home = Home::new();
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_RSA_SHA256] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let csr = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let proven = read_csr(csr.pem().unwrap().as_bytes()).unwrap();
        let issued = home
            .issuing
            .sign(order("lamp", "home", proven, now()))
            .unwrap();
        home.admit(&issued.der, issued.certificate.not_after);
        expect(&home, &issued.der, &key.serialize_der(), None);
    }
}

#[test]
fn the_live_facts_are_asked_and_the_client_is_told_their_answer() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let der = home.enroll(&key).der;
    let fingerprint = Fingerprint::of(&der);
    let lamp = "lamp".parse().unwrap();
    let told = |alert| expect(&home, &der, &key.to_pkcs8(), alert);
    let device = |state| home.access.write().unwrap().set_device_state(&lamp, state);
    let certificate = |state| {
        let mut access = home.access.write().unwrap();
        access.set_certificate_state(&fingerprint, state);
    };
    told(None);
    device(DeviceState::Suspended);
    told(Some(AlertDescription::AccessDenied));
    device(DeviceState::Retired);
    told(Some(AlertDescription::CertificateRevoked));
    device(DeviceState::Active);
    certificate(CertificateState::Superseded);
    told(Some(AlertDescription::CertificateRevoked));
    certificate(CertificateState::Active);
    told(None);
    certificate(CertificateState::Revoked);
    told(Some(AlertDescription::CertificateRevoked));
    // Revoked is for good.
    certificate(CertificateState::Active);
    told(Some(AlertDescription::CertificateRevoked));
}

#[test]
fn a_certificate_that_the_home_does_not_know_is_refused() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let der = home.enroll(&key).der;
    *home.access.write().unwrap() = Default::default();
    let unknown = ClientRefusal::Door(DoorRefusal::UnknownCertificate);
    assert_eq!(home.verifier().judge(&der).unwrap_err(), unknown);
    let told = AlertDescription::CertificateUnknown;
    expect(&home, &der, &key.to_pkcs8(), Some(told));
}

#[test]
fn a_certificate_that_a_restored_home_may_have_issued_waits_and_no_other_does() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let issued = home.enroll(&key);
    let lamp = issued.certificate.device.clone();
    let issued_at = issued.certificate.issued_at.whole_second();
    let judged = |readmitting| {
        let verifier = match readmitting {
            true => home.fresh_verifier().readmitting(),
            false => home.fresh_verifier(),
        };
        verifier.judge(&issued.der).unwrap_err()
    };
    let blind = |to| Blind {
        from: issued_at,
        to,
    };
    let forget = || {
        let access = Access::default();
        access.strangers().expect(blind(issued_at));
        *home.access.write().unwrap() = access;
    };
    forget();
    let (waiting, unknown) = (DoorRefusal::Waiting, DoorRefusal::UnknownCertificate);
    assert_eq!(judged(false), unknown.into());
    assert_eq!(judged(true), waiting.into());
    assert_eq!(judged(false), waiting.into(), "wherever it is shown then");
    // One that was issued after the restore would be known.
    forget();
    let before = issued_at.before(Span::s(1));
    let access = home.access.read().unwrap();
    access.strangers().expect(blind(before));
    drop(access);
    assert_eq!(judged(true), unknown.into());
    // A device that is out stays out, and so does a key in other hands.
    forget();
    home.access.write().unwrap().set_device(
        lamp,
        DeviceAccess::new(
            DeviceState::Retired,
            "home".parse().unwrap(),
            &profile::built_in().unwrap().remove(0).into(),
        ),
    );
    assert_eq!(judged(true), DoorRefusal::Revoked.into());
    forget();
    let stolen = issued.certificate.key;
    home.access.write().unwrap().refuse_key(stolen);
    assert_eq!(judged(true), DoorRefusal::Revoked.into());
}

#[test]
fn an_expired_certificate_comes_in_to_renew_until_its_grace_has_run_out() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let issued = home.enroll(&key);
    let not_after = issued.certificate.not_after;
    home.set_clock(not_after.after(Span::days(30)));
    expect(&home, &issued.der, &key.to_pkcs8(), None);
    let admitted = home.verifier().judge(&issued.der).unwrap();
    assert_eq!(admitted.admission, Admission::RenewalOnly);
    home.set_clock(not_after.after(Span::days(31)));
    let told = AlertDescription::CertificateExpired;
    expect(&home, &issued.der, &key.to_pkcs8(), Some(told));
}

#[test]
fn a_certificate_from_the_future_is_refused() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let der = home.enroll(&key).der;
    home.set_clock(now().before(Span::hours(1)));
    assert!(home.verifier().judge(&der).is_ok(), "begun an hour early");
    home.set_clock(now().before(Span::hours(2)));
    assert_eq!(
        home.verifier().judge(&der).unwrap_err(),
        ClientRefusal::NotYetValid
    );
    let told = AlertDescription::CertificateExpired;
    expect(&home, &der, &key.to_pkcs8(), Some(told));
}

#[test]
fn a_certificate_of_another_ca_is_refused_even_under_the_same_name() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    let month = now().after(Span::days(30));
    for other in [Home::named("eve", "home"), Home::named("ada", "home")] {
        let der = other.enroll(&key).der;
        home.admit(&der, month);
        let told = AlertDescription::UnknownCA;
        expect(&home, &der, &key.to_pkcs8(), Some(told));
    }
    let eve = SigningKey::generate().unwrap();
    let ca = &home.issuing.certificate().der;
    let der = signed_as(&leaf_params(), &key, ca, &eve.to_pkcs8());
    home.admit(&der, month);
    assert_eq!(
        home.verifier().judge(&der).unwrap_err(),
        ClientRefusal::UnknownIssuer
    );
}

#[test]
fn a_leaf_under_the_root_or_the_server_ca_is_refused() {
    let home = Home::new();
    let key = SigningKey::generate().unwrap();
    for ca in [&home.root, &home.server_ca] {
        let der = signed_as(
            &leaf_params(),
            &key,
            &ca.certificate().der,
            &ca.key().to_pkcs8(),
        );
        home.admit(&der, now().after(Span::days(30)));
        expect(
            &home,
            &der,
            &key.to_pkcs8(),
            Some(AlertDescription::UnknownCA),
        );
    }
}

#[test]
fn a_leaf_that_is_not_for_client_authentication_alone_is_refused() {
    use ExtendedKeyUsagePurpose as P;
    for purposes in [
        vec![],
        vec![P::ServerAuth],
        vec![P::ClientAuth, P::ServerAuth],
        vec![P::ClientAuth, P::Any],
        vec![P::Any],
        vec![P::ClientAuth, P::ClientAuth],
    ] {
        let told = AlertDescription::UnsupportedCertificate;
        expect_forged(told, ClientRefusal::Purpose, |params| {
            params.extended_key_usages = purposes;
        });
    }
}

#[test]
fn a_leaf_of_another_shape_is_refused() {
    let told = AlertDescription::BadCertificate;
    expect_forged(told, shape("it has the CA bit"), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    expect_forged(
        told,
        shape("its key is not for signatures alone"),
        |params| {
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        },
    );
    expect_forged(
        told,
        shape("it does not name its authority's key"),
        |params| {
            params.use_authority_key_identifier_extension = false;
        },
    );
    for serial in [
        vec![1],
        vec![0x41; 15],
        vec![0x41; 20],
        vec![0x3f; 16],
        vec![0x81; 16],
    ] {
        expect_forged(told, shape("its serial number is not 16 bytes"), |params| {
            params.serial_number = Some(serial.into());
        });
    }
    expect_forged(told, shape("an extension comes twice"), |params| {
        let same = CustomExtension::from_oid_content(&[2, 5, 29, 37], vec![0x30, 0]);
        params.custom_extensions.push(same);
    });
    expect_forged(told, ClientRefusal::TooLarge, |params| {
        let name = SanType::DnsName("x".repeat(4000).try_into().unwrap());
        params.subject_alt_names = vec![name];
    });
}

#[test]
fn a_leaf_with_an_unknown_critical_extension_is_refused() {
    let told = AlertDescription::BadCertificate;
    expect_forged(told, ClientRefusal::CriticalExtension, |params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 9], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    });
}

#[test]
fn a_leaf_with_a_key_of_another_type_is_refused() {
    let home = Home::new();
    let issuer_key = KeyPair::try_from(home.issuing.key().to_pkcs8().as_slice()).unwrap();
    let ca = CertificateDer::from(home.issuing.certificate().der.as_slice());
    let issuer = rcgen::Issuer::from_ca_cert_der(&ca, issuer_key).unwrap();
    for algorithm in [&PKCS_ECDSA_P521_SHA512, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let leaf = leaf_params().signed_by(&key, &issuer).unwrap();
        home.admit(leaf.der(), now().after(Span::days(30)));
        let refusal = home.verifier().judge(leaf.der()).unwrap_err();
        assert_eq!(refusal, shape("its key is not P-256, P-384 or RSA"));
    }
}

#[test]
fn a_version_1_leaf_is_refused() {
    let home = Home::new();
    let directory = tempfile::tempdir().unwrap();
    let write = |name, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
    let key = SigningKey::generate().unwrap();
    write("csr.pem", crate::csr::greedy_csr(&key).as_bytes());
    write("ca.der", &home.issuing.certificate().der);
    write("ca.key", &home.issuing.key().to_pkcs8());
    let sign = [
        "x509", "-req", "-in", "csr.pem", "-CA", "ca.der", "-CAkey", "ca.key",
    ];
    let number = format!("0x{}", "41".repeat(16));
    let form = ["-set_serial", &number, "-outform", "DER", "-days", "9"];
    let Some(output) = openssl(directory.path(), &[&sign[..], &form].concat()) else {
        return;
    };
    let refusal = home.verifier().judge(&output.stdout).unwrap_err();
    assert_eq!(refusal, shape("it is not version 3"));
}

#[test]
fn a_certificate_cut_short_or_changed_anywhere_is_refused_without_a_panic() {
    let home = Home::new();
    let der = home.enroll(&SigningKey::generate().unwrap()).der;
    let verifier = home.verifier();
    for at in 0..der.len() {
        assert_eq!(
            verifier.judge(&der[..at]).unwrap_err(),
            ClientRefusal::Malformed
        );
        for bit in 0..8 {
            let mut changed = der.clone();
            changed[at] ^= 1 << bit;
            home.admit(&changed, now().after(Span::days(30)));
            assert!(verifier.judge(&changed).is_err(), "byte {at}, bit {bit}");
        }
    }
    let longer = [der.as_slice(), &[0]].concat();
    assert_eq!(
        verifier.judge(&longer).unwrap_err(),
        ClientRefusal::Malformed
    );
}
