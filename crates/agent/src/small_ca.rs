//! A tiny certificate authority for tests: a root, a server CA below it, server and device leaves.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls_pki_types::CertificateDer;

use crate::fingerprint::Fingerprint;
use crate::key::DeviceKey;
use crate::moment::Moment;

/// Certificates of this authority are valid from 2026-01-01 to 2027-01-01; nothing in it reads a clock.
pub(crate) struct SmallCa {
    root: CertifiedIssuer<'static, KeyPair>,
    server_ca: CertifiedIssuer<'static, KeyPair>,
}

/// A moment at which everything the authority signs is valid.
pub(crate) fn within_validity() -> Moment {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

impl SmallCa {
    pub(crate) fn new() -> Self {
        let root = CertifiedIssuer::self_signed(authority("Test root"), new_key()).unwrap();
        let server_ca =
            CertifiedIssuer::signed_by(authority("Test server CA"), new_key(), &root).unwrap();
        Self { root, server_ca }
    }

    pub(crate) fn root_der(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    pub(crate) fn root_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.root.key().subject_public_key_info())
    }

    pub(crate) fn server_ca_der(&self) -> CertificateDer<'static> {
        self.server_ca.der().clone()
    }

    /// A server leaf for a host name, and its key.
    pub(crate) fn server(&self, host: &str) -> (Certificate, KeyPair) {
        let key = new_key();
        let mut params = dated(CertificateParams::new([host.to_owned()]).unwrap());
        params.distinguished_name.push(DnType::CommonName, "server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.signed_by(&key, &self.server_ca).unwrap(), key)
    }

    /// The PEM certificate of a device. The server CA signs it: the agent does not look.
    pub(crate) fn device_certificate(&self, device: &str, key: &DeviceKey) -> String {
        let mut params = dated(CertificateParams::default());
        params.distinguished_name.push(DnType::CommonName, device);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(key, &self.server_ca).unwrap().pem()
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn dated(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = dated(CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
