//! Lists that are searched, and what happens as it happens.

use hearthkey_api::{DevicePage, DeviceSummary, Events, LogHistogram, LogSearch, Overview};

use crate::rig::{Rig, json};

async fn claimed(rig: &Rig, name: &str, owner: &str) {
    let args = [
        "device",
        "claim",
        name,
        "--profile",
        "generic",
        "--environment",
        "home",
        "--owner",
        owner,
        "--purpose",
        "light",
        "--json",
    ];
    let made = json(&rig.cli(&args).await);
    assert!(made["error"].is_null(), "{made}");
}

fn ids(page: &DevicePage) -> Vec<&str> {
    page.devices.iter().map(|d| d.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_found_sorted_and_counted_by_the_gateway() {
    let mut rig = Rig::new().await;
    rig.start().await;
    for (name, owner) in [("lamp-a", "anna"), ("lamp-b", "Bert"), ("door_1", "anna")] {
        let name = name.replace('_', "-");
        claimed(&rig, &name, owner).await;
    }
    let lamp = rig.enroll("lamp-c").await;
    let client = rig.client();
    let get = async |query: &str| -> DevicePage {
        client
            .get(&format!("/api/v1/devices?{query}"))
            .await
            .unwrap()
    };
    assert_eq!(get("").await.total, Some(4));
    assert_eq!(ids(&get("q=LAMP").await), ["lamp-a", "lamp-b", "lamp-c"]);
    assert_eq!(ids(&get("q=bert").await), ["lamp-b"]);
    assert_eq!(
        ids(&get("q=%25").await),
        [""; 0],
        "a percent sign is a percent sign"
    );
    assert_eq!(
        ids(&get("q=lamp&order=desc&limit=2").await),
        ["lamp-c", "lamp-b"]
    );
    assert_eq!(ids(&get("q=lamp&offset=1&limit=1").await), ["lamp-b"]);
    assert_eq!(ids(&get("sort=not_after").await)[0], "lamp-c");
    assert_eq!(ids(&get("sort=created_at&order=desc").await)[0], "lamp-c");
    assert_eq!(ids(&get("state=active").await), ["lamp-c"]);
    let pending = get("state=pending&owner=anna").await;
    assert_eq!(
        (ids(&pending), pending.total),
        (vec!["door-1", "lamp-a"], Some(2))
    );
    let first = get("limit=3").await;
    let rest = get(&format!("limit=3&after={}", first.next.unwrap())).await;
    assert_eq!(
        (ids(&rest), rest.total, rest.next.clone()),
        (vec!["lamp-c"], None, None)
    );
    let newest = get("q=lamp-c").await.devices[0].certificate.clone();
    assert!(newest.is_some_and(|certificate| certificate.generation == 0));
    for bad in ["sort=colour", "order=up", "environment=nowhere"] {
        let refused = client
            .get::<DevicePage>(&format!("/api/v1/devices?{bad}"))
            .await;
        assert!(refused.is_err(), "{bad}");
    }
    let summary: DeviceSummary = client.get("/api/v1/devices/summary").await.unwrap();
    assert_eq!((summary.total, summary.by_state["pending"]), (4, 3));
    let overview: Overview = client.get("/api/v1/overview").await.unwrap();
    assert_eq!(overview.state, "look", "a key file, and no backup");
    assert_eq!(overview.ends.iter().map(|day| day.devices).sum::<u64>(), 1);
    drop(lamp);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_to_whoever_waits_and_to_whoever_was_away() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let client = rig.client();
    let now: Events = client.get("/api/v1/events").await.unwrap();
    assert!(now.records.is_empty() && !now.connections);
    let path = format!("/api/v1/events?after={}&wait_s=30", now.next);
    let waiting = tokio::spawn({
        let client = rig.client();
        let path = path.clone();
        async move { client.get::<Events>(&path).await.unwrap() }
    });
    claimed(&rig, "lamp", "anna").await;
    let told = waiting.await.unwrap();
    assert_eq!(told.records[0].action, "claim.open");
    assert!(!told.missed);
    rig.stop().await;
    rig.start().await;
    let again: Events = rig.client().get(&path).await.unwrap();
    assert_eq!(
        again.records[0].seq, told.records[0].seq,
        "a restart loses nothing"
    );
    assert!(
        again.connections,
        "every session is another one after a restart"
    );
    let nothing = format!("/api/v1/events?after={}&wait_s=0", again.next);
    let nothing: Events = rig.client().get(&nothing).await.unwrap();
    assert!(nothing.records.is_empty());
    let ahead: Events = rig
        .client()
        .get("/api/v1/events?after=999999-x-0-0")
        .await
        .unwrap();
    assert!(
        ahead.missed,
        "a cursor of another log is told to begin anew"
    );
    assert!(
        rig.client()
            .get::<Events>("/api/v1/events?after=x")
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_by_what_stands_in_them_and_by_their_time() {
    let mut rig = Rig::new().await;
    rig.start().await;
    for name in ["lamp", "door"] {
        claimed(&rig, name, "anna").await;
    }
    let client = rig.client();
    let get = async |query: &str| -> LogSearch {
        client
            .get(&format!("/api/v1/log/search?{query}"))
            .await
            .unwrap()
    };
    let all = get("").await;
    assert_eq!(all.records.len() as u64, all.size);
    assert_eq!(all.next, None);
    assert!(all.records[0].seq > all.records[1].seq, "the newest first");
    let claims = get("action=claim.open").await.records;
    assert_eq!(claims.len(), 2);
    let object = {
        let record: serde_json::Value = serde_json::from_str(&claims[0].record).unwrap();
        record["object"].as_str().unwrap().to_owned()
    };
    let about = get(&format!("object={object}")).await;
    assert_eq!((about.records.len(), about.next), (1, None));
    assert_eq!(get("action=claim.*&actor=uid:*").await.records.len(), 2);
    assert_eq!(get("outcome=alert").await.records.len(), 0);
    let page = get("limit=1&action=claim.open").await;
    let rest = get(&format!("action=claim.open&before={}", page.next.unwrap())).await;
    assert_eq!(rest.records.len(), 1);
    assert_ne!(rest.records[0].seq, page.records[0].seq);
    assert_eq!(get("since=2999-01-01T00:00:00Z").await.records.len(), 0);
    assert_eq!(
        get("until=2999-01-01T00:00:00Z").await.records.len(),
        all.records.len()
    );
    let histogram: LogHistogram = client.get("/api/v1/log/histogram?buckets=7").await.unwrap();
    assert_eq!(histogram.buckets.len(), 7);
    let counted: u64 = histogram.buckets.iter().map(|bucket| bucket.records).sum();
    assert!(counted > 0 && counted <= all.size);
    let histogram = async |query: &str| -> LogHistogram {
        let path = format!("/api/v1/log/histogram?buckets=5&{query}");
        client.get(&path).await.unwrap()
    };
    for (query, found) in [
        ("action=claim.open", 2),
        (&format!("object={object}"), 1),
        ("action=claim.*&outcome=refused", 0),
        ("actor=uid:*&action=claim.open", 2),
    ] {
        // The last moment of a histogram is not in it.
        let until = "until=2999-01-01T00:00:00Z";
        let buckets = histogram(&format!("{query}&{until}")).await.buckets;
        let sum: u64 = buckets.iter().map(|bucket| bucket.records).sum();
        assert_eq!(sum, found, "{query}");
        for bucket in buckets {
            let ended = bucket.outcomes;
            let ends = ended.done + ended.refused + ended.held + ended.alert;
            assert_eq!((ends, bucket.complete), (bucket.records, true), "{query}");
        }
    }
}
