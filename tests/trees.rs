//! Topic trees: no device gets another's by what it is called, and no profile is given one that a device has.

use serde_json::Value;

use crate::guest;
use crate::rig::Rig;
use crate::vault::{home, refused, told};

const CLAIM: [&str; 4] = ["--owner", "anna", "--purpose", "x"];

async fn claimed(rig: &Rig, device: &str, profile: &str, env: &str) {
    let args = [
        "device",
        "claim",
        device,
        "--profile",
        profile,
        "--environment",
        env,
    ];
    told(rig, &[&args[..], &CLAIM].concat()).await;
}

async fn not_claimed(rig: &Rig, device: &str, profile: &str, env: &str) -> Value {
    let args = [
        "device",
        "claim",
        device,
        "--profile",
        profile,
        "--environment",
        env,
    ];
    refused(rig, &[&args[..], &CLAIM].concat()).await
}

/// A file with a profile that has one topic.
fn profile(rig: &Rig, name: &str, topic: &str) -> String {
    let file = rig.work.path().join(format!("{name}.toml"));
    let text = format!(
        "name = {name:?}\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 30\n\
         keys = [\"p256\"]\n[[publish]]\ntopic = {topic:?}\nreason = \"r\"\n[[subscribe]]\ntopic = {topic:?}\nreason = \"r\"\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_not_called_like_the_tree_of_a_profile_that_there_is() {
    let rig = home().await;
    claimed(&rig, "alarm", "generic", "lab").await;
    for (name, topic) in [
        ("panel", "alarm/{device}/#"),
        ("deep", "site/{environment}/{device}/state"),
        ("joined", "sensor-{device}/#"),
    ] {
        told(&rig, &["profile", "add", &profile(&rig, name, topic)]).await;
    }
    told(&rig, &["device", "retire", "alarm"]).await;
    for device in [
        "alarm",
        "site",
        "sensor-attic",
        "zigbee2mqtt",
        "homeassistant",
        "cmnd",
    ] {
        let why = not_claimed(&rig, device, "esphome", "lab").await;
        assert!(why["detail"].to_string().contains("profile"), "{why}");
    }
    for device in ["alarms", "attic", "sensor"] {
        claimed(&rig, device, "esphome", "lab").await;
    }
    claimed(&rig, "site", "generic", "lab").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_not_given_a_tree_that_a_device_has_and_the_device_is_named() {
    let rig = home().await;
    claimed(&rig, "alarm", "esphome", "lab").await;
    let file = profile(&rig, "panel", "alarm/{device}/#");
    let why = refused(&rig, &["profile", "add", &file]).await;
    assert!(
        why["detail"].to_string().contains("device called alarm"),
        "{why}"
    );
    let file = profile(&rig, "panel", "alarms/{device}/#");
    told(&rig, &["profile", "add", &file]).await;
    let file = profile(&rig, "panel", "alarm/{device}/#");
    refused(&rig, &["profile", "add", &file]).await;
    let file = profile(&rig, "own", "rooms/{device}/#");
    told(&rig, &["profile", "add", &file]).await;
    claimed(&rig, "devices", "own", "home").await;
    let wider = profile(&rig, "own", "{device}/#");
    let why = refused(&rig, &["profile", "add", &wider]).await;
    assert!(
        why["detail"].to_string().contains("device called devices"),
        "{why}"
    );
    let by_place = profile(&rig, "by-place", "{environment}/{device}/#");
    told(&rig, &["profile", "add", &by_place]).await;
    let why = refused(&rig, &["environment", "add", "alarm"]).await;
    assert!(
        why["detail"].to_string().contains("device called alarm"),
        "{why}"
    );
    told(&rig, &["device", "retire", "alarm"]).await;
    let file = profile(&rig, "panel", "alarm/{device}/#");
    told(&rig, &["profile", "add", &file]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_device_hears_what_the_gateway_says_to_others_by_what_it_is_called() {
    let rig = home().await;
    told(
        &rig,
        &["profile", "add", &profile(&rig, "second", "+/{device}/#")],
    )
    .await;
    let why = not_claimed(&rig, "v1", "second", "lab").await;
    assert!(why["detail"].to_string().contains("gateway's own"), "{why}");
    claimed(&rig, "v2", "second", "lab").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_left_in_a_tree_is_not_said_to_those_whose_tree_it_becomes() {
    let (rig, door) = guest::home().await;
    let spy = guest::claim_for(&rig, "alarm", "esphome", "15m").await;
    let spy = door.device(&guest::enroll_with(&door, &spy).await).await;
    let planted = spy.unwrap().retain("alarm/hall/set", b"DISARM").await;
    assert_eq!(planted, Ok(0));
    told(&rig, &["device", "retire", "alarm"]).await;
    let panels = profile(&rig, "panel", "alarm/{device}/#");
    told(&rig, &["profile", "add", &panels]).await;
    let hall = guest::claim_for(&rig, "hall", "panel", "15m").await;
    let hall = guest::enroll_with(&door, &hall).await;
    let mut panel = door.device(&hall).await.unwrap();
    assert_eq!(panel.subscribe("alarm/hall/#").await, Ok(1));
    assert_eq!(panel.publish("alarm/hall/state", b"armed").await, Ok(0));
    assert_eq!(panel.message().await.unwrap().payload, b"armed");
}
