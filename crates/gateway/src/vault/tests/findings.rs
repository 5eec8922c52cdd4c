use hearthkey_api::{FindingReport, FindingView, code};
use hearthkey_core::audit::Outcome;
use hearthkey_core::role::Act;
use hearthkey_core::time::Span;

use super::*;
use crate::auth::caller::tests::service;

fn leak(credential: Option<&str>) -> FindingReport {
    FindingReport {
        kind: "leaked".into(),
        credential: credential.map(str::to_owned),
        version: None,
        place: "/srv/notes.txt".into(),
        what: "line 3".into(),
    }
}

fn kinds(findings: &[FindingView]) -> Vec<&str> {
    findings
        .iter()
        .map(|finding| finding.kind.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_value_is_a_critical_finding_and_an_alert_in_the_log() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let found = home
        .vault
        .report_finding(&HERE, leak(Some("lab/hue/key")))
        .await;
    assert_eq!(found.unwrap().severity, "critical");
    assert_eq!(home.found("hue/key"), ["leaked"]);
    let record = home.records("finding.report").pop().unwrap();
    assert_eq!(record.outcome, Outcome::Alert);
    let home = home.reopened().await;
    assert_eq!(home.found("hue/key"), ["leaked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leak_is_over_when_the_value_was_replaced_after_it() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.vault
        .report_finding(&HERE, leak(Some("lab/hue/key")))
        .await
        .unwrap();
    home.wait(Span::minutes(1));
    home.renew("hue/key", "a new value").await;
    assert_eq!(home.found("hue/key"), ["leaked"]);
    home.wait(Span::hours(24));
    home.drive("hue/key").await;
    assert!(home.found("hue/key").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leak_that_is_found_while_a_value_is_being_replaced_stays() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    home.wait(Span::minutes(1));
    home.vault
        .report_finding(&HERE, leak(Some("lab/hue/key")))
        .await
        .unwrap();
    home.wait(Span::hours(24));
    home.drive("hue/key").await;
    assert_eq!(home.found("hue/key"), ["leaked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaked_and_unmanaged_secrets_are_reported_and_nothing_else() {
    let home = TestHome::new().await;
    for kind in ["due", "expired", "anything"] {
        let mut report = leak(None);
        report.kind = kind.into();
        let refused = home.vault.report_finding(&HERE, report).await;
        assert_eq!(refusal(refused), code::INVALID);
    }
    let mut report = leak(None);
    report.kind = "unmanaged".into();
    assert!(home.vault.report_finding(&HERE, report).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reported_twice_is_one_finding() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    for _ in 0..2 {
        home.vault
            .report_finding(&HERE, leak(Some("lab/hue/key")))
            .await
            .unwrap();
    }
    assert_eq!(home.found("hue/key"), ["leaked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reports_what_it_may_list_and_replaces_no_report_of_another() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.vault
        .report_finding(&HERE, leak(Some("lab/hue/key")))
        .await
        .unwrap();
    let reader = service(&["hue/key:read"]);
    let refused = home
        .vault
        .report_finding(&reader, leak(Some("lab/hue/key")))
        .await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
    let scanner = service(&["hue/key:list"]);
    let found = home
        .vault
        .report_finding(&scanner, leak(Some("lab/hue/key")))
        .await;
    assert!(found.is_ok());
    assert_eq!(home.found("hue/key"), ["leaked", "leaked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_reports_a_hundred_findings_within_an_hour() {
    let home = TestHome::new().await;
    let scanner = service(&["*:list"]);
    for _ in 0..100 {
        assert!(crate::state::locked(&home.vault.reports).takes("token:ci", home.now()));
    }
    let refused = home.vault.report_finding(&scanner, leak(None)).await;
    assert_eq!(refusal(refused), code::REFUSED);
    assert!(home.vault.report_finding(&HERE, leak(None)).await.is_ok());
    home.wait(Span::hours(2));
    assert!(
        home.vault
            .report_finding(&scanner, leak(None))
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_noted_finding_is_resolved_for_a_reason_and_once() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let found = home
        .vault
        .report_finding(&HERE, leak(Some("lab/hue/key")))
        .await
        .unwrap();
    let permit = here(Act::FindingAccept);
    let refused = home.vault.resolve_finding(&permit, &found.id, "").await;
    assert_eq!(refusal(refused), code::INVALID);
    let refused = home
        .vault
        .resolve_finding(&here(Act::FindingRead), &found.id, "seen")
        .await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
    home.vault
        .resolve_finding(&permit, &found.id, "a test value")
        .await
        .unwrap();
    assert!(home.found("hue/key").is_empty());
    let record = home.records("finding.resolve").pop().unwrap();
    assert_eq!(record.reason.as_deref(), Some("a test value"));
    let again = home
        .vault
        .resolve_finding(&permit, &found.id, "a test value")
        .await;
    assert_eq!(refusal(again), code::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_a_finding_before_it_comes_and_after() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.expires_at = Some(home.now().after(Span::days(90)).to_string());
    home.add(request).await;
    assert!(home.found("hue/key").is_empty());
    home.wait(Span::days(89));
    assert_eq!(home.found("hue/key"), ["ending"]);
    home.wait(Span::days(1));
    assert_eq!(home.found("hue/key"), ["expired"]);
    home.retire("hue/key").await;
    assert!(home.found("hue/key").is_empty());
}

/// One value in two credentials of lab, or in one of lab and one of home.
async fn shared(home: &TestHome, environment: &str) {
    home.add(asked("hue/key")).await;
    let mut same = asked("ha/key");
    same.environment = environment.into();
    same.value = Some(secret(&value_of("hue/key")));
    home.add(same).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_used_twice_is_worse_across_environments() {
    let home = TestHome::new().await;
    shared(&home, "lab").await;
    let findings = home.vault.findings(&HERE).unwrap().findings;
    assert_eq!(kinds(&findings), ["reused"]);
    let home = TestHome::new().await;
    shared(&home, "home").await;
    let findings = home.vault.findings(&HERE).unwrap().findings;
    assert_eq!(kinds(&findings), ["shared-across-environments"]);
    assert_eq!(findings[0].severity, "critical");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_writes_without_reading_cannot_guess_by_equal_values() {
    let home = TestHome::new().await;
    shared(&home, "lab").await;
    let sees = |allow: &[&str]| {
        let findings = home.vault.findings(&service(allow)).unwrap().findings;
        !findings.is_empty()
    };
    assert!(sees(&["*:list"]));
    assert!(!sees(&["*:list", "hue/key:write"]));
    assert!(sees(&["*:list", "hue/key:write", "*:read"]));
    assert!(!sees(&["hue/*:list"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_sees_the_findings_of_what_it_may_list() {
    let home = TestHome::new().await;
    for name in ["hue/key", "ha/key"] {
        home.add(asked(name)).await;
        let report = leak(Some(&format!("lab/{name}")));
        home.vault.report_finding(&HERE, report).await.unwrap();
    }
    home.vault.report_finding(&HERE, leak(None)).await.unwrap();
    let seen = home
        .vault
        .findings(&service(&["hue/*:list"]))
        .unwrap()
        .findings;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].object, "credential:lab/hue/key");
    assert_eq!(home.vault.findings(&HERE).unwrap().findings.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_findings_come_first() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.wait(Span::days(366));
    home.vault.report_finding(&HERE, leak(None)).await.unwrap();
    home.vault
        .report_finding(&HERE, leak(Some("lab/hue/key")))
        .await
        .unwrap();
    let findings = home.vault.findings(&HERE).unwrap().findings;
    let severities: Vec<&str> = findings.iter().map(|one| one.severity.as_str()).collect();
    assert_eq!(severities, ["critical", "high", "medium"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_value_that_is_found_is_not_rotated_again() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    home.wait(Span::hours(24));
    home.drive("hue/key").await;
    let seen = |version| FindingReport {
        version: Some(version),
        ..leak(Some("lab/hue/key"))
    };
    let old = home.vault.report_finding(&HERE, seen(1)).await.unwrap();
    assert_eq!(old.severity, "high");
    assert!(!old.remedy.contains("rotate"), "{}", old.remedy);
    let new = home.vault.report_finding(&HERE, seen(2)).await.unwrap();
    assert_eq!(new.severity, "critical");
    // The value was entered: the bare command would be refused.
    let command = "`hearthkey credential rotate hue/key --env lab --from-file FILE --overlap 0s`";
    assert!(new.remedy.contains(command), "{}", new.remedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_nothing_can_follow_by_itself_is_said_to_be_so() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.add(generated("hue/made")).await;
    let automatic = || hearthkey_api::CredentialChange {
        rotation: Some(hearthkey_api::RotationPolicyView {
            automatic: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    let id = |name: &str| home.vault.credential_named(&format!("lab/{name}")).unwrap();
    let (entered, made) = (id("hue/key"), id("hue/made"));
    let changed = home.vault.describe_credential(&HERE, &entered, automatic());
    let warnings = changed.await.unwrap().warnings;
    assert!(
        warnings[0].contains("does not rotate by itself"),
        "{warnings:?}"
    );
    let changed = home.vault.describe_credential(&HERE, &made, automatic());
    assert!(changed.await.unwrap().warnings.is_empty());
}
