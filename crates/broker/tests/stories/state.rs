//! What survives.

use std::sync::Arc;

use hearthkey_broker::{Limits, StateKind, StateRow};

use crate::client::{Client, Hello};
use crate::home::{Home, until};

async fn again(home: Home, rows: impl AsyncFnOnce(Home) -> Vec<StateRow>) -> Home {
    let (ca, access) = (Arc::clone(&home.ca), Arc::clone(&home.access));
    let rows = rows(home).await;
    Home::with(Limits::default(), rows, ca, access).await
}

async fn left_a_session(home: &Home) -> (crate::home::Identity, Client) {
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    let mut lamp_client = Client::device(home, &lamp, Hello::v5("lamp").lasting()).await;
    assert_eq!(lamp_client.subscribe("home/#", 1).await, 1);
    lamp_client.leave().await;
    until("the session to be away", || {
        home.broker.session_count() == 0
    })
    .await;
    (lamp, Client::device(home, &hall, Hello::v5("hall")).await)
}

#[tokio::test]
async fn a_restart_resumes_sessions_queued_messages_and_retained_ones() {
    let home = Home::new().await;
    let (lamp, mut hall) = left_a_session(&home).await;
    for number in 0..10 {
        hall.publish("home/hall/count", format!("{number}").as_bytes(), false)
            .await;
    }
    hall.publish("home/hall/kept", b"retained", true).await;
    hall.publish("home/hall/cleared", b"x", true).await;
    hall.publish("home/hall/cleared", b"", true).await;

    let home = again(home, async |home| home.stop().await).await;
    let hello = Hello::v5("lamp").lasting();
    let (mut client, present) = Client::connect(&home, Some(&lamp), &hello).await.unwrap();
    assert!(present);
    let mut texts = Vec::new();
    for _ in 0..13 {
        texts.push(client.message().await.text());
    }
    let expected = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "retained", "x", "",
    ];
    assert_eq!(texts, expected);
    client.subscribe("home/hall/+", 1).await;
    let kept = client.message().await;
    assert_eq!((kept.text().as_str(), kept.retain), ("retained", true));
    assert_eq!(home.rows(StateKind::Retained), ["home/hall/kept"]);
    until("the queue's rows to go", || {
        home.rows(StateKind::Queue).is_empty()
    })
    .await;
    until("the acknowledged to go", || {
        home.rows(StateKind::Inflight).is_empty()
    })
    .await;
}

#[tokio::test]
async fn after_a_kill_what_was_handed_over_is_there() {
    let home = Home::new().await;
    let (lamp, mut hall) = left_a_session(&home).await;
    hall.publish("home/hall/a", b"one", false).await;
    hall.publish("home/hall/b", b"two", true).await;
    until("the snapshot", || {
        home.rows(StateKind::Queue).len() == 2
            && home.rows(StateKind::Retained).len() == 1
            && home.rows(StateKind::Session) == ["lamp"]
    })
    .await;
    let home = again(home, async |home| home.all_rows()).await;
    let hello = Hello::v5("lamp").lasting();
    let (mut client, present) = Client::connect(&home, Some(&lamp), &hello).await.unwrap();
    assert!(present);
    assert_eq!(client.message().await.text(), "one");
    assert_eq!(client.message().await.text(), "two");
}

#[tokio::test]
async fn a_message_sent_but_not_acknowledged_comes_again_after_a_clean_stop() {
    let home = Home::new().await;
    let (lamp, mut hall) = left_a_session(&home).await;
    let mut client = Client::device(&home, &lamp, Hello::v5("lamp").lasting()).await;
    hall.publish("home/hall/a", b"unacknowledged", false).await;
    let (first, _) = client.read().await.unwrap();
    assert_eq!(first >> 4, 3);
    let home = again(home, async |home| home.stop().await).await;
    let mut client = Client::device(&home, &lamp, Hello::v5("lamp").lasting()).await;
    assert_eq!(client.message().await.text(), "unacknowledged");
}

#[tokio::test]
async fn forgetting_and_ending_leave_no_rows() {
    let home = Home::new().await;
    let (_, mut hall) = left_a_session(&home).await;
    hall.publish("home/hall/a", b"queued", false).await;
    until("the rows", || !home.rows(StateKind::Queue).is_empty()).await;
    home.broker.forget(&"lamp".parse().unwrap()).await;
    until("no session", || home.rows(StateKind::Session).is_empty()).await;
    until("no queue", || home.rows(StateKind::Queue).is_empty()).await;
}

#[tokio::test]
async fn a_stop_says_goodbye_and_unreadable_rows_do_not_keep_the_door_shut() {
    let home = Home::new().await;
    let bad = [
        (StateKind::Session, "lamp"),
        (StateKind::Queue, "lamp/00000000000000000001"),
        (StateKind::Queue, "nonsense"),
        (StateKind::Inflight, "lamp/out/00001"),
        (StateKind::Retained, "home/x"),
    ];
    let row = |(kind, key): (StateKind, &str)| StateRow {
        kind,
        key: key.into(),
        value: b"\0\0\0\x09{}".to_vec(),
    };
    let home = again(home, async |home| {
        home.stop().await;
        bad.map(row).to_vec()
    })
    .await;
    let lamp = home.enroll("lamp", 1);
    let mut client = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    until("bad rows to go", || {
        home.rows(StateKind::Session).is_empty() && home.rows(StateKind::Retained).is_empty()
    })
    .await;
    let broker = home.broker.clone();
    let (_, rows) = tokio::join!(client.ends(), home.stop());
    assert_eq!(broker.session_count(), 0);
    assert_eq!(rows, []);
}
