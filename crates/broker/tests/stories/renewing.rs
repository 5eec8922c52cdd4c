//! Connections that only renew: beside a session of their device, one at a time, without a will. And the notice, which is
//! current when it is read first.

use hearthkey_core::time::Timestamp;

use crate::client::{Client, Hello};
use crate::home::{Home, NOW_S, until};

const RENEWING: &str = "hearthkey-renew";
const NOTICE: &str = "hearthkey/v1/devices/lamp/notice";
const RENEW: &str = "hearthkey/v1/devices/lamp/renew";

#[tokio::test]
async fn a_device_renews_beside_the_only_session_that_it_may_have() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let hello = Hello::v5("zigbee").lasting();
    let mut product = Client::device(&home, &lamp, hello.clone()).await;
    product.subscribe("home/#", 1).await;

    let mut beside = Client::device(&home, &lamp, Hello::v5(RENEWING).lasting()).await;
    home.hears(&["SessionOpened", "RenewalOnly"]).await;
    for filter in [
        "home/#",
        "hearthkey/v1/trust/#",
        "hearthkey/v1/devices/lamp/#",
    ] {
        assert_eq!(beside.subscribe(filter, 1).await, 0x87, "{filter}");
    }
    let refused = beside.publish("home/lamp/state", b"on", false).await;
    assert_eq!(refused[2], 0x87);
    assert_eq!(beside.subscribe(NOTICE, 1).await, 1);
    assert_eq!(beside.subscribe(&format!("{RENEW}/+"), 1).await, 1);
    beside.offer(RENEW, b"csr", 2, &[]).await;
    assert_eq!(beside.message().await.topic, format!("{RENEW}/accepted"));
    home.hears(&["RenewalRequested", "RenewalOnly"]).await;
    // It stays as it is when everybody is judged anew.
    assert_eq!(home.broker.recheck().await.dropped.sessions, 0);
    product.publish("home/lamp/state", b"still", false).await;
    assert_eq!(product.message().await.text(), "still");
    beside.leave().await;
    product.publish("home/lamp/state", b"here", false).await;
    assert_eq!(product.message().await.text(), "here");
    product.leave().await;
    let (_, present) = Client::connect(&home, Some(&lamp), &hello).await.unwrap();
    assert!(present);
    let (_, present) = Client::connect(&home, Some(&lamp), &Hello::v5(RENEWING).lasting())
        .await
        .unwrap();
    assert!(!present, "it leaves no session behind");
}

#[tokio::test]
async fn a_second_connection_that_renews_takes_the_place_of_the_first() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let mut first = Client::device(&home, &lamp, Hello::v5(RENEWING)).await;
    for _ in 0..20 {
        let next = Client::device(&home, &lamp, Hello::v5(RENEWING)).await;
        assert_eq!(first.read().await, Some((0xe0, taken_over())));
        first.ends().await;
        first = next;
    }
    let device = "lamp".parse().unwrap();
    until("one connection", || {
        home.broker.sessions_of(&device).len() == 1
    })
    .await;
    assert_eq!(first.subscribe(NOTICE, 1).await, 1);
}

fn taken_over() -> Vec<u8> {
    let why = b"the device has made another connection";
    let length = u8::try_from(why.len()).unwrap();
    [&[0x8e, length + 3, 0x1f, 0, length][..], why].concat()
}

#[tokio::test]
async fn in_grace_a_will_is_no_obstacle_and_is_never_published() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    home.valid_until(&hall, NOW_S + 30 * 86_400);
    *home.now.lock().unwrap() = Timestamp::from_s(NOW_S + 2 * 86_400);
    let mut hall = Client::device(&home, &hall, Hello::v5("hall")).await;
    assert_eq!(hall.subscribe("home/#", 1).await, 1);
    for v5 in [true, false] {
        for topic in ["home/lamp/alive", "home/hall/alive", RENEW] {
            let will = Some((topic, &b"gone"[..]));
            let hello = Hello {
                will,
                v5,
                ..Hello::v5("lamp")
            };
            let mut lamp = Client::device(&home, &lamp, hello).await;
            lamp.subscribe(&format!("{RENEW}/+"), 1).await;
            lamp.offer(RENEW, b"csr", 2, &[]).await;
            assert_eq!(lamp.message().await.topic, format!("{RENEW}/accepted"));
            drop(lamp);
            home.hears(&["SessionClosed", "Lost"]).await;
        }
    }
    hall.publish("home/hall/state", b"a mark", false).await;
    assert_eq!(hall.message().await.text(), "a mark");
}

#[tokio::test]
async fn a_session_that_is_taken_up_again_is_told_the_present_notice_and_no_older_one() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let hello = Hello::v5("lamp").lasting();
    let says = async |text: &'static str| {
        let published = home.broker.publish(NOTICE, text.into(), true).await;
        published.unwrap();
    };
    for filter in [NOTICE, "hearthkey/v1/devices/lamp/#"] {
        // Without the session of the round before.
        let clean = Client::device(&home, &lamp, Hello::v5("lamp")).await;
        clean.leave().await;
        let mut client = Client::device(&home, &lamp, hello.clone()).await;
        says("first").await;
        client.subscribe(filter, 1).await;
        assert_eq!(client.message().await.text(), "first");
        client.leave().await;
        says("second").await;
        // Sent, and not acknowledged.
        let mut deaf = Client::device(&home, &lamp, hello.clone()).await;
        assert_eq!(deaf.read().await.unwrap().0 >> 4, 3);
        deaf.leave().await;
        for old in ["third", "fourth"] {
            says(old).await;
        }
        // Also if nothing has changed since the last notice.
        for _ in 0..3 {
            let (mut client, present) = Client::connect(&home, Some(&lamp), &hello).await.unwrap();
            assert!(present);
            assert_eq!(client.message().await.text(), "fourth");
            says("a mark").await;
            assert_eq!(client.message().await.text(), "a mark", "{filter}");
            says("fourth").await;
            assert_eq!(client.message().await.text(), "fourth");
            client.leave().await;
        }
    }
}
