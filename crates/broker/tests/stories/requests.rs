//! What devices ask of the gateway.

use std::sync::{Arc, RwLock};

use hearthkey_broker::Limits;

use crate::client::{Client, Hello};
use crate::home::{Authority, Home};

const RENEW: &str = "hearthkey/v1/devices/hub/renew";

#[tokio::test]
async fn a_renewal_is_answered_on_the_connection_that_asked_and_on_no_other() {
    let home = Home::new().await;
    let hub = home.enroll("hub", 3);
    let mut asks = Client::device(&home, &hub, Hello::v5("hub.1")).await;
    let mut listens = Client::device(&home, &hub, Hello::v5("hub.2")).await;
    let mut deaf = Client::device(&home, &hub, Hello::v5("hub.3")).await;
    for client in [&mut asks, &mut listens] {
        assert_eq!(client.subscribe("hearthkey/v1/devices/hub/#", 1).await, 1);
    }
    asks.offer(RENEW, b"csr", 2, &[]).await;
    let answer = asks.message().await;
    assert_eq!(
        (answer.topic.as_str(), answer.qos),
        ("hearthkey/v1/devices/hub/renew/accepted", 1)
    );
    home.hears(&["RenewalRequested", "Full"]).await;

    deaf.offer(RENEW, b"nobody listens", 2, &[]).await;
    home.hears(&["RenewalRequested"]).await;
    home.broker
        .publish("hearthkey/v1/devices/hub/notice", "a mark".into(), true)
        .await
        .unwrap();
    assert_eq!(
        listens.message().await.text(),
        "a mark",
        "neither the request nor its answer"
    );
    assert_eq!(asks.message().await.text(), "a mark");
}

#[tokio::test]
async fn an_acknowledged_trust_bundle_is_a_request_too() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let mut client = Client::device(&home, &lamp, Hello::v311("lamp")).await;
    client
        .subscribe("hearthkey/v1/devices/lamp/trust/ack/+", 2)
        .await;
    client
        .offer("hearthkey/v1/devices/lamp/trust/ack", b"ab12", 2, &[])
        .await;
    assert_eq!(
        client.message().await.topic,
        "hearthkey/v1/devices/lamp/trust/ack/accepted"
    );
    home.hears(&["TrustAcknowledged"]).await;
}

#[tokio::test]
async fn too_many_requests_are_answered_busy() {
    let limits = Limits {
        requests_per_minute_max: 2,
        ..Limits::default()
    };
    let (ca, access) = (Arc::new(Authority::new()), Arc::new(RwLock::default()));
    let home = Home::with(limits, Vec::new(), ca, access).await;
    let hub = home.enroll("hub", 1);
    let mut client = Client::device(&home, &hub, Hello::v5("hub")).await;
    client.subscribe(&format!("{RENEW}/+"), 1).await;
    for expected in ["accepted", "accepted", "rejected"] {
        client.offer(RENEW, b"csr", 2, &[]).await;
        let answer = client.message().await;
        assert_eq!(answer.topic, format!("{RENEW}/{expected}"));
        assert_eq!(
            expected == "rejected",
            answer.text().contains("rate_limited")
        );
    }
}
