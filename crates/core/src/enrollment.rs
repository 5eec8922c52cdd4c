//! May this claim and this key have a certificate?

use crate::access::DeviceAccess;
use crate::certificate::{Grant, IssuanceOrder, fitting};
use crate::claim::{Claim, ClaimState, REDELIVERY};
use crate::device::DeviceState;
use crate::id::{Fingerprint, SerialNumber};
use crate::key::ProvenKey;
use crate::rejection::Code;
use crate::time::Timestamp;

/// What the decision rests on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The claim, as it is now.
    pub claim: &'a Claim,
    /// The device it names.
    pub device: &'a DeviceAccess,
    /// Whether the key has been revoked as compromised.
    pub key_compromised: bool,
    /// When the CA that would sign ends.
    pub issuer_ends: Timestamp,
    /// Whether the gateway's clock is believed.
    pub clock_trusted: bool,
}

/// What to do about a CSR that came with a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Sign one certificate; the device becomes active.
    Issue(IssuanceOrder),
    /// The answer was lost: send the certificate that was issued to this very key again.
    Redeliver(Fingerprint),
    /// A person has to compare the key's fingerprint first.
    Hold,
    /// No.
    Refuse(Code),
}

/// Decides. `serial` is 16 random bytes, used only if a certificate is to be issued.
pub fn decide(facts: &Facts<'_>, key: ProvenKey, serial: SerialNumber, now: Timestamp) -> Decision {
    let Facts {
        claim,
        device,
        key_compromised,
        issuer_ends,
        clock_trusted,
    } = *facts;
    let profile = &device.profile;
    match claim.state {
        ClaimState::Locked => return Decision::Refuse(Code::ClaimLocked),
        ClaimState::Closed => return Decision::Refuse(Code::ClaimExpired),
        ClaimState::Used => return redeliver(claim, device, &key, now),
        ClaimState::Open if now >= claim.expires_at => return Decision::Refuse(Code::ClaimExpired),
        ClaimState::Open => {}
    }
    match device.state {
        DeviceState::Pending | DeviceState::Active => {}
        DeviceState::Suspended => return Decision::Refuse(Code::DeviceSuspended),
        DeviceState::Retired | DeviceState::Revoked => {
            return Decision::Refuse(Code::DeviceRevoked);
        }
    }
    if !clock_trusted {
        return Decision::Refuse(Code::ClockUntrusted);
    }
    if key_compromised || !profile.keys.contains(&key.key_type) {
        return Decision::Refuse(Code::CsrKeyUnsupported);
    }
    if profile.approval && claim.approved_key != Some(key.fingerprint) {
        return Decision::Hold;
    }
    Decision::Issue(IssuanceOrder::new(Grant {
        device: &claim.device,
        environment: &device.environment,
        key,
        serial,
        continues: None,
        lifetime: fitting(profile.certificate_lifetime(), issuer_ends, now),
        now,
    }))
}

fn redeliver(claim: &Claim, device: &DeviceAccess, key: &ProvenKey, now: Timestamp) -> Decision {
    match claim.used {
        Some(used) if used.key == key.fingerprint && now < used.at.after(REDELIVERY) => {
            match device.state {
                DeviceState::Active => Decision::Redeliver(used.certificate),
                DeviceState::Suspended => Decision::Refuse(Code::DeviceSuspended),
                _ => Decision::Refuse(Code::DeviceRevoked),
            }
        }
        _ => Decision::Refuse(Code::ClaimUsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::{ClaimUse, tests::claim};
    use crate::key::KeyType;
    use crate::profile::Profile;

    const NEVER: Timestamp = Timestamp::from_const_ms(i64::MAX / 2);
    const SERIAL: SerialNumber = SerialNumber([0x41; 16]);

    fn key(seed: u8) -> ProvenKey {
        ProvenKey::proven(KeyType::P256, vec![seed])
    }

    fn profile() -> Profile {
        crate::profile::built_in().unwrap().remove(0)
    }

    fn device(state: DeviceState, profile: Profile) -> DeviceAccess {
        let environment = "home".parse().unwrap();
        DeviceAccess::new(state, environment, &profile.into())
    }

    fn decide_with(claim: &Claim, state: DeviceState, key: ProvenKey, at_s: i64) -> Decision {
        let facts = Facts {
            claim,
            device: &device(state, profile()),
            key_compromised: false,
            issuer_ends: NEVER,
            clock_trusted: true,
        };
        decide(&facts, key, SERIAL, Timestamp::from_s(at_s))
    }

    #[test]
    fn an_open_claim_issues_one_certificate_whose_every_field_comes_from_policy() {
        let open = claim(ClaimState::Open);
        let Decision::Issue(order) = decide_with(&open, DeviceState::Pending, key(1), 10) else {
            panic!("not issued");
        };
        assert_eq!(order.device().as_str(), "lamp");
        assert_eq!(order.serial(), SERIAL);
        assert_eq!(
            order.not_before(),
            Timestamp::from_s(0),
            "backdated, not before the epoch"
        );
        assert_eq!(
            order.not_after(),
            Timestamp::from_s(10).after(profile().certificate_lifetime())
        );
    }

    #[test]
    fn no_certificate_outlives_the_ca_that_signs_it() {
        let ends = Timestamp::from_s(5 * 86_400);
        let facts = Facts {
            claim: &claim(ClaimState::Open),
            device: &device(DeviceState::Pending, profile()),
            key_compromised: false,
            issuer_ends: ends,
            clock_trusted: true,
        };
        let decision = decide(&facts, key(1), SERIAL, Timestamp::from_s(10));
        let Decision::Issue(order) = decision else {
            panic!("{decision:?}");
        };
        assert_eq!(order.not_after(), ends);
    }

    #[test]
    fn a_used_claim_gives_the_same_key_the_same_certificate_for_ten_minutes_and_another_none() {
        let mut used = claim(ClaimState::Used);
        let certificate = Fingerprint([3; 32]);
        used.used = Some(ClaimUse {
            key: key(1).fingerprint,
            certificate,
            at: Timestamp::from_s(100),
        });
        let again = |k, at| decide_with(&used, DeviceState::Active, k, at);
        assert_eq!(again(key(1), 101), Decision::Redeliver(certificate));
        assert_eq!(again(key(2), 101), Decision::Refuse(Code::ClaimUsed));
        assert_eq!(again(key(1), 700), Decision::Refuse(Code::ClaimUsed));
        assert_eq!(
            decide_with(&used, DeviceState::Revoked, key(1), 101),
            Decision::Refuse(Code::DeviceRevoked)
        );
    }

    #[test]
    fn a_claim_that_is_expired_or_locked_says_so() {
        let expired = decide_with(&claim(ClaimState::Open), DeviceState::Pending, key(1), 900);
        assert_eq!(expired, Decision::Refuse(Code::ClaimExpired));
        let locked = decide_with(&claim(ClaimState::Locked), DeviceState::Pending, key(1), 10);
        assert_eq!(locked, Decision::Refuse(Code::ClaimLocked));
    }

    #[test]
    fn a_key_of_a_kind_the_profile_does_not_name_is_refused() {
        let rsa = ProvenKey::proven(KeyType::Rsa2048, vec![1]);
        let decision = decide_with(&claim(ClaimState::Open), DeviceState::Pending, rsa, 10);
        assert_eq!(decision, Decision::Refuse(Code::CsrKeyUnsupported));
    }

    #[test]
    fn a_profile_with_approval_holds_until_this_very_key_is_approved() {
        let mut profile = profile();
        profile.approval = true;
        let mut open = claim(ClaimState::Open);
        let mut decide_now = |approved: Option<Fingerprint>| {
            open.approved_key = approved;
            let facts = Facts {
                claim: &open,
                device: &device(DeviceState::Pending, profile.clone()),
                key_compromised: false,
                issuer_ends: NEVER,
                clock_trusted: true,
            };
            decide(&facts, key(1), SERIAL, Timestamp::from_s(10))
        };
        assert_eq!(decide_now(None), Decision::Hold);
        assert_eq!(decide_now(Some(key(2).fingerprint)), Decision::Hold);
        assert!(matches!(
            decide_now(Some(key(1).fingerprint)),
            Decision::Issue(_)
        ));
    }

    #[test]
    fn a_compromised_key_is_refused_whoever_brings_it() {
        let facts = Facts {
            claim: &claim(ClaimState::Open),
            device: &device(DeviceState::Pending, profile()),
            key_compromised: true,
            issuer_ends: NEVER,
            clock_trusted: true,
        };
        let decision = decide(&facts, key(1), SERIAL, Timestamp::from_s(10));
        assert_eq!(decision, Decision::Refuse(Code::CsrKeyUnsupported));
    }

    #[test]
    fn nothing_is_issued_while_the_clock_is_not_believed() {
        let open = claim(ClaimState::Open);
        let facts = Facts {
            claim: &open,
            device: &device(DeviceState::Pending, profile()),
            key_compromised: false,
            issuer_ends: NEVER,
            clock_trusted: false,
        };
        let decision = decide(&facts, key(1), SERIAL, Timestamp::from_s(10));
        assert_eq!(decision, Decision::Refuse(Code::ClockUntrusted));
    }
}
