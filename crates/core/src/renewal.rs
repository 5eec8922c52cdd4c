//! May this certificate be followed by a new one?

use crate::certificate::{Certificate, CertificateState, Grant, IssuanceOrder, fitting};
use crate::device::{Device, DeviceState};
use crate::id::{Fingerprint, SerialNumber};
use crate::key::ProvenKey;
use crate::profile::Profile;
use crate::rejection::{Code, Rejection};
use crate::time::Timestamp;

/// What the decision rests on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The device, as it is now.
    pub device: &'a Device,
    /// Its profile.
    pub profile: &'a Profile,
    /// The certificate that the request was made with.
    pub presented: &'a Certificate,
    /// The certificate that followed it in its lineage, if there is one already.
    pub successor: Option<&'a Certificate>,
    /// Whether a certificate of this device had the key before.
    pub key_used_before: bool,
    /// Whether the key has been revoked as compromised.
    pub key_compromised: bool,
    /// Whether the device was let in again for a new key alone.
    pub readmitted: bool,
    /// Whether an operator has asked for a rotation that this certificate has not answered.
    pub rotate_now: bool,
    /// When the CA that would sign ends.
    pub issuer_ends: Timestamp,
    /// Whether the gateway's clock is believed.
    pub clock_trusted: bool,
}

/// What to do about a CSR that came over a device's own session.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Sign the next certificate of the lineage.
    Issue(IssuanceOrder),
    /// The answer was lost: send the certificate that was issued to this very key again.
    Redeliver(Fingerprint),
    /// Two different keys renew from one generation: somebody copied the device's key.
    /// The device is suspended and an alert raised.
    Clone,
    /// No.
    Refuse(Rejection),
}

/// Decides. `serial` is 16 random bytes, used only if a certificate is to be issued. A superseded or revoked certificate is refused at
/// the door already (`Access::admit`); here it is one whose session was open when that happened.
pub fn decide(facts: &Facts<'_>, key: ProvenKey, serial: SerialNumber, now: Timestamp) -> Decision {
    let presented = facts.presented;
    let refuse = |code: Code| Decision::Refuse(code.into());
    match facts.device.state {
        DeviceState::Active => {}
        DeviceState::Suspended | DeviceState::Pending => return refuse(Code::DeviceSuspended),
        DeviceState::Retired | DeviceState::Revoked => return refuse(Code::DeviceRevoked),
    }
    match presented.state {
        CertificateState::Issued | CertificateState::Active => {}
        CertificateState::Superseded | CertificateState::Revoked => {
            return refuse(Code::DeviceRevoked);
        }
    }
    if now > presented.not_after.after(facts.profile.grace()) {
        return refuse(Code::ApprovalRequired);
    }
    if let Some(successor) = facts.successor {
        return if successor.key == key.fingerprint {
            Decision::Redeliver(successor.fingerprint)
        } else {
            Decision::Clone
        };
    }
    if !facts.clock_trusted {
        return refuse(Code::ClockUntrusted);
    }
    let may_reuse = facts.profile.key_reuse && !facts.readmitted;
    let reused = facts.key_used_before && !may_reuse;
    if reused || facts.key_compromised || !facts.profile.keys.contains(&key.key_type) {
        return refuse(Code::CsrKeyUnsupported);
    }
    let opens = presented.window.renew_after;
    if now < opens && !facts.rotate_now {
        return Decision::Refuse(Rejection::retry_after(
            Code::RenewalTooEarly,
            opens.since(now),
        ));
    }
    Decision::Issue(IssuanceOrder::new(Grant {
        device: &facts.device.id,
        environment: &facts.device.environment,
        key,
        serial,
        continues: Some((presented.lineage, presented.generation)),
        lifetime: fitting(facts.profile.certificate_lifetime(), facts.issuer_ends, now),
        now,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::RenewalWindow;
    use crate::key::KeyType;
    use crate::time::Span;

    fn key(seed: u8) -> ProvenKey {
        ProvenKey::proven(KeyType::P256, vec![seed])
    }

    const DAY: i64 = 86_400;

    fn certificate(key: &ProvenKey, generation: u32) -> Certificate {
        let device = "lamp".parse().unwrap();
        let (issued_at, not_after) = (Timestamp::from_s(0), Timestamp::from_s(30 * DAY));
        Certificate {
            fingerprint: Fingerprint([generation as u8 + 1; 32]),
            serial: SerialNumber([0x40; 16]),
            window: RenewalWindow::of(&device, issued_at, not_after),
            device,
            environment: "home".parse().unwrap(),
            key: key.fingerprint,
            lineage: SerialNumber([0x40; 16]),
            generation,
            state: CertificateState::Active,
            not_before: issued_at,
            not_after,
            issued_at,
        }
    }

    struct Case {
        device: DeviceState,
        presented: Certificate,
        successor: Option<Certificate>,
        rotate_now: bool,
        day: i64,
    }

    fn case() -> Case {
        Case {
            device: DeviceState::Active,
            presented: certificate(&key(1), 4),
            successor: None,
            rotate_now: false,
            day: 26,
        }
    }

    fn decide_on(case: &Case, key: ProvenKey) -> Decision {
        let device = Device {
            id: "lamp".parse().unwrap(),
            state: case.device,
            environment: "home".parse().unwrap(),
            profile: "generic".parse().unwrap(),
            owner: "Ada".into(),
            purpose: "light".into(),
            created_at: Timestamp::from_s(0),
        };
        let profile = crate::profile::built_in().unwrap().remove(0);
        let facts = Facts {
            device: &device,
            profile: &profile,
            presented: &case.presented,
            successor: case.successor.as_ref(),
            key_used_before: key.fingerprint == case.presented.key,
            key_compromised: false,
            readmitted: false,
            rotate_now: case.rotate_now,
            issuer_ends: Timestamp::from_const_ms(i64::MAX / 2),
            clock_trusted: true,
        };
        decide(
            &facts,
            key,
            SerialNumber([0x42; 16]),
            Timestamp::from_s(case.day * DAY),
        )
    }

    fn code(decision: Decision) -> Code {
        match decision {
            Decision::Refuse(rejection) => rejection.code,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn in_its_window_a_certificate_is_followed_by_the_next_generation_of_its_lineage() {
        let Decision::Issue(order) = decide_on(&case(), key(2)) else {
            panic!("not issued")
        };
        let next = order.into_certificate(Fingerprint([9; 32]));
        assert_eq!(next.generation, 5);
        assert_eq!(next.lineage, certificate(&key(1), 4).lineage);
    }

    #[test]
    fn before_its_window_renewal_is_too_early_and_says_when_unless_an_operator_asked() {
        let early = Case { day: 10, ..case() };
        let Decision::Refuse(rejection) = decide_on(&early, key(2)) else {
            panic!("not refused")
        };
        assert_eq!(rejection.code, Code::RenewalTooEarly);
        assert!(rejection.retry_after_s.is_some_and(|s| s >= 10 * DAY));
        let asked = Case {
            day: 10,
            rotate_now: true,
            ..case()
        };
        assert!(matches!(decide_on(&asked, key(2)), Decision::Issue(_)));
    }

    #[test]
    fn the_same_key_again_gets_the_same_certificate_and_another_key_is_a_clone() {
        let renewed = Case {
            successor: Some(certificate(&key(2), 5)),
            ..case()
        };
        let successor = certificate(&key(2), 5).fingerprint;
        assert_eq!(decide_on(&renewed, key(2)), Decision::Redeliver(successor));
        assert_eq!(decide_on(&renewed, key(3)), Decision::Clone);
    }

    #[test]
    fn a_suspended_device_and_a_revoked_or_superseded_certificate_renew_nothing() {
        let suspended = Case {
            device: DeviceState::Suspended,
            ..case()
        };
        assert_eq!(code(decide_on(&suspended, key(2))), Code::DeviceSuspended);
        for state in [CertificateState::Superseded, CertificateState::Revoked] {
            let mut dead = case();
            dead.presented.state = state;
            assert_eq!(code(decide_on(&dead, key(2))), Code::DeviceRevoked);
        }
    }

    #[test]
    fn a_renewal_needs_a_new_key() {
        assert_eq!(code(decide_on(&case(), key(1))), Code::CsrKeyUnsupported);
    }

    #[test]
    fn a_device_that_was_let_in_again_needs_a_new_key_whatever_its_profile_says() {
        let again = case();
        let device = Device {
            id: "lamp".parse().unwrap(),
            state: DeviceState::Active,
            environment: "home".parse().unwrap(),
            profile: "generic".parse().unwrap(),
            owner: "Ada".into(),
            purpose: "light".into(),
            created_at: Timestamp::from_s(0),
        };
        let mut profile = crate::profile::built_in().unwrap().remove(0);
        profile.key_reuse = true;
        let decided = |readmitted, key: ProvenKey| {
            let facts = Facts {
                device: &device,
                profile: &profile,
                presented: &again.presented,
                successor: None,
                key_used_before: key.fingerprint == again.presented.key,
                key_compromised: false,
                readmitted,
                rotate_now: false,
                issuer_ends: Timestamp::from_const_ms(i64::MAX / 2),
                clock_trusted: true,
            };
            let now = Timestamp::from_s(again.day * DAY);
            decide(&facts, key, SerialNumber([0x42; 16]), now)
        };
        assert!(matches!(decided(false, key(1)), Decision::Issue(_)));
        assert_eq!(code(decided(true, key(1))), Code::CsrKeyUnsupported);
        assert!(matches!(decided(true, key(2)), Decision::Issue(_)));
    }

    #[test]
    fn an_expired_certificate_renews_within_its_grace_and_needs_a_person_after_it() {
        let in_grace = Case { day: 59, ..case() };
        assert!(matches!(decide_on(&in_grace, key(2)), Decision::Issue(_)));
        let late = Case { day: 61, ..case() };
        assert_eq!(code(decide_on(&late, key(2))), Code::ApprovalRequired);
        assert!(Timestamp::from_s(61 * DAY).since(case().presented.not_after) > Span::days(30));
    }
}
