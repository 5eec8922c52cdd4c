//! How a home is kept: what is found, why it matters, and who accepts it.

use hearthkey_api::Events;
use hearthkey_store::change::{Change, Write};
use serde_json::Value;

use crate::custody::stolen;
use crate::guest::add_profile;
use crate::rig::{Rig, json, until};

/// What `check` says of the inventory. Every home of these stories has a key file and no backup, and is said to.
pub async fn of_inventory(rig: &Rig) -> Value {
    let mut found = json(&rig.cli(&["check", "--json"]).await);
    let list = found.as_array_mut().unwrap();
    list.retain(|finding| {
        let kind = finding["kind"].as_str().unwrap();
        !["backup-missing", "key-file"].contains(&kind)
    });
    // As a service would be told of it.
    for finding in list {
        let finding = finding.as_object_mut().unwrap();
        finding.remove("why");
        finding.remove("acceptance");
    }
    found
}

async fn check(rig: &Rig, args: &[&str]) -> Value {
    let args = [&["check", "--json"], args].concat();
    json(&rig.cli(&args).await)
}

fn kinds(found: &Value) -> Vec<&str> {
    let list = found.as_array().unwrap().iter();
    let mut kinds: Vec<&str> = list.map(|f| f["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_home_is_told_what_is_not_as_it_should_be_and_why() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let found = check(&rig, &[]).await;
    assert_eq!(kinds(&found), ["backup-missing", "key-file"]);
    for finding in found.as_array().unwrap() {
        for part in ["what", "why", "remedy"] {
            assert!(
                finding[part].as_str().unwrap().ends_with(['.', ')']),
                "{finding}"
            );
        }
    }
    let text = rig.cli(&["check"]).await;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("If the disk fails, every secret in the vault is lost, and every device must be enrolled again."),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_is_accepted_by_somebody_for_a_reason_until_a_day_and_reopened() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let found = check(&rig, &[]).await;
    let list = found.as_array().unwrap();
    let backup = list.iter().find(|f| f["kind"] == "backup-missing").unwrap();
    let id = backup["id"].as_str().unwrap().to_owned();
    let accept = [
        "--accept",
        &id,
        "--owner",
        "anna",
        "--reason",
        "copied on Sunday",
    ];
    for bad in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "tomorrow"] {
        let refused = check(&rig, &[&accept[..], &["--until", bad]].concat()).await;
        assert!(refused["error"].is_object(), "{bad}: {refused}");
    }
    assert_eq!(kinds(&check(&rig, &accept).await), ["key-file"]);
    let all = check(&rig, &["--all"]).await;
    let accepted = all
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["id"] == id.as_str());
    let acceptance = &accepted.unwrap()["acceptance"];
    assert_eq!(acceptance["owner"], "anna");
    assert_eq!(acceptance["reason"], "copied on Sunday");
    rig.restart().await;
    assert_eq!(
        kinds(&check(&rig, &[]).await),
        ["key-file"],
        "it holds across a restart"
    );
    let log = rig.cli(&["log", "tail", "-n", "30"]).await;
    assert!(String::from_utf8_lossy(&log.stdout).contains("finding.accept"));
    assert_eq!(kinds(&check(&rig, &["--reopen", &id]).await).len(), 2);
    let again = check(&rig, &["--reopen", &id]).await;
    assert_eq!(again["error"]["code"], "refused");
    let nothing = ["--accept", "ffff", "--owner", "anna", "--reason", "x"];
    assert_eq!(check(&rig, &nothing).await["error"]["code"], "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_somebody_who_has_gone_is_found() {
    let (rig, front) = crate::service::home().await;
    let link = crate::people::setup_link(&rig).await;
    crate::people::Browser::new(&front)
        .join(&link, "anna")
        .await;
    crate::people::invite(&rig, "bert", "operator", &[]).await;
    let claim = [
        "device",
        "claim",
        "lamp",
        "--profile",
        "generic",
        "--environment",
        "home",
        "--owner",
        "Bert",
        "--purpose",
        "light",
    ];
    assert!(rig.cli(&claim).await.status.success());
    assert_eq!(of_inventory(&rig).await, serde_json::json!([]));
    assert!(rig.cli(&["person", "end", "bert"]).await.status.success());
    let found = of_inventory(&rig).await;
    assert_eq!(kinds(&found), ["orphaned"]);
    assert!(
        found[0]["what"]
            .as_str()
            .unwrap()
            .contains("1 device: lamp")
    );
    crate::people::invite(&rig, "bert", "operator", &[]).await;
    assert_eq!(of_inventory(&rig).await, serde_json::json!([]));
}

/// Adds so many devices to the database of a home that does not run, all like its first one.
async fn fill(rig: &Rig, count: usize) {
    let store = stolen(rig);
    let first = store.read(|registry| registry.devices("", 1)).unwrap();
    let mut change = Change::default();
    for n in 0..count {
        let mut device = first[0].device.clone();
        device.id = format!("stored-{n}").parse().unwrap();
        change.writes.push(Write::Device(device));
    }
    store.commit(change).await.unwrap();
    store.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_home_is_judged_beside_the_requests_and_whoever_waits_is_told_what_changed() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.claim("lamp").await.unwrap();
    rig.stop().await;
    fill(&rig, 1_000).await;
    rig.start().await;
    assert_eq!(
        kinds(&check(&rig, &[]).await),
        ["backup-missing", "key-file"]
    );
    let client = rig.client();
    let now: Events = client.get("/api/v1/events").await.unwrap();
    // A profile that allows weaker keys than the home's own: known to the next look, not to this one.
    add_profile(
        &rig,
        "old",
        "certificate_lifetime_days = 30\ngrace_days = 30\nkeys = [\"rsa2048\"]\n",
    )
    .await;
    check(&rig, &[]).await;
    let mut after = now.next;
    until("that something else is found", async || {
        let path = format!("/api/v1/events?wait_s=5&after={after}");
        let told: Events = client.get(&path).await.unwrap();
        after = told.next;
        told.findings.then_some(())
    })
    .await;
    let found = check(&rig, &[]).await;
    assert_eq!(
        kinds(&found),
        ["backup-missing", "key-file", "weak-algorithm"],
        "{found}"
    );
}
