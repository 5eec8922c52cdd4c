//! What a device's certificate says: for one that the registry does not know.

use hearthkey_core::id::{DeviceId, EnvironmentName, Fingerprint, SerialNumber};
use hearthkey_core::time::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::shape::{check_shape, device_in};

/// What a certificate of the shape of a device's says. Who has signed it is not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The device that it names.
    pub device: DeviceId,
    /// The environment of the CA that it names.
    pub environment: EnvironmentName,
    /// Its serial number.
    pub serial: SerialNumber,
    /// SHA-256 of the SubjectPublicKeyInfo that it carries.
    pub key: Fingerprint,
    /// The first moment it is valid.
    pub not_before: Timestamp,
    /// The last moment it is valid.
    pub not_after: Timestamp,
}

impl Leaf {
    /// Reads one; none of what has another shape.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (rest, x509) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        check_shape(&x509).ok()?;
        let unit = x509.issuer().iter_organizational_unit().next()?;
        Some(Self {
            device: device_in(x509.subject()).ok()?,
            environment: unit.as_str().ok()?.parse().ok()?,
            serial: SerialNumber(x509.raw_serial().try_into().ok()?),
            key: Fingerprint::of(x509.public_key().raw),
            not_before: Timestamp::from_s(x509.validity().not_before.timestamp()),
            not_after: Timestamp::from_s(x509.validity().not_after.timestamp()),
        })
    }
}
