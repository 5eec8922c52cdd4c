//! The server certificate with an RSA key: who is shown it, and who is not.

use std::sync::Arc;

use hearthkey_pki::{KeyError, RsaKey, RsaLeaf, SigningKey, server_config};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{AlertDescription, DigitallySignedStruct, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::handshake::{VERSIONS, shake};
use crate::home::{Home, now, serial};

use SignatureScheme as S;

/// Verifies the server by its certificate alone, and verifies what is signed with these schemes.
#[derive(Debug)]
struct Knows {
    leaf: Vec<u8>,
    schemes: Vec<SignatureScheme>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Knows {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        assert_eq!(leaf.as_ref(), self.leaf);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// The two certificates of a listener, and the listener with both or with the usual one alone.
struct Doors {
    home: Home,
    usual: Vec<u8>,
    rsa: Vec<u8>,
    both: Arc<ServerConfig>,
    usual_alone: Arc<ServerConfig>,
}

fn doors() -> Doors {
    let home = Home::new();
    home.ring();
    let names = [ServerName::try_from("hearthkey.local").unwrap()];
    let key = SigningKey::generate().unwrap();
    let usual = home.server_ca.issue_server(&key, &names, serial(5), now());
    let usual = usual.unwrap();
    let rsa_key = RsaKey::generate().unwrap();
    let rsa = home
        .server_ca
        .issue_server(&rsa_key, &names, serial(6), now());
    let rsa = RsaLeaf {
        der: rsa.unwrap(),
        key: rsa_key,
    };
    let chain = [&home.server_ca, &home.root].map(|ca| ca.certificate().clone());
    let door = |rsa| server_config(&usual, &chain, &key, home.verifier(), rsa).unwrap();
    Doors {
        both: door(Some(&rsa)),
        usual_alone: door(None),
        rsa: rsa.der,
        usual,
        home,
    }
}

/// How it ends for a client that verifies these schemes and expects this certificate, in either version.
fn ends(
    doors: &Doors,
    door: &Arc<ServerConfig>,
    schemes: &[SignatureScheme],
    leaf: &[u8],
) -> Vec<Option<AlertDescription>> {
    let ends = VERSIONS.map(|version| {
        let mut client = doors.home.client(version, None);
        let algorithms = rustls::crypto::aws_lc_rs::default_provider();
        client.dangerous().set_certificate_verifier(Arc::new(Knows {
            leaf: leaf.to_vec(),
            schemes: schemes.to_vec(),
            algorithms: algorithms.signature_verification_algorithms,
        }));
        let shaken = shake(door, &Arc::new(client));
        if shaken.refusal.is_none() {
            assert_eq!(shaken.client.peer_certificates().unwrap().len(), 2);
        }
        shaken.alert()
    });
    ends.to_vec()
}

const NONE: [Option<AlertDescription>; 2] = [None; 2];

#[test]
fn only_a_client_that_cannot_verify_the_usual_certificates_key_is_shown_the_rsa_one() {
    let doors = doors();
    for schemes in [
        &[S::RSA_PSS_SHA256, S::RSA_PKCS1_SHA256][..],
        &[S::RSA_PSS_SHA512, S::RSA_PKCS1_SHA512],
        // Not what a key on P-256 signs with here.
        &[
            S::ECDSA_NISTP384_SHA384,
            S::RSA_PSS_SHA256,
            S::RSA_PKCS1_SHA256,
        ],
    ] {
        assert_eq!(ends(&doors, &doors.both, schemes, &doors.rsa), NONE);
    }
    for schemes in [
        &[S::ECDSA_NISTP256_SHA256][..],
        &[
            S::RSA_PSS_SHA256,
            S::RSA_PKCS1_SHA256,
            S::ECDSA_NISTP256_SHA256,
        ],
    ] {
        assert_eq!(ends(&doors, &doors.both, schemes, &doors.usual), NONE);
    }
}

#[test]
fn without_an_rsa_certificate_a_client_that_knows_rsa_alone_is_refused() {
    let doors = doors();
    let schemes = [S::RSA_PSS_SHA256, S::RSA_PKCS1_SHA256];
    let refused = [Some(AlertDescription::HandshakeFailure); 2];
    let ends = |schemes| ends(&doors, &doors.usual_alone, schemes, &doors.usual);
    assert_eq!(ends(&schemes), refused);
    assert_eq!(ends(&[S::ECDSA_NISTP256_SHA256]), NONE);
}

#[test]
fn an_rsa_key_is_read_back_and_another_kind_of_key_is_not() {
    let key = RsaKey::generate().unwrap();
    let again = RsaKey::from_pkcs8(&key.to_pkcs8()).unwrap();
    assert_eq!(again.to_pkcs8(), key.to_pkcs8());
    assert_eq!(format!("{key:?}"), "RsaKey { .. }");
    let p256 = SigningKey::generate().unwrap().to_pkcs8();
    for wrong in [p256.as_slice(), &[], &key.to_pkcs8()[1..]] {
        let refusal = RsaKey::from_pkcs8(wrong).unwrap_err();
        assert_eq!(refusal, KeyError::NotRsa2048);
    }
}
