use super::*;
use crate::auth::caller::tests::service;

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_of_the_values_that_the_caller_may_read() {
    let home = TestHome::new().await;
    for name in ["hue/key", "ha/key"] {
        home.add(asked(name)).await;
    }
    let mut elsewhere = asked("hue/key");
    elsewhere.environment = "home".into();
    elsewhere.value = Some(secret("another long value"));
    home.add(elsewhere).await;
    let marked = async |allow: &[&str]| home.vault.marks(&service(allow)).await.unwrap().marked;
    assert_eq!(marked(&["hue/key:read"]).await, 1);
    assert_eq!(marked(&["*:read"]).await, 2);
    assert_eq!(marked(&["*:list"]).await, 0);
    assert_eq!(home.vault.marks(&HERE).await.unwrap().marked, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_gets_no_marks_of_a_critical_value() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    let marked = async |allow: &[&str]| home.vault.marks(&service(allow)).await.unwrap().marked;
    assert_eq!(marked(&["hue/*:read"]).await, 0);
    assert_eq!(marked(&["hue/key:read"]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_would_be_found_everywhere_is_not_marked_and_named() {
    let home = TestHome::new().await;
    for (name, value) in [("hue/short", "1234567"), ("hue/plain", "aaaaaaaaaaaa")] {
        let mut request = asked(name);
        request.value = Some(secret(value));
        home.add(request).await;
    }
    let marks = home.vault.marks(&HERE).await.unwrap();
    assert_eq!(marks.marked, 0);
    assert_eq!(marks.not_marked.len(), 2);
    assert!(
        marks
            .not_marked
            .iter()
            .all(|why| why.starts_with("lab/hue/"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_hold_no_value_are_recorded_and_are_never_the_same() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let one = home.vault.marks(&HERE).await.unwrap().marks;
    let other = home.vault.marks(&HERE).await.unwrap().marks;
    assert_ne!(one.expose(), other.expose());
    let text = String::from_utf8_lossy(one.expose());
    assert!(!text.contains(&value_of("hue/key")));
    let records = home.records("credential.marks");
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].details["marked"], 1);
}
