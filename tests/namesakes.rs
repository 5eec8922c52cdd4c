//! What another credential had before, a name or a thing at a bridge, is not taken over to get at its values.

use crate::critical::{CRITICAL, added_by, is_refused, shown};
use crate::pipeline::{ask, token};
use crate::service::home;
use crate::vault::{added, refused, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_critical_is_not_taken_up_again_at_a_lower_tier() {
    let (rig, front) = home().await;
    for name in ["crit/key", "crit/gone"] {
        added(&rig, name, "lab", b"critical-value", &CRITICAL).await;
    }
    told(&rig, &["credential", "retire", "crit/key", "--env", "lab"]).await;
    told(
        &rig,
        &[
            "credential",
            "retire",
            "crit/gone",
            "--env",
            "lab",
            "--grace",
            "0s",
        ],
    )
    .await;
    let new = front.bench.dir.join("new");
    std::fs::write(&new, "new-value").unwrap();
    let add = [
        "credential",
        "add",
        "crit/key",
        "--env",
        "lab",
        "--kind",
        "api-key",
        "--owner",
        "eve",
        "--purpose",
        "x",
        "--from-file",
        new.to_str().unwrap(),
    ];
    let wide = token(
        &rig,
        &front,
        "wide",
        &["*:list", "*:write", "*:rotate", "*:read"],
    )
    .await;
    is_refused(&rig, &wide, &add, "a pattern does not include it").await;
    let named = token(
        &rig,
        &front,
        "named",
        &["crit/key:write", "crit/gone:write"],
    )
    .await;
    is_refused(&rig, &named, &add, "whose values are still kept").await;
    let mut other = add;
    other[2] = "crit/gone";
    assert_eq!(
        ask(&rig, &named, &other).await.0,
        Some(0),
        "nothing of it is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_retired_is_not_brought_back_under_its_name() {
    let (rig, front) = home().await;
    let new = front.bench.dir.join("new");
    std::fs::write(&new, "new-value").unwrap();
    let new = new.to_str().unwrap();
    added(&rig, "old/key", "lab", b"old-value", &[]).await;
    told(&rig, &["credential", "retire", "old/key", "--env", "lab"]).await;
    let allow = ["old/*:read", "old/*:write", "old/*:rotate", "old/*:list"];
    let wide = token(&rig, &front, "wide", &allow).await;
    added_by(&rig, &wide, "old/key", new).await;
    let back = ["credential", "rollback", "old/key", "--env", "lab"];
    is_refused(&rig, &wide, &back, "earlier value of old/key is kept").await;
    refused(&rig, &back).await;
    let versions = shown(&rig, "old/key").await["versions"].clone();
    assert_eq!(versions.as_array().map(Vec::len), Some(2), "{versions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_thing_at_a_bridge_belongs_to_one_credential() {
    let (rig, _front) = home().await;
    added(
        &rig,
        "sys/main",
        "lab",
        b"main-value",
        &["--remote-id", "user-1"],
    )
    .await;
    for (name, taken) in [("sys/mine", true), ("other/mine", false)] {
        let output =
            crate::vault::add(&rig, name, "lab", b"x-value", &["--remote-id", "user-1"]).await;
        assert_eq!(output.status.success(), !taken, "{name}");
    }
    let main = shown(&rig, "sys/main").await;
    assert_eq!(main["versions"][0]["remote_id"], "user-1");
}
