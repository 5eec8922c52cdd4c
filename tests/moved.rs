//! The gateway has another address, and its devices are told so.

use std::path::Path;

use crate::rig::{Rig, agent};

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
