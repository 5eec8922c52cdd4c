//! Every certificate that must not be accepted, and the very alert that says so, in both
//! versions of TLS.

use rcgen::{
    BasicConstraints, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::HandshakeKind;
use rustls::client::Resumption;
use std::sync::Arc;

use crate::guest::{claim, done, enroll, enroll_with, home, new_key, params, recorded};
use crate::mqtt::Hello;
use crate::wire::{
    CERTIFICATE_REQUIRED, DECRYPT_ERROR, Door, Identity, REVOKED, Refused, SUSPENDED, UNKNOWN_CA,
    VERSIONS,
};

/// A client with this certificate is refused in both versions of TLS, with one alert.
async fn alerts(door: &Door, who: Option<&Identity>, alert: &Refused, when: &str) {
    for version in VERSIONS {
        let hello = Hello::v5("lamp");
        let config = door.config(who, &[version]);
        let refused = door.connect_with(config, &hello).await.unwrap_err();
        assert_eq!(refused, *alert, "{when}, {version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_to_stay_outside_has_its_own_alert_also_after_a_power_failure() {
    let (mut rig, door) = home().await;
    alerts(&door, None, &CERTIFICATE_REQUIRED, "no claim").await;
    let lamp = enroll(&rig, &door, "lamp").await;
    let hall = enroll(&rig, &door, "hall").await;
    let attic = enroll(&rig, &door, "attic").await;

    let mut sessions = Vec::new();
    for device in [&lamp, &hall, &attic] {
        let mut session = door.device(device).await.unwrap();
        let own = format!("devices/{}/#", device.device);
        assert_eq!(session.subscribe(&own).await, Ok(1));
        sessions.push(session);
    }
    done(&rig, &["device", "suspend", "hall"]).await;
    done(&rig, &["device", "retire", "attic"]).await;
    done(
        &rig,
        &["device", "revoke", "lamp", "--reason", "key-compromise"],
    )
    .await;
    for mut session in sessions {
        session.end().await;
    }
    for when in ["at once", "after kill -9"] {
        alerts(&door, Some(&lamp), &REVOKED, when).await;
        alerts(&door, Some(&attic), &REVOKED, when).await;
        alerts(&door, Some(&hall), &SUSPENDED, when).await;
        if when == "at once" {
            rig.kill9().await;
            rig.start().await;
        }
    }
    recorded(&rig, "door.enter", "refused", "door", "").await;
    done(&rig, &["device", "resume", "hall"]).await;
    assert!(door.device(&hall).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bell_falls_silent_when_the_claim_is_closed_with_its_device() {
    let (rig, door) = home().await;
    let waiting = claim(&rig, "lamp").await;
    let hello = Hello::claim(&waiting.claim, &waiting.secret);
    assert!(door.connect(None, &hello).await.is_ok());
    done(
        &rig,
        &["device", "revoke", "lamp", "--reason", "superseded"],
    )
    .await;
    alerts(&door, None, &CERTIFICATE_REQUIRED, "the claim is closed").await;
    let fresh = claim(&rig, "lamp").await;
    let lamp = enroll_with(&door, &fresh).await;
    assert!(door.device(&lamp).await.is_ok(), "a new lineage");
}

/// A certificate by a CA that is not this home's, for the device `lamp`.
fn foreign(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    usage: &[ExtendedKeyUsagePurpose],
    ca: bool,
) -> Identity {
    let key = new_key();
    let mut leaf = params("lamp");
    leaf.extended_key_usages = usage.to_vec();
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    leaf.serial_number = Some(SerialNumber::from_slice(&[0x42; 16]));
    if ca {
        leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let leaf = leaf.signed_by(&key, issuer).unwrap();
    Identity::from_pem("lamp", &(leaf.pem() + &issuer.pem()), &key.serialize_pem())
}

fn issuer_named(name: &[(DnType, String)]) -> CertifiedIssuer<'static, KeyPair> {
    let mut ca = rcgen::CertificateParams::default();
    for (kind, value) in name {
        ca.distinguished_name.push(kind.clone(), value.as_str());
    }
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(ca, new_key()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_another_ca_signed_is_refused_whatever_it_says() {
    let (rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    // A CA of one's own, and one that calls itself what the home's issuing CA is called.
    let own = issuer_named(&[(DnType::CommonName, "Somebody".into())]);
    let (_, issued) = x509_parser::parse_x509_certificate(&lamp.chain[1]).unwrap();
    let mut name = Vec::new();
    for attribute in issued.subject().iter_attributes() {
        let kind = match attribute.attr_type().to_id_string().as_str() {
            "2.5.4.3" => DnType::CommonName,
            "2.5.4.10" => DnType::OrganizationName,
            "2.5.4.11" => DnType::OrganizationalUnitName,
            other => panic!("{other} in the issuer's name"),
        };
        name.push((kind, attribute.as_str().unwrap().to_owned()));
    }
    let namesake = issuer_named(&name);
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    for (what, issuer) in [("a stranger", &own), ("a namesake", &namesake)] {
        for (usage, ca) in [
            (std::slice::from_ref(&client), false),
            (&[], false),
            (std::slice::from_ref(&server), false),
            (std::slice::from_ref(&client), true),
        ] {
            let forged = foreign(issuer, usage, ca);
            let when = format!("{what}, {usage:?}, CA {ca}");
            alerts(&door, Some(&forged), &UNKNOWN_CA, &when).await;
        }
    }
    assert!(door.device(&lamp).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_worth_nothing_without_its_key() {
    let (rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    let thief = enroll(&rig, &door, "thief").await;
    let stolen = lamp.with_key_of(&thief);
    alerts(&door, Some(&stolen), &DECRYPT_ERROR, "another's key").await;
    // The CA's certificate, which every device is sent, is no device's.
    let mut authority = thief.clone();
    authority.chain.remove(0);
    for version in VERSIONS {
        let config = door.config(Some(&authority), &[version]);
        let refused = door
            .connect_with(config, &Hello::v5("thief"))
            .await
            .unwrap_err();
        assert!(matches!(refused, Refused::Alert(_)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_keeps_sessions_resumes_none_and_sends_no_early_data() {
    let (rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    for version in VERSIONS {
        let mut config = Arc::unwrap_or_clone(door.config(Some(&lamp), &[version]));
        config.resumption = Resumption::in_memory_sessions(16);
        config.enable_early_data = true;
        let config = Arc::new(config);
        for again in 0..3 {
            let mut session = door
                .connect_with(Arc::clone(&config), &Hello::v5("lamp"))
                .await
                .unwrap();
            // A ticket would have come by now.
            assert_eq!(session.publish("devices/lamp/state", b"on").await, Ok(0));
            let kind = session.handshake();
            assert!(
                matches!(
                    kind,
                    HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest
                ),
                "{version:?} {again}: {kind:?}"
            );
            session.leave().await;
        }
        done(&rig, &["device", "suspend", "lamp"]).await;
        let refused = door
            .connect_with(Arc::clone(&config), &Hello::v5("lamp"))
            .await;
        assert_eq!(refused.unwrap_err(), SUSPENDED, "{version:?}");
        done(&rig, &["device", "resume", "lamp"]).await;
    }
}
