//! Trust bundles: which roots the device believes, and when it may believe a new set.

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::fingerprint::Fingerprint;

/// A set of root certificates, kept as the exact bytes it came in: its fingerprint is over those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustBundle {
    pem: Vec<u8>,
    roots: Vec<CertificateDer<'static>>,
}

/// Why a trust bundle is not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not PEM certificates, too many, or too long.
    #[error("the trust bundle is not 1 to {MOST_ROOTS} root certificates in PEM")]
    Unreadable,
    /// No root in common with what the device trusts now.
    #[error("the trust bundle holds none of the roots that this device trusts")]
    Unrelated,
}

/// Current and next roots are two; the rest is room.
const MOST_ROOTS: usize = 8;
const LONGEST_BYTES: usize = 64 * 1024;

impl TrustBundle {
    /// Reads a bundle of PEM root certificates.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, TrustError> {
        if pem.len() > LONGEST_BYTES {
            return Err(TrustError::Unreadable);
        }
        let roots: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| TrustError::Unreadable)?;
        let bundle = Self {
            pem: pem.to_vec(),
            roots,
        };
        if !(1..=MOST_ROOTS).contains(&bundle.roots.len()) {
            return Err(TrustError::Unreadable);
        }
        bundle.anchors()?;
        Ok(bundle)
    }

    /// A bundle of one root, as proven by a claim's pin.
    pub(crate) fn of_root(root: &CertificateDer<'_>) -> Result<Self, TrustError> {
        let body = base64_lines(root);
        Self::from_pem(
            format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n").as_bytes(),
        )
    }

    /// The bundle that may take this one's place: it must keep at least one root that is trusted now.
    pub(crate) fn succeeded_by(&self, pem: &[u8]) -> Result<Self, TrustError> {
        let next = Self::from_pem(pem)?;
        if next.roots.iter().any(|root| self.roots.contains(root)) {
            Ok(next)
        } else {
            Err(TrustError::Unrelated)
        }
    }

    /// The roots as anchors for a TLS client.
    pub(crate) fn anchors(&self) -> Result<RootCertStore, TrustError> {
        let mut anchors = RootCertStore::empty();
        for root in &self.roots {
            anchors
                .add(root.clone())
                .map_err(|_| TrustError::Unreadable)?;
        }
        Ok(anchors)
    }

    /// SHA-256 of the bundle's bytes, as notices and acknowledgements carry it.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.pem)
    }

    /// The bytes the bundle came in.
    pub(crate) fn as_pem(&self) -> &[u8] {
        &self.pem
    }
}

fn base64_lines(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut lines = String::with_capacity(body.len() + body.len() / 64 + 1);
    for (at, c) in body.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            lines.push('\n');
        }
        lines.push(c);
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_ca::SmallCa;

    #[test]
    fn a_bundle_that_keeps_a_trusted_root_is_taken_over() {
        let (old, new) = (SmallCa::new(), SmallCa::new());
        let trusted = TrustBundle::of_root(&old.root_der()).unwrap();
        let both = [old.root_pem(), new.root_pem()].concat();
        let next = trusted.succeeded_by(both.as_bytes()).unwrap();
        assert_eq!(next.fingerprint(), Fingerprint::of(both.as_bytes()));
        assert_eq!(next.anchors().unwrap().len(), 2);
        assert!(next.succeeded_by(new.root_pem().as_bytes()).is_ok());
    }

    #[test]
    fn a_bundle_of_strangers_is_refused() {
        let (old, new) = (SmallCa::new(), SmallCa::new());
        let trusted = TrustBundle::of_root(&old.root_der()).unwrap();
        let error = trusted.succeeded_by(new.root_pem().as_bytes());
        assert_eq!(error, Err(TrustError::Unrelated));
    }

    #[test]
    fn an_empty_or_endless_bundle_is_refused() {
        assert_eq!(TrustBundle::from_pem(b""), Err(TrustError::Unreadable));
        let many = SmallCa::new().root_pem().repeat(MOST_ROOTS + 1);
        assert_eq!(
            TrustBundle::from_pem(many.as_bytes()),
            Err(TrustError::Unreadable)
        );
    }
}
