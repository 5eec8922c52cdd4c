//! Access that ends waits for nothing: not for a disk that hangs, not for another request about the same thing.

use std::time::Duration;

use hearthkey_api::{DeviceChanged, RevokeRequest, Revoked};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::rig::{Rig, json as answer, until};
use crate::storage_failure::FailingDisk;
use crate::wire::within;

/// The disk hangs for so long; an answer waits for it for 2 s.
const HANGS_S: u32 = 6;
/// By then a device is out. A busy machine is slow, and the disk is slower.
const OUT: Duration = Duration::from_secs(HANGS_S as u64 - 2);

impl Rig {
    async fn put_out(&self, device: &str, verb: &str) -> bool {
        let path = format!("/api/v1/devices/{device}/{verb}");
        let reason = RevokeRequest {
            reason: "key-compromise".into(),
        };
        match verb {
            "revoke" => {
                let revoked: Revoked = self.client().post(&path, &reason).await.unwrap();
                assert!(revoked.latency_us < 1_000_000, "{revoked:?}");
                revoked.durable
            }
            _ => {
                let changed: DeviceChanged = self.client().post(&path, &json!({})).await.unwrap();
                changed.durable
            }
        }
    }
}

async fn nobody_waits_for(files: &[&str]) {
    let mut rig = Rig::new().await;
    rig.start().await;
    let verbs = ["revoke", "suspend", "retire"];
    let mut sessions = Vec::new();
    for verb in verbs {
        sessions.push(rig.enroll(verb).await.connect().await.unwrap());
    }
    let Some(hanging) = FailingDisk::hanging(&rig, files, HANGS_S).await else {
        return;
    };
    let begun = Instant::now();
    // What holds the lock of the first device while it waits for the disk.
    let ordinary = async {
        let rotate = "/api/v1/devices/revoke/rotate";
        let client = rig.client();
        let body = json!({});
        let asked = client.post::<DeviceChanged>(rotate, &body);
        // It is refused once the device is out, or done before that.
        let _ = asked.await;
    };
    let ends = async {
        let gone = sessions.into_iter().map(|session| session.closed());
        let out = async {
            for closed in gone {
                within("the end of a session", closed).await;
            }
            begun.elapsed()
        };
        tokio::join!(
            rig.put_out("revoke", "revoke"),
            rig.put_out("suspend", "suspend"),
            rig.put_out("retire", "retire"),
            out
        )
    };
    let ((), (revoked, suspended, retired, out)) = tokio::join!(ordinary, ends);
    assert!(out < OUT, "{out:?}");
    assert_eq!((revoked, suspended, retired), (false, false, false));
    // The gateway itself answers meanwhile.
    let status = timeout(Duration::from_secs(2), rig.status()).await.unwrap();
    assert!(status.revocations_pending > 0, "{status:?}");
    until("everything to be on the disk", async || {
        (rig.status().await.revocations_pending == 0).then_some(())
    })
    .await;
    drop(hanging);
    rig.kill9().await;
    rig.start().await;
    for (device, state) in [
        ("revoke", "revoked"),
        ("suspend", "suspended"),
        ("retire", "retired"),
    ] {
        assert_eq!(rig.device(device).await.state, state);
    }
    assert_eq!(rig.status().await.warnings.len(), 1, "the key file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_hangs_holds_up_no_end_of_access() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let session = rig.enroll("plug").await.connect().await.unwrap();
    let other = rig.enroll("hall").await.connect().await.unwrap();
    let Some(hanging) = FailingDisk::hanging(&rig, &["revocations.journal"], HANGS_S).await else {
        return;
    };
    let begun = Instant::now();
    let closed = tokio::spawn(session.closed());
    let (revoked, ()) = tokio::join!(rig.put_out("plug", "revoke"), async {
        within("the end of a session", closed).await.unwrap();
        assert!(begun.elapsed() < OUT);
    });
    assert!(!revoked);
    let back = rig.claim("plug").await.map(drop).unwrap_err();
    assert!(back.to_string().contains("not on the disk yet"), "{back}");
    // Neither the next revocation waits for the one before, nor anything else for the journal.
    let closed = tokio::spawn(other.closed());
    let retired = rig.put_out("hall", "retire").await;
    within("the end of a session", closed).await.unwrap();
    assert!(!retired);
    rig.claim("attic").await.unwrap();
    until("everything to be on the disk", async || {
        (rig.status().await.revocations_pending == 0).then_some(())
    })
    .await;
    rig.claim("plug").await.unwrap();
    drop(hanging);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_holds_up_no_end_of_access() {
    nobody_waits_for(&["hearthkey.db-wal", "hearthkey.db"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_suspended_and_resumed_again_and_again_ends_where_it_was_put_last() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.enroll("plug").await;
    for _ in 0..20 {
        let (suspended, resumed) =
            tokio::join!(rig.act("plug", "suspend"), rig.act("plug", "resume"));
        suspended.unwrap();
        // It may have been first, and found the device active, or been overtaken.
        let _ = resumed;
        let said = rig.device("plug").await.state;
        rig.act(
            "plug",
            if said == "active" {
                "suspend"
            } else {
                "resume"
            },
        )
        .await
        .unwrap();
    }
    rig.act("plug", "suspend").await.unwrap();
    rig.kill9().await;
    rig.start().await;
    assert_eq!(rig.device("plug").await.state, "suspended");
    let resumed = answer(&rig.cli(&["device", "resume", "plug", "--json"]).await);
    assert_eq!(resumed["durable"], true);
}
