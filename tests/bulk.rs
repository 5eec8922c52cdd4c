//! One act on many devices: what is told before is what happens, and each fails by itself.

use hearthkey_api::{
    BulkOutcome, BulkPreview, BulkPreviewRequest, BulkRequest, CallError, ClaimOpened,
    ClaimRequest, TokenCreated, TokenRequest, TokenView,
};
use serde_json::json;

use crate::guest::records;
use crate::people::{Browser, invite, setup_link};
use crate::rig::Rig;
use crate::service::home;
use crate::wire::within;

const PREVIEW: &str = "/api/v1/devices/preview";
const BULK: &str = "/api/v1/devices/bulk";

fn named(devices: &[&str]) -> Vec<String> {
    devices.iter().map(|name| (*name).to_owned()).collect()
}

async fn preview(rig: &Rig, action: &str, devices: Vec<String>) -> Result<BulkPreview, CallError> {
    let action = action.into();
    let request = BulkPreviewRequest { action, devices };
    rig.client().post(PREVIEW, &request).await
}

async fn bulk(
    rig: &Rig,
    (action, reason): (&str, Option<&str>),
    devices: &[&str],
) -> Result<BulkOutcome, CallError> {
    let request = BulkRequest {
        action: action.into(),
        reason: reason.map(str::to_owned),
        devices: named(devices),
    };
    rig.client().post(BULK, &request).await
}

fn stand(outcome: &BulkOutcome) -> Vec<(&str, &str)> {
    let done = outcome.done.iter();
    done.map(|one| (one.device.as_str(), one.state.as_str()))
        .collect()
}

fn failures(outcome: &BulkOutcome) -> Vec<(&str, &str)> {
    let failed = outcome.failed.iter();
    failed
        .map(|one| (one.device.as_str(), one.problem.code.as_str()))
        .collect()
}

async fn claimed_in(rig: &Rig, environment: &str, device: &str) {
    let request = ClaimRequest {
        device: device.into(),
        profile: "generic".into(),
        environment: environment.into(),
        owner: "anna".into(),
        purpose: "test".into(),
        lifetime: "15m".into(),
    };
    let _: ClaimOpened = rig.client().post("/api/v1/claims", &request).await.unwrap();
}

async fn bind_a_token(rig: &Rig, device: &str) {
    let request = TokenRequest {
        name: "ci".into(),
        environments: vec!["home".into()],
        allow: vec!["hue/api-key:read".into()],
        role: None,
        owner: None,
        purpose: None,
        ttl: "1h".into(),
        ceiling: "7d".into(),
        public_key: None,
        bind: Some(format!("device:{device}")),
        second_factor: None,
    };
    let _: TokenCreated = rig.client().post("/api/v1/tokens", &request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revocation_of_many_will_do_is_told_before_and_is_what_happens() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let (mut lamp, _plug) = (rig.enroll("lamp").await, rig.enroll("plug").await);
    let session = lamp.connect().await.unwrap();
    session.subscribe(&["devices/lamp/#"]).await.unwrap();
    let closed = tokio::spawn(session.closed());
    bind_a_token(&rig, "plug").await;
    let before = records(&rig).await.len();
    let asked = ["plug", "lamp", "ghost", "lamp", "No Name"];

    let told = preview(&rig, "revoke", named(&asked)).await.unwrap();
    let will: Vec<_> = told
        .will
        .iter()
        .map(|one| {
            (
                one.device.as_str(),
                one.sessions,
                one.certificates,
                one.tokens,
            )
        })
        .collect();
    assert_eq!(will, [("lamp", 1, 1, 0), ("plug", 0, 1, 1)]);
    assert_eq!(
        (told.will[0].from.as_str(), told.will[0].state.as_str()),
        ("active", "revoked")
    );
    let cannot: Vec<_> = told.cannot.iter().map(|one| one.device.as_str()).collect();
    assert_eq!(cannot, ["No Name", "ghost"]);
    assert_eq!(told.cannot[1].why, "There is no device ghost.");
    assert_eq!(
        told.says,
        [
            "2 devices will be revoked.",
            "1 live session ends, 2 certificates are revoked, 1 token is revoked.",
            "This cannot be undone. Only a new claim admits the device again.",
            "2 devices cannot be revoked and stay as they are.",
        ]
    );
    assert_eq!(
        records(&rig).await.len(),
        before,
        "to look is to do nothing"
    );
    assert_eq!(rig.device("lamp").await.state, "active");
    assert!(!closed.is_finished());

    let how = ("revoke", Some("key-compromise"));
    let outcome = bulk(&rig, how, &asked).await.unwrap();
    assert_eq!(stand(&outcome), [("lamp", "revoked"), ("plug", "revoked")]);
    assert_eq!(
        failures(&outcome),
        [("No Name", "invalid"), ("ghost", "not_found")]
    );
    assert_eq!((outcome.sessions_dropped, outcome.durable), (1, true));
    within("the end of the session", closed).await.unwrap();
    let token: TokenView = rig.client().get("/api/v1/tokens/ci").await.unwrap();
    assert_eq!(token.state, "revoked");
    // Each is on record by itself, as if it had been revoked alone.
    let log = records(&rig).await;
    for device in ["device:lamp", "device:plug"] {
        let its = log
            .iter()
            .filter(|r| r["action"] == "device.revoke" && r["object"] == device);
        let reasons: Vec<_> = its.map(|r| r["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["key-compromise"], "{device}");
    }
    // The journal has it: it outlives a power failure.
    rig.kill9().await;
    rig.start().await;
    for device in ["lamp", "plug"] {
        assert_eq!(rig.device(device).await.state, "revoked");
    }
    assert!(lamp.connect().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_with_one_device_keeps_no_other_from_it() {
    let mut rig = Rig::new().await;
    rig.start().await;
    for device in ["a-lamp", "b-plug", "c-gone"] {
        rig.enroll(device).await;
    }
    claimed_in(&rig, "home", "d-new").await;
    rig.revoke("c-gone").await.unwrap();
    let all = ["d-new", "c-gone", "b-plug", "a-lamp"];
    let refused = [("c-gone", "refused"), ("d-new", "refused")];
    for (action, state) in [
        ("rotate", "active"),
        ("suspend", "suspended"),
        ("resume", "active"),
    ] {
        let told = preview(&rig, action, named(&all)).await.unwrap();
        let outcome = bulk(&rig, (action, None), &all).await.unwrap();
        assert_eq!(
            stand(&outcome),
            [("a-lamp", state), ("b-plug", state)],
            "{action}"
        );
        assert_eq!(failures(&outcome), refused, "{action}");
        let foreseen = told.will.iter();
        let foreseen: Vec<_> = foreseen
            .map(|one| (one.device.as_str(), one.state.as_str()))
            .collect();
        assert_eq!(foreseen, stand(&outcome), "{action}");
        let cannot: Vec<_> = told.cannot.iter().map(|one| one.device.as_str()).collect();
        assert_eq!(cannot, ["c-gone", "d-new"], "{action}");
    }
    // Pressed twice, it does no harm, and the preview says that there is nothing to do.
    let again = preview(&rig, "resume", named(&["a-lamp"])).await.unwrap();
    assert_eq!(
        (again.will.len(), again.cannot[0].why.as_str()),
        (0, "It is active already.")
    );
    let outcome = bulk(&rig, ("resume", None), &["a-lamp"]).await.unwrap();
    assert_eq!(stand(&outcome), [("a-lamp", "active")]);
    let retired = bulk(&rig, ("retire", None), &all).await.unwrap();
    let out: Vec<_> = ["a-lamp", "b-plug", "d-new"]
        .map(|id| (id, "retired"))
        .into();
    assert_eq!(stand(&retired), out);
    assert_eq!(failures(&retired), [("c-gone", "refused")]);
    assert_eq!(rig.device("d-new").await.claims[0].state, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_a_bound_and_one_meaning() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.enroll("lamp").await;
    let many = |count: usize| (0..count).map(|n| format!("device-{n}")).collect();
    let full = preview(&rig, "revoke", many(1000)).await.unwrap();
    assert_eq!((full.will.len(), full.cannot.len()), (0, 1000));
    for (action, devices) in [
        ("revoke", many(1001)),
        ("revoke", Vec::new()),
        ("destroy", many(1)),
    ] {
        let refused = preview(&rig, action, devices).await.unwrap_err();
        assert!(refused.to_string().contains("is not valid"), "{refused}");
    }
    for how in [
        ("suspend", Some("key-compromise")),
        ("retire", Some("superseded")),
        ("revoke", Some("dislike")),
    ] {
        assert!(bulk(&rig, how, &["lamp"]).await.is_err(), "{how:?}");
    }
    assert_eq!(rig.device("lamp").await.state, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_limited_to_an_environment_changes_nothing_in_another() {
    let (rig, front) = home().await;
    claimed_in(&rig, "home", "door").await;
    claimed_in(&rig, "lab", "probe").await;
    Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    let mut bert = Browser::new(&front);
    bert.join(&invite(&rig, "bert", "operator", &["lab"]).await, "bert")
        .await;
    let body = json!({"action": "retire", "devices": ["probe", "door", "ghost"]});
    let told = bert.post(PREVIEW, &body).await.json();
    assert_eq!(told["will"].as_array().unwrap().len(), 1, "{told}");
    let outcome = bert.post(BULK, &body).await.json();
    assert_eq!(outcome["done"][0]["device"], "probe", "{outcome}");
    // What lies elsewhere is answered as what does not exist.
    let failed = outcome["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 2, "{outcome}");
    for (failed, name) in failed.iter().zip(["door", "ghost"]) {
        assert_eq!(failed["device"], name);
        assert_eq!(failed["problem"]["code"], "not_found");
        let title = format!("There is no device {name}.");
        assert_eq!(failed["problem"]["title"], title.as_str());
    }
    assert_eq!(rig.device("door").await.state, "pending");
    assert_eq!(rig.device("probe").await.state, "retired");
    let overstepped = records(&rig).await;
    assert!(
        overstepped
            .iter()
            .any(|r| r["action"] == "person.refuse" && r["object"] == "person:bert"),
        "reaching further is on record"
    );
    let mut udo = Browser::new(&front);
    udo.join(&invite(&rig, "udo", "auditor", &[]).await, "udo")
        .await;
    for path in [PREVIEW, BULK] {
        assert_eq!(udo.post(path, &body).await.code(), "forbidden", "{path}");
    }
}
