use super::*;
use crate::claim::ClaimState;

const CERTIFICATE: Fingerprint = Fingerprint([7; 32]);

fn profile() -> Arc<Profile> {
    Arc::new(crate::profile::built_in().unwrap().remove(0))
}

fn access(device: DeviceState, certificate: CertificateState) -> Access {
    let mut access = Access::default();
    let id: DeviceId = "lamp".parse().unwrap();
    access.set_device(
        id.clone(),
        DeviceAccess::new(device, "home".parse().unwrap(), &profile()),
    );
    let not_after = Timestamp::from_s(1_000_000);
    access.set_certificate(
        CERTIFICATE,
        CertificateAccess {
            device: id,
            state: certificate,
            not_after,
            renews_only: false,
        },
    );
    access
}

const BEFORE: i64 = 999_999;
const IN_GRACE: i64 = 1_000_001;
const AFTER_GRACE: i64 = 1_000_000 + 31 * 86_400;

#[test]
fn only_an_active_device_with_a_live_certificate_comes_in() {
    use CertificateState as C;
    use DeviceState as D;
    let now = Timestamp::from_s(BEFORE);
    for (device, certificate, expected) in [
        (D::Active, C::Issued, None),
        (D::Active, C::Active, None),
        (D::Active, C::Superseded, Some(DoorRefusal::Superseded)),
        (D::Active, C::Revoked, Some(DoorRefusal::Revoked)),
        (D::Suspended, C::Active, Some(DoorRefusal::Suspended)),
        (D::Suspended, C::Revoked, Some(DoorRefusal::Revoked)),
        (D::Retired, C::Active, Some(DoorRefusal::Revoked)),
        (D::Revoked, C::Active, Some(DoorRefusal::Revoked)),
        (D::Pending, C::Issued, Some(DoorRefusal::Suspended)),
    ] {
        let verdict = access(device, certificate).admit(&CERTIFICATE, now).err();
        assert_eq!(verdict, expected, "{device:?} {certificate:?}");
    }
}

#[test]
fn an_expired_certificate_may_only_renew_and_only_within_its_grace_and_until_it_is_superseded() {
    let at = |state, s| {
        access(DeviceState::Active, state)
            .admit(&CERTIFICATE, Timestamp::from_s(s))
            .map(|admitted| admitted.admission)
    };
    use CertificateState::{Active, Superseded};
    assert_eq!(at(Active, BEFORE), Ok(Admission::Full));
    assert_eq!(at(Active, IN_GRACE), Ok(Admission::RenewalOnly));
    assert_eq!(at(Superseded, IN_GRACE), Err(DoorRefusal::Superseded));
    assert_eq!(at(Active, AFTER_GRACE), Err(DoorRefusal::Expired));
}

#[test]
fn a_decision_from_before_a_cut_gives_nothing_back() {
    let lamp: DeviceId = "lamp".parse().unwrap();
    let now = Timestamp::from_s(BEFORE);
    let newer = Fingerprint([8; 32]);
    let issued = || CertificateAccess {
        device: lamp.clone(),
        state: CertificateState::Issued,
        not_after: Timestamp::from_s(1_000_000),
        renews_only: false,
    };
    for to in [
        DeviceState::Suspended,
        DeviceState::Retired,
        DeviceState::Revoked,
    ] {
        let mut access = access(DeviceState::Active, CertificateState::Active);
        let seen = access.cuts(&lamp);
        access.cut_off(&lamp, to);
        assert!(!access.activate(&lamp, seen), "{to:?}");
        access.let_in(newer, issued(), seen);
        assert!(access.admit(&newer, now).is_err(), "{to:?}");
        // A claim that follows the cut brings the device back, and not what was issued before it.
        let seen = access.cuts(&lamp);
        let known = DeviceAccess::new(DeviceState::Pending, "home".parse().unwrap(), &profile());
        let mut claim = crate::claim::tests::claim(ClaimState::Open);
        claim.device = lamp.clone();
        assert!(access.readmit(known, claim, seen));
        assert!(access.activate(&lamp, seen));
        let stays_out = to != DeviceState::Suspended;
        assert_eq!(access.admit(&newer, now).is_err(), stays_out, "{to:?}");
        access.let_in(Fingerprint([9; 32]), issued(), seen);
        assert!(access.admit(&Fingerprint([9; 32]), now).is_ok(), "{to:?}");
    }
}

#[test]
fn what_is_taken_while_a_claim_is_opened_stays_taken() {
    let lamp: DeviceId = "lamp".parse().unwrap();
    let narrowing = Some(Arc::new(Narrowing::default()));
    for is_narrowed in [false, true] {
        let mut access = access(DeviceState::Active, CertificateState::Active);
        access.narrow(&lamp, narrowing.clone());
        let seen = access.cuts(&lamp);
        if is_narrowed {
            access.narrow(&lamp, None);
            access.narrow(&lamp, narrowing.clone());
        }
        let known = DeviceAccess::new(DeviceState::Active, "home".parse().unwrap(), &profile());
        let mut claim = crate::claim::tests::claim(ClaimState::Open);
        claim.device = lamp.clone();
        assert!(access.readmit(known, claim, seen), "it is not cut off");
        let kept = &access.device(&lamp).unwrap().narrowing;
        assert_eq!(kept.is_some(), is_narrowed);
    }
}

#[test]
fn who_is_out_for_good_is_not_kept_out_for_now() {
    let lamp: DeviceId = "lamp".parse().unwrap();
    let mut access = access(DeviceState::Active, CertificateState::Active);
    access.cut_off(&lamp, DeviceState::Revoked);
    let seen = access.cuts(&lamp);
    access.cut_off(&lamp, DeviceState::Suspended);
    let known = access.device(&lamp).unwrap();
    assert_eq!(known.state, DeviceState::Revoked);
    assert!(access.cuts(&lamp).is_cut_since(seen));
}

#[test]
fn a_revoked_certificate_stays_revoked() {
    let mut access = access(DeviceState::Active, CertificateState::Revoked);
    access.set_certificate_state(&CERTIFICATE, CertificateState::Active);
    let known = access.certificate(&CERTIFICATE).unwrap().clone();
    assert_eq!(known.state, CertificateState::Revoked);
    let state = CertificateState::Issued;
    access.set_certificate(CERTIFICATE, CertificateAccess { state, ..known });
    let verdict = access.admit(&CERTIFICATE, Timestamp::from_s(BEFORE));
    assert_eq!(verdict.err(), Some(DoorRefusal::Revoked));
}

#[test]
fn the_bell_rings_only_while_a_guest_is_expected() {
    let mut access = Access::default();
    let claim = crate::claim::tests::claim(ClaimState::Open);
    let over = claim.bell_until();
    assert!(!access.bell(Timestamp::from_s(5)));
    access.expect(claim.clone());
    assert!(access.bell(Timestamp::from_s(5)));
    assert!(!access.bell(over));
    access.forget_claims(&claim.device);
    assert!(!access.bell(Timestamp::from_s(5)));
}

#[test]
fn a_claim_that_was_closed_or_counted_out_in_memory_stays_so_whatever_is_read_of_it() {
    let now = Timestamp::from_s(5);
    let mut claim = crate::claim::tests::claim(ClaimState::Open);
    claim.opened_by = Some("mallory".into());
    let of = |name: &'static str| {
        move |claim: &Claim, _: Option<&DeviceAccess>| claim.opened_by.as_deref() == Some(name)
    };
    let mut access = access(DeviceState::Pending, CertificateState::Issued);
    access.expect(claim.clone());
    assert_eq!(access.close_claims(of("anna")), []);
    assert!(access.bell(now));
    assert_eq!(access.close_claims(of("mallory")), [claim.id.clone()]);
    assert!(!access.bell(now));
    access.expect(claim.clone());
    assert!(!access.bell(now), "the registry does not have it yet");
    assert_eq!(access.close_claims(of("mallory")), [], "once");

    access.forget_claims(&claim.device);
    access.expect(claim.clone());
    access.amend_claim(&claim.id, |claim| claim.count_wrong_try(true));
    access.expect(claim.clone());
    let known = access.claim(&claim.id).unwrap();
    assert_eq!((known.state, known.wrong_tries), (ClaimState::Locked, 1));
}

#[test]
fn a_device_that_was_let_in_again_may_only_renew_and_what_waits_is_told_from_what_is_unknown() {
    let now = Timestamp::from_s(BEFORE);
    let mut access = access(DeviceState::Active, CertificateState::Active);
    access.renews_only(&CERTIFICATE);
    let admitted = access.admit(&CERTIFICATE, now).unwrap();
    assert_eq!(admitted.admission, Admission::RenewalOnly);
    let waiting = Fingerprint([8; 32]);
    let refused = |access: &Access| access.admit(&waiting, now).unwrap_err();
    assert_eq!(refused(&access), DoorRefusal::UnknownCertificate);
    let lamp: DeviceId = "lamp".parse().unwrap();
    access.strangers().show(waiting, lamp.clone(), b"der");
    assert_eq!(refused(&access), DoorRefusal::Waiting);
    // Who is out for good waits for nothing.
    access.cut_off(&lamp, DeviceState::Revoked);
    assert_eq!(refused(&access), DoorRefusal::UnknownCertificate);
}
