use hearthkey_core::access::DoorRefusal;
use hearthkey_core::id::Fingerprint;
use hearthkey_core::time::Timestamp;
use hearthkey_store::keys::RootKey;

use super::*;

#[tokio::test]
async fn what_the_journal_holds_keeps_out_before_there_is_a_door() {
    let place = tempfile::tempdir().unwrap();
    let (root, home) = (RootKey::generate(), "home-1".parse().unwrap());
    let at = Timestamp::from_s(1_800_000_000);
    Store::create(place.path(), &root, &home, at).unwrap();
    let store = Store::open(place.path(), root, &home).unwrap().store;
    let (certificate, key) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
    let device: DeviceId = "lamp".parse().unwrap();
    let mut access = Access::default();
    let known = CertificateAccess {
        device: device.clone(),
        state: CertificateState::Active,
        not_after: at.after(LIFE_MAX),
        renews_only: false,
    };
    access.set_certificate(certificate, known);
    let access = RwLock::new(access);
    let revocation = Revocation {
        device,
        certificates: vec![certificate],
        keys: vec![key],
        reason: RevocationReason::KeyCompromise,
        at,
    };
    // The registry does not know the device, so that there is nothing to be written into it.
    assert!(replayed(&store, &access, &[revocation]).is_empty());
    let access = access.into_inner().unwrap();
    assert_eq!(access.admit(&certificate, at), Err(DoorRefusal::Revoked));
    assert!(access.is_compromised(&key));
}
