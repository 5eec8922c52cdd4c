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

#[test]
fn a_certificate_that_has_ended_by_this_clock_alone_may_need_a_new_claim() {
    let refused = |code: &str| Rejection {
        code: code.to_owned(),
        message: String::new(),
        remedy: "Send it again later.".to_owned(),
        retry_after_s: None,
    };
    let (ended, later) = (
        Moment::from_unix_s(1_800_000_000),
        Moment::from_unix_s(1_800_000_001),
    );
    let said = refused("clock_untrusted").beside_this_clock(ended, later);
    assert!(said.remedy.starts_with("Send it again later. By this"));
    assert!(said.remedy.contains("needs a new claim"), "{}", said.remedy);
    for (code, now) in [("clock_untrusted", ended), ("gateway_sealed", later)] {
        let said = refused(code).beside_this_clock(ended, now);
        assert_eq!(said.remedy, "Send it again later.");
    }
}
