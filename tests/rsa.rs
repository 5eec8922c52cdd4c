//! Devices whose TLS verifies RSA signatures alone: shut out, unless a profile says that the home has them.

use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::guest::{done, enroll_with, home, records};
use crate::mqtt::Hello;
use crate::rig::Rig;
use crate::stock::Bench;
use crate::wire::{Door, Refused, VERSIONS};

const HANDSHAKE_FAILURE: Refused = Refused::Alert(40);

/// A profile whose devices verify such a key of the gateway's.
async fn profile(rig: &Rig, server_key: &str) {
    let file = rig.work.path().join("old.toml");
    let text = format!(
        "name = \"old\"\ndescription = \"old firmware\"\ncertificate_lifetime_days = 30\n\
         grace_days = 30\nkeys = [\"p256\"]\nserver_key = \"{server_key}\"\n\
         [[publish]]\ntopic = \"old/{{device}}/#\"\nreason = \"state\"\n"
    );
    std::fs::write(&file, text).unwrap();
    done(rig, &["profile", "add", file.to_str().unwrap()]).await;
}

/// The listener for a device that verifies RSA signatures alone, with PSS or PKCS #1 padding.
fn old(door: &Door) -> Door {
    door.verifying(|scheme| {
        use SignatureScheme as S;
        matches!(scheme, S::RSA_PSS_SHA256 | S::RSA_PKCS1_SHA256)
    })
}

/// The keys of the server certificates, by their algorithm: what a device pins.
async fn keys(bench: &Bench, more: &[&str]) -> (String, Vec<u8>) {
    let said = bench.s_client(more).await;
    let begin = said.find("-----BEGIN CERTIFICATE-----");
    let begin = begin.unwrap_or_else(|| panic!("{more:?}: {said}"));
    let leaf = CertificateDer::from_pem_slice(&said.as_bytes()[begin..]).unwrap();
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let key = leaf.public_key();
    let algorithm = key.algorithm.algorithm.to_id_string();
    (algorithm, key.raw.to_vec())
}

const RSA_ALONE: [&str; 2] = ["-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"];
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_verifies_rsa_alone_comes_in_once_a_profile_says_so_and_others_see_no_change()
{
    let (rig, door) = home().await;
    // With a claim open, so that nobody is refused for want of a certificate.
    let claim = rig.claim("lamp").await.unwrap();
    for version in VERSIONS {
        let config = old(&door).config(None, &[version]);
        let refused = door.dial_with(config).await.unwrap_err();
        assert_eq!(refused, HANDSHAKE_FAILURE, "{version:?}");
    }
    profile(&rig, "rsa2048").await;
    // It enrolls over the RSA certificate, as it does everything else.
    let lamp = enroll_with(&old(&door), &claim).await;
    for version in VERSIONS {
        let config = old(&door).config(Some(&lamp), &[version]);
        let hello = Hello::v5(&lamp.device);
        let mut client = door.connect_with(config, &hello).await.unwrap();
        let published = client.retain("devices/lamp/state", b"on").await;
        assert_eq!(published, Ok(0), "{version:?}");
    }
    assert!(door.device(&lamp).await.is_ok(), "with the usual one");
    let bench = Bench::new(&rig, "bench").await;
    assert_eq!(keys(&bench, &RSA_ALONE).await.0, RSA);
    let tls12 = ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"];
    assert_eq!(keys(&bench, &tls12).await.0, RSA);
    for usual in [&[][..], &["-tls1_2"]] {
        assert_eq!(keys(&bench, usual).await.0, EC);
    }
    // An openssl that verifies ECDSA in the chain finds the RSA certificate in order.
    let verified = bench
        .s_client(&[&RSA_ALONE[..], &["-verify_return_error"]].concat())
        .await;
    assert!(verified.contains("Verification: OK"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rsa_key_stays_the_same_over_restarts_and_new_certificates_and_goes_with_its_profile() {
    let (mut rig, door) = home().await;
    profile(&rig, "rsa2048").await;
    let bench = Bench::new(&rig, "bench").await;
    let own = async |rig: &Rig| {
        let listed = done(rig, &["credential", "list"]).await.to_string();
        listed.contains("\"tls-rsa\"") || listed.contains("server/tls-rsa")
    };
    let (_, usual) = keys(&bench, &[]).await;
    let (_, pinned) = keys(&bench, &RSA_ALONE).await;
    assert!(own(&rig).await);
    rig.restart().await;
    assert_eq!(keys(&bench, &RSA_ALONE).await.1, pinned);
    // Another name: new certificates, of which the usual one has a new key.
    rig.args = vec!["--host", "gateway.home.arpa"];
    rig.restart().await;
    assert_ne!(keys(&bench, &[]).await.1, usual);
    assert_eq!(keys(&bench, &RSA_ALONE).await.1, pinned, "what is pinned");
    profile(&rig, "p256").await;
    assert!(!own(&rig).await);
    rig.claim("lamp").await.unwrap();
    let config = old(&door).config(None, rustls::ALL_VERSIONS);
    let refused = door.dial_with(config).await.unwrap_err();
    assert_eq!(refused, HANDSHAKE_FAILURE, "at once, without a restart");
    assert!(
        records(&rig)
            .await
            .iter()
            .any(|r| r["action"] == "server.forget")
    );
    rig.restart().await;
    assert!(!own(&rig).await);
    profile(&rig, "rsa2048").await;
    assert_ne!(
        keys(&bench, &RSA_ALONE).await.1,
        pinned,
        "the old key is gone"
    );
}
