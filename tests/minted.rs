//! A value that a bridge has made is stored, or ended, or said to be left: whatever happens to the storage, to the
//! gateway, or to the rotation meanwhile.

use std::time::Duration;

use serde_json::Value;

use crate::issuer::{Issuer, Mood};
use crate::rig::{Rig, until};
use crate::rotation::{at_step, current, states};
use crate::storage_failure::{FailingDisk, SmallDisk};
use crate::vault::{home, told};

const ADD: [&str; 10] = [
    "--env",
    "home",
    "--kind",
    "api-token",
    "--owner",
    "anna",
    "--purpose",
    "x",
    "--generate",
    "--overlap",
];

/// A credential with a first value of the bridge's.
pub async fn generated(rig: &Rig, name: &str) {
    told(
        rig,
        &[&["credential", "add", name][..], &ADD, &["1h"]].concat(),
    )
    .await;
}

/// The findings about what may still work at a bridge.
async fn leftovers(rig: &Rig) -> Vec<Value> {
    let findings = crate::posture::of_inventory(rig).await;
    let all = findings.as_array().unwrap().iter();
    all.filter(|finding| finding["kind"] == "leftover")
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_a_full_disk_does_not_take_is_stored_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut rig = disk.rig().await;
    rig.start().await;
    let issuer = Issuer::connected(&rig, "sys").await;
    generated(&rig, "sys/token").await;
    issuer.is_in(Mood::Holds);
    told(&rig, &["credential", "rotate", "sys/token"]).await;
    issuer.has_made(2).await;
    disk.fill();
    issuer.is_in(Mood::Answers);
    until("the storage to be seen to take nothing", async || {
        (!rig.status().await.storage_available).then_some(())
    })
    .await;
    assert_eq!(issuer.live().len(), 2, "what works is not thrown away");
    disk.empty();
    at_step(&rig, "sys/token", "switch").await;
    assert_eq!(current(&rig, "sys/token").await.1, "issued-value-2");
    assert_eq!(issuer.made(), 2, "the bridge is not asked for another");
    assert!(leftovers(&rig).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_lost_by_a_kill_is_said_to_be_left_where_the_bridge_does_not_end_it() {
    let mut rig = home().await;
    let issuer = Issuer::connected(&rig, "sys").await;
    generated(&rig, "sys/token").await;
    issuer.is_in(Mood::Holds);
    told(&rig, &["credential", "rotate", "sys/token"]).await;
    issuer.has_made(2).await;
    rig.kill9().await;
    issuer.is_in(Mood::Answers);
    rig.start().await;
    at_step(&rig, "sys/token", "switch").await;
    assert_eq!(current(&rig, "sys/token").await.1, "issued-value-3");
    let left = leftovers(&rig).await;
    assert_eq!(left.len(), 1, "{left:?}");
    let remedy = left[0]["remedy"].as_str().unwrap();
    assert!(remedy.contains("home/sys/token v2"), "{remedy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_make_forgotten_what_an_earlier_try_may_have_made() {
    let rig = home().await;
    let issuer = Issuer::connected(&rig, "sys").await;
    generated(&rig, "sys/token").await;
    issuer.is_in(Mood::HangsUp);
    told(&rig, &["credential", "rotate", "sys/token"]).await;
    issuer.has_made(2).await;
    issuer.is_in(Mood::Refuses);
    until("a refusal to be noted", async || {
        let shown = told(&rig, &["credential", "show", "sys/token"]).await;
        let notes = shown["rotations"][0]["notes"].to_string();
        notes.contains("refused").then_some(())
    })
    .await;
    told(&rig, &["credential", "rollback", "sys/token"]).await;
    at_step(&rig, "sys/token", "undone").await;
    let left = leftovers(&rig).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(
        left[0]["remedy"].to_string().contains("home/sys/token v2"),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_whose_credential_was_retired_meanwhile_is_ended() {
    let rig = home().await;
    let issuer = Issuer::connected(&rig, "sys").await;
    generated(&rig, "sys/token").await;
    issuer.is_in(Mood::Holds);
    told(&rig, &["credential", "rotate", "sys/token"]).await;
    issuer.has_made(2).await;
    told(&rig, &["credential", "retire", "sys/token"]).await;
    assert_eq!(
        leftovers(&rig).await.len(),
        1,
        "it is said as long as it is so"
    );
    issuer.is_in(Mood::Answers);
    until("the value to be ended", async || {
        issuer.live().is_empty().then_some(())
    })
    .await;
    until("the finding to be over", async || {
        leftovers(&rig).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_a_bridge_that_is_not_connected_any_more_is_said_to_be_left() {
    let rig = home().await;
    for (bridge, end, step) in [
        ("ends", &["rotate", "--overlap", "0s"][..], "done"),
        ("undoes", &["rollback"][..], "undone"),
    ] {
        let issuer = Issuer::connected(&rig, bridge).await;
        let name = format!("{bridge}/token");
        generated(&rig, &name).await;
        told(&rig, &["credential", "rotate", &name]).await;
        at_step(&rig, &name, "switch").await;
        told(&rig, &["bridge", "disconnect", bridge]).await;
        told(
            &rig,
            &[&["credential", end[0], &name][..], &end[1..]].concat(),
        )
        .await;
        at_step(&rig, &name, step).await;
        assert_eq!(issuer.live().len(), 2);
    }
    let left = leftovers(&rig).await;
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bridge_makes_while_its_rotation_is_undone_is_said_to_be_left() {
    let rig = home().await;
    let issuer = Issuer::connected(&rig, "sys").await;
    generated(&rig, "sys/token").await;
    issuer.is_in(Mood::Refuses);
    rig.cli(&["credential", "rotate", "sys/token"]).await;
    let newest = async || {
        let shown = told(&rig, &["credential", "show", "sys/token"]).await;
        shown["rotations"][0].clone()
    };
    until("a refusal to be noted", async || {
        let notes = newest().await["notes"].to_string();
        notes.contains("refused").then_some(())
    })
    .await;
    let files = ["hearthkey.db-wal", "hearthkey.db"];
    let Some(hanging) = FailingDisk::hanging(&rig, &files, 5).await else {
        return;
    };
    issuer.is_in(Mood::HangsUp);
    until("the next try to be written down", async || {
        (newest().await["rests"] == false).then_some(())
    })
    .await;
    tokio::join!(
        told(&rig, &["credential", "rollback", "sys/token"]),
        async {
            newest().await;
            drop(hanging);
        }
    );
    at_step(&rig, "sys/token", "undone").await;
    let left = leftovers(&rig).await;
    // Which of the two comes first is open: what was made is said in any case.
    assert_eq!(left.len(), issuer.made() - 1, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_retired_without_its_bridge_is_said_to_be_left_and_can_be_ended_later() {
    let rig = home().await;
    let issuer = Issuer::connected(&rig, "sys").await;
    generated(&rig, "sys/token").await;
    told(&rig, &["bridge", "disconnect", "sys"]).await;
    let retire = ["credential", "retire", "sys/token", "--grace", "0s"];
    told(&rig, &retire).await;
    let left = leftovers(&rig).await;
    assert_eq!(left.len(), 1, "{left:?}");
    // What is needed to end it is kept.
    assert_eq!(states(&rig, "sys/token").await, ["retired"]);
    issuer.connect(&rig, "sys", "home", None).await;
    let retired = told(&rig, &retire).await;
    assert_eq!(retired[0]["revoked_at_bridge"], 1, "{retired}");
    assert!(issuer.live().is_empty());
    assert!(leftovers(&rig).await.is_empty());
    assert_eq!(states(&rig, "sys/token").await, ["destroyed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_time_has_come_and_that_its_bridge_does_not_end_is_said_to_be_left() {
    let rig = home().await;
    let issuer = Issuer::connected(&rig, "sys").await;
    generated(&rig, "sys/token").await;
    issuer.is_in(Mood::Keeps);
    let lend = ["credential", "lease", "sys/token", "--lifetime", "1s"];
    let lease = told(&rig, &lend).await["lease"].clone();
    let lease = lease.as_str().unwrap();
    until("the child to be said to be left", async || {
        let left = leftovers(&rig).await;
        left.first()?["what"]
            .to_string()
            .contains(lease)
            .then_some(())
    })
    .await;
    issuer.is_in(Mood::Answers);
    told(&rig, &["credential", "end-lease", lease]).await;
    assert!(leftovers(&rig).await.is_empty());
    assert_eq!(issuer.live(), ["issued-value-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_lease_is_ended_while_it_is_made_is_not_forgotten() {
    let mut rig = home().await;
    let issuer = Issuer::connected(&rig, "sys").await;
    generated(&rig, "sys/token").await;
    for killed in [false, true] {
        issuer.is_in(Mood::Holds);
        let made = issuer.made();
        let lending = {
            let args = ["credential", "lease", "sys/token", "--json"];
            let data_dir = rig.data_dir.clone();
            tokio::spawn(async move {
                let mut lease = crate::rig::hearthkey();
                lease.args(args).arg("--data-dir").arg(data_dir);
                lease.output().await.unwrap()
            })
        };
        issuer.has_made(made + 1).await;
        let leases = told(&rig, &["credential", "leases"]).await;
        let lease = leases[0]["lease"].as_str().unwrap().to_owned();
        told(&rig, &["credential", "end-lease", &lease]).await;
        let left = leftovers(&rig).await;
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0]["what"].to_string().contains(&lease), "{left:?}");
        if killed {
            rig.kill9().await;
            issuer.is_in(Mood::Answers);
            lending.await.unwrap();
            rig.start().await;
            let left = leftovers(&rig).await;
            assert!(left[0]["what"].to_string().contains(&lease), "{left:?}");
        } else {
            issuer.is_in(Mood::Answers);
            assert!(!lending.await.unwrap().status.success());
            until("the finding to be over", async || {
                leftovers(&rig).await.is_empty().then_some(())
            })
            .await;
            assert_eq!(issuer.live(), ["issued-value-1"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_and_rotating_wait_for_a_slow_bridge() {
    let rig = home().await;
    let issuer = Issuer::connected(&rig, "sys").await;
    issuer.is_in(Mood::Slow(Duration::from_secs(3)));
    let run = [
        "credential",
        "run",
        "--env",
        "home",
        "sys/token",
        "--",
        "sh",
        "-c",
        "printf %s \"$SYS_TOKEN\"",
    ];
    let add = [&["credential", "add", "sys/token"][..], &ADD, &["1h"]].concat();
    let added = rig.cli(&add).await;
    assert!(
        added.status.success(),
        "{}",
        String::from_utf8_lossy(&added.stderr)
    );
    assert_eq!(rig.cli(&run).await.stdout, b"issued-value-1");
    let rotated = rig.cli(&["credential", "rotate", "sys/token"]).await;
    assert!(
        rotated.status.success(),
        "{}",
        String::from_utf8_lossy(&rotated.stderr)
    );
    assert_eq!(rig.cli(&run).await.stdout, b"issued-value-2");
    issuer.is_in(Mood::Refuses);
    let other = [&["credential", "add", "sys/other"][..], &ADD, &["1h"]].concat();
    let none = rig.cli(&other).await;
    assert_eq!(none.status.code(), Some(1));
    let said = String::from_utf8_lossy(&none.stderr);
    assert!(said.contains("sys/other has no value yet"), "{said}");
}
