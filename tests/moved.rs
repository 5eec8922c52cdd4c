//! The gateway has another address, and its devices are told so.

use std::path::Path;

use crate::rig::{Rig, agent, until};

async fn moved(dir: &Path, place: &str) -> (Option<i32>, serde_json::Value) {
    let mut command = agent();
    command.args(["--json", "move", "--gateway", place, "--dir"]);
    let output = command.arg(dir).output().await.unwrap();
    let said = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        said.unwrap_or_else(|_| panic!("{output:?}")),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_follows_its_gateway_to_another_address_and_to_no_other_gateway() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let claim = rig.claim("cam").await.unwrap();
    let dir = rig.work.path().join("cam");
    let mut enrolling = agent();
    enrolling.args(["enroll", "--claim", &claim.uri, "--dir"]);
    let enrolled = enrolling.arg(&dir).output().await.unwrap();
    assert!(enrolled.status.success(), "{enrolled:?}");
    let state = || std::fs::read_to_string(dir.join("state.json")).unwrap();
    let before = state();

    // Another home's gateway, where somebody says that the home is now.
    let mut other = Rig::new().await;
    other.start().await;
    let (code, said) = moved(&dir, &format!("{}:18883", other.host)).await;
    assert_eq!(code, Some(1), "{said}");
    let remedy = said["error"]["remedy"].as_str().unwrap();
    assert!(remedy.contains("your own gateway"), "{said}");
    assert_eq!(state(), before);
    other.stop().await;
    // Nobody is there.
    let (code, said) = moved(&dir, &format!("{}:18883", other.host)).await;
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(state(), before);

    rig.stop().await;
    rig.host = other.host.clone();
    rig.start().await;
    let (code, said) = moved(&dir, &format!("{}:18883", rig.host)).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said["host"], rig.host.as_str());
    let mut device = hearthkey_agent::Device::open(&dir).unwrap();
    // Whoever uses the directory keeps others from moving it.
    let (code, said) = moved(&dir, &format!("{}:18883", rig.host)).await;
    assert_eq!(code, Some(1), "{said}");
    device.connect().await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_finds_its_gateway_where_that_says_it_is_and_goes_to_no_other_home() {
    let mut rig = Rig::new().await;
    rig.args = vec!["--announce", "on"];
    rig.start().await;
    let claim = rig.claim("cam").await.unwrap();
    let dir = rig.work.path().join("cam");
    let mut enrolling = agent();
    enrolling.args(["enroll", "--claim", &claim.uri, "--dir"]);
    let enrolled = enrolling.arg(&dir).output().await.unwrap();
    assert!(enrolled.status.success(), "{enrolled:?}");
    let events = rig.work.path().join("events");
    let mut running = agent();
    running.args(["--json", "run", "--dir"]).arg(&dir);
    running.stdout(std::fs::File::create(&events).unwrap());
    let mut running = running.kill_on_drop(true).spawn().unwrap();
    let said = || std::fs::read_to_string(&events).unwrap();
    until("a session", async || {
        said().contains("\"connected\"").then_some(())
    })
    .await;

    // The gateway moves, and another home's says that it is there, too.
    let mut other = Rig::new().await;
    other.args = rig.args.clone();
    other.start().await;
    rig.stop().await;
    rig.host = Rig::new().await.host.clone();
    rig.start().await;
    until("the device is there", async || {
        let sessions = rig.status().await.sessions;
        (sessions == 1).then_some(())
    })
    .await;
    let moved = format!("\"event\":\"moved\",\"host\":\"{}\"", rig.host);
    assert!(said().contains(&moved), "{}", said());
    let state = std::fs::read_to_string(dir.join("state.json")).unwrap();
    assert!(
        state.contains(&rig.host) && !state.contains(&other.host),
        "{state}"
    );
    running.kill().await.unwrap();
}
