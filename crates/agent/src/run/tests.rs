use super::*;

#[test]
fn a_revoked_device_ends_with_a_clear_message() {
    let told = RunError::Revoked.explain();
    assert_eq!(told.what, "The gateway refuses this device's certificate");
    assert_eq!(
        told.why,
        "the certificate was revoked, or replaced by a newer one"
    );
    assert!(told.remedy.contains("open a new claim"), "{}", told.remedy);
}
