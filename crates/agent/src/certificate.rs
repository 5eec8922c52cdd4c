//! What the agent reads from its own certificate.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::key::DeviceKey;
use crate::moment::Moment;

/// A device certificate: its PEM, and the facts the agent acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) common_name: String,
    /// Lowercase hexadecimal, without separators or leading zero bytes.
    pub(crate) serial: String,
    pub(crate) not_before: Moment,
    pub(crate) not_after: Moment,
    public_key_der: Vec<u8>,
}

/// Why a certificate cannot be this device's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Not exactly one certificate in PEM.
    #[error("it is not one X.509 certificate in PEM")]
    Unreadable,
    /// Its public key is not the one this device made.
    #[error("it is for another key than the one this device made")]
    OtherKey,
    /// Its common name is not this device's id.
    #[error("it names another device than {expected:?}")]
    OtherDevice {
        /// The id of this device.
        expected: String,
    },
}

impl Leaf {
    /// Reads one PEM certificate.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, LeafError> {
        let der =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| LeafError::Unreadable)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| LeafError::Unreadable)?;
        let common_name = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            pem: pem.to_owned(),
            common_name,
            serial: hex_serial(parsed.raw_serial()),
            not_before: Moment::from_unix_s(parsed.validity().not_before.timestamp()),
            not_after: Moment::from_unix_s(parsed.validity().not_after.timestamp()),
            public_key_der: parsed.public_key().raw.to_vec(),
            der: der.clone(),
        })
    }

    /// Whether the certificate is for this key.
    pub(crate) fn is_for(&self, key: &DeviceKey) -> bool {
        self.public_key_der == key.public_key_der()
    }

    /// Accepts the certificate as the device's own, or says why it is not.
    pub(crate) fn belongs_to(&self, device: &str, key: &DeviceKey) -> Result<(), LeafError> {
        if !self.is_for(key) {
            return Err(LeafError::OtherKey);
        }
        if self.common_name != device {
            return Err(LeafError::OtherDevice {
                expected: device.to_owned(),
            });
        }
        Ok(())
    }

    /// Two thirds of the life: when to renew while the gateway has not said anything else.
    pub(crate) fn usual_renewal(&self) -> Moment {
        let life_s = self.not_before.seconds_until(self.not_after);
        self.not_before.plus_s(life_s / 3 * 2)
    }
}

fn hex_serial(raw: &[u8]) -> String {
    let significant = raw.iter().position(|b| *b != 0).unwrap_or(raw.len());
    raw[significant..]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_ca::SmallCa;

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let ca = SmallCa::new();
        let (mine, other) = (
            DeviceKey::generate().unwrap(),
            DeviceKey::generate().unwrap(),
        );
        let leaf = Leaf::from_pem(&ca.device_certificate("lamp-1", &other)).unwrap();
        assert_eq!(leaf.belongs_to("lamp-1", &mine), Err(LeafError::OtherKey));
        assert_eq!(leaf.belongs_to("lamp-1", &other), Ok(()));
    }

    #[test]
    fn a_certificate_that_names_another_device_is_refused() {
        let ca = SmallCa::new();
        let key = DeviceKey::generate().unwrap();
        let leaf = Leaf::from_pem(&ca.device_certificate("lamp-2", &key)).unwrap();
        let expected = "lamp-1".to_owned();
        assert_eq!(
            leaf.belongs_to("lamp-1", &key),
            Err(LeafError::OtherDevice { expected })
        );
    }

    #[test]
    fn without_word_from_the_gateway_renewal_is_due_at_two_thirds() {
        let ca = SmallCa::new();
        let key = DeviceKey::generate().unwrap();
        let leaf = Leaf::from_pem(&ca.device_certificate("lamp-1", &key)).unwrap();
        let life_s = leaf.not_before.seconds_until(leaf.not_after);
        assert_eq!(
            leaf.not_before.seconds_until(leaf.usual_renewal()),
            life_s / 3 * 2
        );
    }

    #[test]
    fn a_serial_is_hexadecimal_without_its_leading_zero() {
        assert_eq!(hex_serial(&[0, 0x8f, 0x01]), "8f01");
    }
}
