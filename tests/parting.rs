//! What somebody had handed out, and where they were logged in, when their access or their ways in change.

use hearthkey_api::ClaimOpened;
use serde_json::{Value, json};

use crate::here::invited_by;
use crate::people::{Browser, PASSWORD, base32, code, setup_link};
use crate::rig::{Rig, json as said_in_json, until};
use crate::service::{Front, home};
use crate::stock::Bench;
use crate::storage_failure::FailingDisk;

/// Opens a claim.
async fn claimed_by(person: &Browser<'_>, device: &str, environment: &str) -> ClaimOpened {
    let claim = json!({
        "device": device, "profile": "generic", "environment": environment, "owner": "anna", "purpose": "test",
        "lifetime": "24h",
    });
    let opened = person.post("/api/v1/claims", &claim).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    serde_json::from_value(opened.json()).unwrap()
}

/// Whether a link is good.
async fn is_good(front: &Front, link: &str) -> bool {
    let token = json!({"token": link.split_once('#').unwrap().1});
    let look = "/api/v1/invitations/look";
    Browser::new(front).post(look, &token).await.status == 200
}

/// Whether a claim gives its device a certificate.
async fn enrolls(bench: &Bench, claim: &ClaimOpened) -> bool {
    let csr = bench.csr(&claim.device, &[]).await;
    bench.ask(claim, &csr).await.contains("BEGIN CERTIFICATE")
}

async fn all_on_the_disk(rig: &Rig) {
    until("everything to be on the disk", async || {
        (rig.status().await.revocations_pending == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_had_handed_out_is_good_no_more_once_they_were_sent_away() {
    let (mut rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let mut mallory = Browser::new(&front);
    let link = invited_by(&anna, "mallory", "owner", &[]).await;
    mallory.join(&link, "mallory").await;
    let eve = invited_by(&mallory, "eve", "owner", &[]).await;
    let again = "/api/v1/people/anna/invite";
    let again = mallory.post(again, &json!({})).await.json();
    let again = again["url"].as_str().unwrap();
    let bert = invited_by(&anna, "bert", "auditor", &[]).await;
    let spy = claimed_by(&mallory, "spy", "home").await;
    let lamp = claimed_by(&anna, "lamp", "home").await;
    for link in [&eve, again, &bert] {
        assert!(is_good(&front, link).await);
    }
    let ended = anna.post("/api/v1/people/mallory/end", &json!({})).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    assert!(!is_good(&front, &eve).await && !is_good(&front, again).await);
    assert!(!enrolls(&front.bench, &spy).await);
    all_on_the_disk(&rig).await;
    rig.restart().await;
    assert!(!is_good(&front, &eve).await && !is_good(&front, again).await);
    let bench = Bench::new(&rig, "again").await;
    assert!(!enrolls(&bench, &spy).await);
    // What others have handed out stays good.
    assert!(enrolls(&bench, &lamp).await);
    Browser::new(&front).join(&bert, "bert").await;
    let log = rig.verified_log().await;
    assert_eq!(log.matches("\"action\":\"claim.close\"").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_less_keeps_open_what_they_may_still_open() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let mut mallory = Browser::new(&front);
    let link = invited_by(&anna, "mallory", "owner", &[]).await;
    mallory.join(&link, "mallory").await;
    let eve = invited_by(&mallory, "eve", "auditor", &[]).await;
    let hall = claimed_by(&mallory, "hall", "home").await;
    let probe = claimed_by(&mallory, "probe", "lab").await;
    let less = json!({"role": "operator", "environments": ["lab"]});
    let changed = anna.post("/api/v1/people/mallory/change", &less).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert!(!is_good(&front, &eve).await);
    assert!(!enrolls(&front.bench, &hall).await);
    assert!(enrolls(&front.bench, &probe).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_anew_is_logged_in_nowhere_else() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let invited = rig.cli(&["person", "invite-again", "anna", "--json"]).await;
    let invited: Value = said_in_json(&invited);
    assert_eq!(anna.get("/api/v1/session").await.status, 200);
    let mut anew = Browser::new(&front);
    anew.join(invited["url"].as_str().unwrap(), "anna").await;
    assert_eq!(anna.get("/api/v1/session").await.status, 401);
    assert_eq!(anew.get("/api/v1/session").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_and_the_other_sessions_are_out_although_the_disk_hangs() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    let kept = anna.join(&setup_link(&rig).await, "anna").await;
    let mut phone = Browser::new(&front);
    let login = phone.log_in("anna", PASSWORD, &code(&kept.totp, 1)).await;
    phone.keep(&login);
    let password = json!({"password": "four other words instead"});
    let path = "/api/v1/people/me/password";
    let begun = anna.post(path, &password).await.json();
    let totp = base32(begun["totp_secret"].as_str().unwrap());
    let files = ["hearthkey.db-wal", "hearthkey.db"];
    let Some(hanging) = FailingDisk::hanging(&rig, &files, 9).await else {
        return;
    };
    let confirm = json!({"ceremony": begun["ceremony"], "code": code(&totp, 0)});
    let path = "/api/v1/people/me/password/confirm";
    let out = until("the other session to be out", async || {
        let said = phone.get("/api/v1/session").await;
        (said.status == 401).then_some(())
    });
    tokio::select! {
        answer = anna.post(path, &confirm) => panic!("the disk hangs: {answer:?}"),
        () = out => {}
    }
    assert_eq!(anna.get("/api/v1/session").await.status, 200);
    drop(hanging);
}
