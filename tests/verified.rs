//! The gateway verifies its own log, and says what it found.

use hearthkey_api::LogVerified;
use serde_json::Value;

use crate::rig::{Rig, json, until};
use crate::thief::tamper;

async fn verified(rig: &Rig) -> LogVerified {
    rig.client().get("/api/v1/log/verified").await.unwrap()
}

async fn ok_at(rig: &Rig, size: u64) -> LogVerified {
    until("the log is verified", async || {
        let verified = verified(rig).await;
        assert_eq!(verified.problem, None);
        (verified.ok && verified.size >= size).then_some(verified)
    })
    .await
}

async fn altered(rig: &Rig) -> Vec<Value> {
    let all = json(&rig.cli(&["check", "--json"]).await);
    let found = all.as_array().unwrap().iter();
    found
        .filter(|f| f["kind"] == "log-altered")
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_verified_from_its_first_record_at_start_and_as_it_grows() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let first = ok_at(&rig, rig.status().await.log_size).await;
    assert!(first.full_at.is_some() && first.size > 0, "{first:?}");
    rig.enroll("lamp").await;
    let grown = ok_at(&rig, rig.status().await.log_size).await;
    assert!(grown.size > first.size);
    assert_eq!(
        grown.full_at, first.full_at,
        "only what is new was looked at"
    );
    let checkpoint = rig
        .client()
        .get_bytes("/api/v1/log/checkpoint")
        .await
        .unwrap();
    let checkpoint = String::from_utf8(checkpoint.to_vec()).unwrap();
    let lines: Vec<&str> = checkpoint.lines().collect();
    assert_eq!(lines[1], grown.size.to_string());
    assert_eq!(Some(lines[2]), grown.root.as_deref());
    assert_eq!(altered(&rig).await, [Value::Null; 0]);
    let status = rig.cli(&["status"]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains(&format!("{}, verified 2", grown.size)),
        "{status}"
    );
    rig.restart().await;
    let again = ok_at(&rig, grown.size).await;
    assert_ne!(again.full_at, grown.full_at, "all of it, at each start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_altered_in_the_database_is_an_incident_and_a_finding_until_it_is_accepted()
 {
    let mut rig = Rig::new().await;
    rig.start().await;
    for device in ["lamp", "hall"] {
        rig.enroll(device).await;
    }
    rig.stop().await;
    // Opening the home looks at the log's end alone, and that is as it was.
    tamper(
        &rig,
        "UPDATE audit SET record = CAST(replace(CAST(record AS TEXT), '\"lamp\"', '\"lump\"') AS BLOB)
         WHERE seq = (SELECT min(seq) FROM audit WHERE instr(CAST(record AS TEXT), '\"lamp\"') > 0)",
    );
    rig.start().await;
    let problem = until("the alteration is found", async || {
        verified(&rig).await.problem
    })
    .await;
    assert!(
        problem.contains("does not match the signature"),
        "{problem}"
    );
    let incident = until("it is an incident", async || rig.status().await.incident).await;
    assert_eq!(incident, problem);
    assert!(!verified(&rig).await.ok);
    let found = altered(&rig).await;
    assert_eq!(found[0]["severity"], "critical");
    assert!(
        found[0]["what"].as_str().unwrap().contains(&problem),
        "{found:?}"
    );
    let refused = json(&rig.cli(&["environment", "add", "cellar", "--json"]).await);
    assert_eq!(refused["error"]["code"], "read_only");
    let log = rig.cli(&["log", "tail", "-n", "5"]).await;
    assert!(String::from_utf8_lossy(&log.stdout).contains("log.verify"));
    let accepted = rig
        .cli(&["log", "accept", "--reason", "I did it", "--json"])
        .await;
    assert!(accepted.status.success(), "{}", json(&accepted));
    rig.enroll("door").await;
    // It stays what it is, and stops nothing again.
    rig.restart().await;
    until("it is found again", async || verified(&rig).await.problem).await;
    assert_eq!(rig.status().await.incident, None);
    assert_eq!(altered(&rig).await.len(), 1);
    rig.enroll("cellar").await;
    // What is altered later is another incident.
    rig.stop().await;
    tamper(
        &rig,
        "UPDATE audit SET object = 'device:nobody' WHERE seq = 1",
    );
    rig.start().await;
    let second = until("it is an incident", async || rig.status().await.incident).await;
    assert!(second.contains("record 1 "), "{second}");
}
