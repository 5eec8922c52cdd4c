//! A certificate's life: `issued → active → superseded | expired | revoked(reason)`.

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, EnvironmentName, Fingerprint, SerialNumber};
use crate::key::ProvenKey;
use crate::time::{Span, Timestamp};

/// How far before its issue a certificate begins: devices without a clock are common.
pub const BACKDATE: Span = Span::hours(1);

/// How long the previous certificate stays valid when its successor is never seen.
pub const SECOND_SLOT: Span = Span::hours(24);

/// The state of a certificate. Whether it has expired is a matter of the time, not of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateState {
    /// Handed out, not yet seen on a connection.
    Issued,
    /// Seen on a connection.
    Active,
    /// Replaced by a successor that has been seen.
    Superseded,
    /// Taken back.
    Revoked,
}

impl CertificateState {
    /// Whether it is never accepted again, whatever the time.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Superseded | Self::Revoked)
    }

    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Active => "active",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
        }
    }
}

/// Why a certificate was revoked (RFC 5280 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    /// No reason was given.
    Unspecified,
    /// The device's private key is, or may be, in other hands.
    KeyCompromise,
    /// The device has moved to another owner or environment.
    AffiliationChanged,
    /// Another certificate takes its place.
    Superseded,
    /// The device is out of service.
    CessationOfOperation,
    /// The device may no longer do what the certificate says.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// Every reason a person may give.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The reason as people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    /// The CRLReason code of RFC 5280 §5.3.1.
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }
}

impl std::str::FromStr for RevocationReason {
    type Err = UnknownReason;
    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| UnknownReason(text.chars().take(40).collect()))
    }
}

/// Not a revocation reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a revocation reason: use unspecified, key-compromise, affiliation-changed, \
     superseded, cessation-of-operation or privilege-withdrawn"
)]
pub struct UnknownReason(String);

/// A certificate as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Its serial number.
    pub serial: SerialNumber,
    /// The device it names.
    pub device: DeviceId,
    /// The environment whose issuing CA signed it.
    pub environment: EnvironmentName,
    /// SHA-256 of the SubjectPublicKeyInfo it carries.
    pub key: Fingerprint,
    /// The serial number of the first certificate of its lineage.
    pub lineage: SerialNumber,
    /// How many renewals lie between the first certificate and this one.
    pub generation: u32,
    /// Its state.
    pub state: CertificateState,
    /// The first moment it is valid.
    pub not_before: Timestamp,
    /// The last moment it is valid.
    pub not_after: Timestamp,
    /// The window in which it is to be renewed.
    pub window: RenewalWindow,
    /// When it was issued.
    pub issued_at: Timestamp,
}

/// When a certificate is to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalWindow {
    /// Earlier requests are `renewal_too_early`.
    pub renew_after: Timestamp,
    /// Later requests are still served, until the certificate's grace has run out.
    pub renew_before: Timestamp,
}

impl RenewalWindow {
    /// The window of a certificate: it opens between 2/3 and 5/6 of its life, at a point that
    /// depends on the device's id, so that devices enrolled together do not renew together.
    /// It closes at 11/12.
    pub fn of(device: &DeviceId, issued_at: Timestamp, not_after: Timestamp) -> Self {
        let life = not_after.since(issued_at).as_ms();
        let hash = Fingerprint::of(device.as_str().as_bytes());
        let spread = i64::from(u16::from_be_bytes([hash.0[0], hash.0[1]]));
        let opens = life / 3 * 2 + life / 6 * spread / 65_536;
        Self {
            renew_after: issued_at.after(Span::ms(opens)).whole_second(),
            renew_before: issued_at.after(Span::ms(life / 12 * 11)).whole_second(),
        }
    }
}

/// Permission to sign one certificate. It is made by a decision of [`crate::enrollment`] or
/// [`crate::renewal`] and nowhere else, it cannot be copied, and signing consumes it.
#[derive(Debug, PartialEq, Eq)]
pub struct IssuanceOrder {
    pub(crate) device: DeviceId,
    pub(crate) environment: EnvironmentName,
    pub(crate) key: ProvenKey,
    pub(crate) serial: SerialNumber,
    pub(crate) lineage: SerialNumber,
    pub(crate) generation: u32,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) issued_at: Timestamp,
}

/// What an order is made from.
pub(crate) struct Grant<'a> {
    pub device: &'a DeviceId,
    pub environment: &'a EnvironmentName,
    pub key: ProvenKey,
    pub serial: SerialNumber,
    /// The lineage and generation to continue, or none to begin a lineage.
    pub continues: Option<(SerialNumber, u32)>,
    pub lifetime: Span,
    pub now: Timestamp,
}

/// A lifetime, cut to what the issuing CA has left: no certificate outlives what signed it. One that has nothing left signs
/// nothing, and says so itself.
pub(crate) fn fitting(lifetime: Span, issuer_ends: Timestamp, now: Timestamp) -> Span {
    let left = issuer_ends.since(now.whole_second());
    if left.as_ms() <= 0 {
        return lifetime;
    }
    Span::ms(lifetime.as_ms().min(left.as_ms()))
}

impl IssuanceOrder {
    pub(crate) fn new(grant: Grant<'_>) -> Self {
        let (lineage, generation) = match grant.continues {
            Some((lineage, generation)) => (lineage, generation.saturating_add(1)),
            None => (grant.serial, 0),
        };
        // A certificate holds whole seconds; the registry has the moment itself.
        let begins = grant.now.whole_second();
        Self {
            device: grant.device.clone(),
            environment: grant.environment.clone(),
            key: grant.key,
            serial: grant.serial,
            lineage,
            generation,
            not_before: begins.before(BACKDATE),
            not_after: begins.after(grant.lifetime),
            issued_at: grant.now,
        }
    }

    /// The device that the certificate will name.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }
    /// The environment whose issuing CA is to sign.
    pub fn environment(&self) -> &EnvironmentName {
        &self.environment
    }
    /// The public key to certify.
    pub fn key(&self) -> &ProvenKey {
        &self.key
    }
    /// The serial number to use.
    pub fn serial(&self) -> SerialNumber {
        self.serial
    }
    /// The first moment of validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }
    /// The last moment of validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The registry's entry for the certificate that this order becomes.
    pub fn into_certificate(self, fingerprint: Fingerprint) -> Certificate {
        let window = RenewalWindow::of(&self.device, self.issued_at, self.not_after);
        Certificate {
            fingerprint,
            serial: self.serial,
            device: self.device,
            environment: self.environment,
            key: self.key.fingerprint,
            lineage: self.lineage,
            generation: self.generation,
            state: CertificateState::Issued,
            not_before: self.not_before,
            not_after: self.not_after,
            window,
            issued_at: self.issued_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_devices_enrolled_together_do_not_renew_together() {
        let issued = Timestamp::from_s(1_000_000);
        let expires = issued.after(Span::days(30));
        let mut openings: Vec<i64> = (0..200)
            .map(|n| {
                let device = format!("device-{n}").parse().unwrap();
                let window = RenewalWindow::of(&device, issued, expires);
                assert!(window.renew_after >= issued.after(Span::days(20)));
                assert!(window.renew_after < window.renew_before);
                assert!(window.renew_before < expires);
                window.renew_after.as_s() / 3600
            })
            .collect();
        openings.sort_unstable();
        let busiest = openings.chunk_by(|a, b| a == b).map(<[_]>::len).max();
        assert!(busiest < Some(12), "{busiest:?} devices in one hour");
    }

    #[test]
    fn every_reason_is_read_as_it_is_written() {
        for reason in RevocationReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert!("hold".parse::<RevocationReason>().is_err());
    }
}
