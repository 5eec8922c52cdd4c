//! Access that ends waits for nothing: not for a disk that hangs, not for another request about the same thing.

use std::time::Duration;

use hearthkey_api::{
    DeviceChanged, Ended, LeaseList, Narrowed, PersonList, RevokeRequest, Revoked, Sealing,
    TokenList, TokenRevoked,
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::here::invited_by;
use crate::people::{Browser, invite, setup_link};
use crate::rig::{Rig, json as answer, until};
use crate::service::home;
use crate::stock::said;
use crate::storage_failure::FailingDisk;
use crate::wire::within;

/// The disk hangs for so long; an answer waits for it for 2 s.
const HANGS_S: u32 = 9;
/// By then a device is out. A busy machine is slow, and the disk is slower.
const OUT: Duration = Duration::from_secs(HANGS_S as u64 - 2);

/// Devices of one act.
const MANY: usize = 20;

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
    assert!(back.to_string().contains("not saved to disk yet"), "{back}");
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
async fn many_devices_are_out_at_once_although_the_disk_hangs() {
    let (rig, front) = home().await;
    Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    let mut bert = Browser::new(&front);
    bert.join(&invite(&rig, "bert", "operator", &["home"]).await, "bert")
        .await;
    let names: Vec<String> = (0..MANY).map(|n| format!("plug-{n:02}")).collect();
    let mut sessions = Vec::new();
    for name in &names {
        sessions.push(rig.enroll(name).await.connect().await.unwrap());
    }
    let files = ["hearthkey.db-wal", "hearthkey.db", "revocations.journal"];
    let Some(hanging) = FailingDisk::hanging(&rig, &files, HANGS_S).await else {
        return;
    };
    // A name that is beyond the caller is recorded, and nothing waits for that.
    let devices: Vec<_> = names.iter().cloned().chain(["ghost".into()]).collect();
    let body = json!({"action": "revoke", "devices": devices});
    let begun = Instant::now();
    let out = async {
        for session in sessions {
            within("the end of a session", session.closed()).await;
        }
        begun.elapsed()
    };
    let asked = async {
        let outcome = bert.post("/api/v1/devices/bulk", &body).await.json();
        (outcome, begun.elapsed())
    };
    let (out, (outcome, answered)) = tokio::join!(out, asked);
    assert!(out < OUT && answered < OUT, "{out:?} {answered:?}");
    let done = outcome["done"].as_array().unwrap();
    assert_eq!(done.len(), MANY, "{outcome}");
    assert!(done.iter().all(|one| one["state"] == "revoked"));
    assert_eq!(outcome["durable"], false);
    assert!(
        outcome["latency_us"].as_u64().unwrap() < 1_500_000,
        "{outcome}"
    );
    drop(hanging);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_the_disk_keep_no_owner_from_a_revocation() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let mut bert = Browser::new(&front);
    bert.join(&invite(&rig, "bert", "operator", &["lab"]).await, "bert")
        .await;
    let mut carl = Browser::new(&front);
    carl.join(&invite(&rig, "carl", "operator", &["lab"]).await, "carl")
        .await;
    let session = rig.enroll("plug").await.connect().await.unwrap();
    let files = ["hearthkey.db-wal", "hearthkey.db"];
    let Some(hanging) = FailingDisk::hanging(&rig, &files, HANGS_S).await else {
        return;
    };
    // Each claim waits for the disk, and then for the claim before it.
    let claim = json!({
        "device": "probe", "profile": "generic", "environment": "lab", "owner": "bert", "purpose": "test",
        "lifetime": "15m",
    })
    .to_string();
    let origin = format!("origin: {}", front.url);
    let many = [
        "-Z",
        "--parallel-max",
        "80",
        "--http2",
        "-X",
        "POST",
        "-H",
        &origin,
    ];
    let many = [
        &many[..],
        &["-H", "content-type: application/json", "-d", &claim],
    ]
    .concat();
    // As many as one connection takes, and one person has places for. Those that are answered meanwhile are asked again.
    let asking = async |who: &Browser<'_>| loop {
        who.ask("/api/v1/claims?n=[1-32]", &many).await;
    };
    let waiting = async { tokio::join!(asking(&bert), asking(&carl)) };
    let revoked = async {
        until("every place to be taken", async || {
            let answer = anna.get("/api/v1/people/me").await;
            (answer.status == 503).then_some(())
        })
        .await;
        let reason = json!({"reason": "key-compromise"});
        let path = "/api/v1/devices/plug/revoke";
        let (answer, ()) = tokio::join!(anna.post(path, &reason), async {
            within("the end of a session", session.closed()).await;
        });
        answer
    };
    let revoked = tokio::select! {
        _ = waiting => unreachable!("it asks for ever"),
        revoked = revoked => revoked,
    };
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert_eq!(revoked.json()["durable"], false);
    drop(hanging);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_borrowed_something_is_out_although_the_disk_hangs() {
    let (rig, front) = home().await;
    let stored = [
        &[
            "credential",
            "add",
            "hue/api-key",
            "--env",
            "home",
            "--generate",
        ][..],
        &["--kind", "password", "--owner", "anna", "--purpose", "test"],
    ]
    .concat();
    let stored = rig.cli(&stored).await;
    assert!(stored.status.success(), "{}", said(&stored));
    let key = front.key("ci").await;
    let public = front.bench.dir.join("ci.pub");
    let more = ["--key", public.to_str().unwrap(), "--allow", "*:lease"];
    let token = front.token_with(&rig, "ci", &more).await.token;
    let path = "/api/v1/environments/home/credentials/hue/api-key/lease";
    let body = ["-H", "content-type: application/json", "-d", "{}"];
    let lent = front.post(path, &token, &key, &body).await;
    assert_eq!(lent.status, 200, "{lent:?}");
    let files = ["hearthkey.db-wal", "hearthkey.db"];
    let Some(hanging) = FailingDisk::hanging(&rig, &files, HANGS_S).await else {
        return;
    };
    let begun = Instant::now();
    let revoked: TokenRevoked = rig
        .client()
        .post("/api/v1/tokens/ci/revoke", &json!({}))
        .await
        .unwrap();
    assert!(begun.elapsed() < OUT, "{:?}", begun.elapsed());
    assert!(!revoked.durable, "{revoked:?}");
    assert_eq!(revoked.leases_left, 1);
    drop(hanging);
    // What the answer did not wait for goes on.
    until("the lease to be ended", async || {
        let all: LeaseList = rig.client().get("/api/v1/leases").await.unwrap();
        all.leases.is_empty().then_some(())
    })
    .await;
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
        // Whatever became of the two, the device can be put elsewhere, perhaps after having been asked to try again.
        until("its turn", async || {
            let said = rig.device("plug").await.state;
            let verb = match said.as_str() {
                "active" => "suspend",
                _ => "resume",
            };
            rig.act("plug", verb).await.ok()
        })
        .await;
    }
    until("its turn", async || rig.act("plug", "suspend").await.ok()).await;
    rig.kill9().await;
    rig.start().await;
    assert_eq!(rig.device("plug").await.state, "suspended");
    let resumed = answer(&rig.cli(&["device", "resume", "plug", "--json"]).await);
    assert_eq!(resumed["durable"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_and_rights_that_are_taken_are_gone_although_the_disk_hangs() {
    let (mut rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let mut bert = Browser::new(&front);
    bert.join(&invite(&rig, "bert", "operator", &["home"]).await, "bert")
        .await;
    let session = rig.enroll("plug").await.connect().await.unwrap();
    let files = ["hearthkey.db-wal", "hearthkey.db"];
    let Some(hanging) = FailingDisk::hanging(&rig, &files, HANGS_S).await else {
        return;
    };
    let begun = Instant::now();
    let (role, nothing) = (
        json!({"role": "auditor", "environments": ["home"]}),
        json!({"keep": []}),
    );
    let client = rig.client();
    let (changed, narrowed, _) = tokio::join!(
        anna.post("/api/v1/people/bert/change", &role),
        client.post::<Narrowed>("/api/v1/devices/plug/narrow", &nothing),
        within("the end of a session", session.closed()),
    );
    assert!(begun.elapsed() < OUT, "{:?}", begun.elapsed());
    assert_eq!(changed.json()["durable"], false, "{changed:?}");
    let Narrowed { rights, durable } = narrowed.unwrap();
    assert!(!durable && rights.narrowed_at.is_some());
    assert!(
        rights
            .rights
            .iter()
            .all(|right| right.kept != right.narrowable)
    );
    // It is taken by now, and not only once the disk has it.
    assert_eq!(bert.get("/api/v1/session").await.json()["role"], "auditor");
    assert!(rig.status().await.revocations_pending > 0);
    let back = json!({"role": "operator", "environments": ["home"]});
    let changed = anna.post("/api/v1/people/bert/change", &back).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    until("everything to be on the disk", async || {
        (rig.status().await.revocations_pending == 0).then_some(())
    })
    .await;
    drop(hanging);
    rig.kill9().await;
    rig.start().await;
    let people: PersonList = rig.client().get("/api/v1/people").await.unwrap();
    let bert = people.people.iter().find(|person| person.name == "bert");
    assert_eq!(
        bert.unwrap().role,
        "operator",
        "what was decided last holds"
    );
    let path = "/api/v1/devices/plug/rights";
    let rights: hearthkey_api::RightsView = rig.client().get(path).await.unwrap();
    assert!(
        rights
            .rights
            .iter()
            .all(|right| right.kept != right.narrowable)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_sent_away_while_the_disk_hung_is_given_nothing_and_leaves_no_token_behind() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let mut dora = Browser::new(&front);
    let link = invited_by(&anna, "dora", "developer", &["lab"]).await;
    dora.join(&link, "dora").await;
    front.key("ci").await;
    let public = std::fs::read_to_string(front.bench.dir.join("ci.pub")).unwrap();
    let token = json!({
        "name": "left-behind", "role": "developer", "environments": ["lab"], "ttl": "1h", "ceiling": "1d",
        "public_key": public,
    });
    let files = ["hearthkey.db-wal", "hearthkey.db"];
    let Some(hanging) = FailingDisk::hanging(&rig, &files, HANGS_S).await else {
        return;
    };
    let (path, key) = ("/api/v1/tokens", ["idempotency-key: once"]);
    let in_use = "idempotency_key_reused";
    let asked = async {
        loop {
            let answer = dora.post_with(path, &key, &token).await;
            if answer.status != 422 || answer.code() != in_use {
                return answer;
            }
        }
    };
    let sent_away = async {
        // Another request with its key is refused for that as soon as it is being worked on.
        until("the request to wait for the disk", async || {
            let other = dora.post_with(path, &key, &json!({})).await;
            (other.code() == in_use).then_some(())
        })
        .await;
        let (client, body) = (rig.client(), json!({}));
        let end = client.post::<Ended>("/api/v1/people/dora/end", &body);
        end.await.unwrap()
    };
    let (answer, ended) = tokio::join!(asked, sent_away);
    assert!(!ended.durable);
    assert_eq!(answer.status, 401, "{answer:?}");
    drop(hanging);
    until("everything to be on the disk", async || {
        (rig.status().await.revocations_pending == 0).then_some(())
    })
    .await;
    let list: TokenList = rig.client().get(path).await.unwrap();
    let alive: Vec<_> = list
        .tokens
        .iter()
        .filter(|one| one.state == "live")
        .collect();
    assert!(alive.is_empty(), "{alive:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_is_sealed_although_the_disk_hangs() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let session = rig.enroll("plug").await.connect().await.unwrap();
    let files = ["hearthkey.db-wal", "hearthkey.db"];
    let Some(hanging) = FailingDisk::hanging(&rig, &files, HANGS_S).await else {
        return;
    };
    let begun = Instant::now();
    let body = json!({});
    let client = rig.client();
    let (sealed, out) = tokio::join!(client.post::<Sealing>("/api/v1/seal", &body), async {
        within("the end of a session", session.closed()).await;
        begun.elapsed()
    });
    assert!(out < OUT, "{out:?}");
    assert!(sealed.unwrap().sealed && rig.status().await.sealed);
    drop(hanging);
}
