//! A home to test with: its CAs, its devices, and what its verifier accepts.

use std::sync::{Arc, RwLock};

use hearthkey_core::access::{Access, CertificateAccess, DeviceAccess};
use hearthkey_core::certificate::{CertificateState, IssuanceOrder};
use hearthkey_core::claim::Claim;
use hearthkey_core::device::DeviceState;
use hearthkey_core::enrollment::{Decision, Facts, decide};
use hearthkey_core::id::{ClaimId, DeviceId, Fingerprint, SerialNumber};
use hearthkey_core::key::{KeyType, ProvenKey};
use hearthkey_core::profile;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_pki::{CertificateAuthority, ClientVerifier, Issued, SigningKey};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

/// The time of every test: 2026-11-22T10:00:00Z.
pub fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

pub fn serial(seed: u8) -> SerialNumber {
    SerialNumber::from_random([seed; 16])
}

pub struct Home {
    pub root: CertificateAuthority,
    pub issuing: CertificateAuthority,
    pub server_ca: CertificateAuthority,
    pub access: Arc<RwLock<Access>>,
    pub clock: Arc<RwLock<Timestamp>>,
}

impl Home {
    pub fn new() -> Self {
        Self::named("ada", "home")
    }

    pub fn named(home: &str, environment: &str) -> Self {
        let root = CertificateAuthority::new_root(home, serial(1), now()).unwrap();
        let environment = environment.parse().unwrap();
        let issuing = root.new_issuing(&environment, serial(2), now()).unwrap();
        let server_ca = root.new_server_ca(serial(3), now()).unwrap();
        Self {
            root,
            issuing,
            server_ca,
            access: Arc::default(),
            clock: Arc::new(RwLock::new(now())),
        }
    }

    pub fn verifier(&self) -> Arc<ClientVerifier> {
        Arc::new(self.fresh_verifier())
    }

    pub fn fresh_verifier(&self) -> ClientVerifier {
        let clock = Arc::clone(&self.clock);
        ClientVerifier::new(
            &[self.issuing.certificate().clone()],
            Arc::clone(&self.access),
            Arc::new(move || *clock.read().unwrap()),
        )
    }

    /// A leaf for the device `lamp`, as the home issues it, known at the listener.
    pub fn enroll(&self, key: &SigningKey) -> Issued {
        let issued = self
            .issuing
            .sign(order("lamp", "home", proven(key), now()))
            .unwrap();
        self.admit(&issued.der, issued.certificate.not_after);
        issued
    }

    /// Makes a certificate known at the listener, as one of the active device `lamp`.
    pub fn admit(&self, der: &[u8], not_after: Timestamp) {
        let lamp: DeviceId = "lamp".parse().unwrap();
        let mut access = self.access.write().unwrap();
        access.set_device(
            lamp.clone(),
            DeviceAccess::new(
                DeviceState::Active,
                "home".parse().unwrap(),
                &profile::built_in().unwrap().remove(0).into(),
            ),
        );
        access.set_certificate(
            Fingerprint::of(der),
            CertificateAccess {
                device: lamp,
                state: CertificateState::Active,
                not_after,
                renews_only: false,
            },
        );
    }

    /// A certificate that the issuing CA's key has signed, whatever it says, known at the listener.
    pub fn forge(&self, key: &SigningKey, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = leaf_params();
        change(&mut params);
        let ca = &self.issuing;
        let der = signed_as(&params, key, &ca.certificate().der, &ca.key().to_pkcs8());
        self.admit(&der, now().after(Span::days(30)));
        der
    }

    pub fn ring(&self) {
        let (id, guest) = (ClaimId::from_random([1; 8]), "guest".parse().unwrap());
        let claim = Claim::opened(id, guest, Fingerprint([0; 32]), now(), Span::hours(1));
        self.access.write().unwrap().expect(claim);
    }

    pub fn set_clock(&self, time: Timestamp) {
        *self.clock.write().unwrap() = time;
    }
}

pub fn proven(key: &SigningKey) -> ProvenKey {
    ProvenKey::proven(KeyType::P256, key.spki())
}

/// The shape of a good leaf, for tests to spoil.
pub fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["lamp.home.home.arpa".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "lamp");
    params.serial_number = Some(serial(9).as_bytes().to_vec().into());
    params.not_before = OffsetDateTime::from_unix_timestamp(now().as_s() - 3600).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(now().as_s() + 30 * 86_400).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

/// A certificate under an issuer's name, signed with a key that need not be the issuer's.
pub fn signed_as(
    params: &CertificateParams,
    key: &SigningKey,
    issuer_der: &[u8],
    issuer_pkcs8: &[u8],
) -> Vec<u8> {
    let issuer_key = KeyPair::try_from(issuer_pkcs8).unwrap();
    let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(issuer_der), issuer_key).unwrap();
    params.signed_by(key, &issuer).unwrap().der().to_vec()
}

/// An order, as the rules of enrollment give it.
pub fn order(device: &str, environment: &str, key: ProvenKey, at: Timestamp) -> IssuanceOrder {
    let mut profile = profile::built_in().unwrap().remove(0);
    profile.keys = vec![KeyType::P256, KeyType::P384, KeyType::Rsa2048];
    profile.approval = false;
    let (id, environment) = (device.parse().unwrap(), environment.parse().unwrap());
    let device = DeviceAccess::new(DeviceState::Pending, environment, &profile.into());
    let (claim, secret) = (ClaimId::from_random([1; 8]), Fingerprint([0; 32]));
    let facts = Facts {
        claim: &Claim::opened(claim, id, secret, at, Span::minutes(15)),
        device: &device,
        key_compromised: false,
        issuer_ends: at.after(Span::days(10_000)),
        clock_trusted: true,
    };
    match decide(&facts, key, serial(7), at) {
        Decision::Issue(order) => order,
        other => panic!("not issued: {other:?}"),
    }
}
