//! The inventory: every key of the home in one list, which is shown, searched and written out.

use crate::rig::Rig;
use crate::vault::{added, home, refused, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_shows_what_is_wrong_with_it_and_nothing_else() {
    let rig = home().await;
    added(&rig, "hue/api-key", "home", b"one-value", &[]).await;
    added(&rig, "hue/api-key", "lab", b"one-value", &[]).await;
    let ended = ["--expires", "2020-01-01T00:00:00Z"];
    added(&rig, "ha/token", "home", b"other-value", &ended).await;
    added(&rig, "wifi/key", "home", b"third-value", &[]).await;
    let findings = async |name, env| {
        let shown = told(&rig, &["credential", "show", name, "--env", env]).await;
        let kinds = shown["findings"].as_array().unwrap().iter();
        let kinds: Vec<_> = kinds
            .map(|f| f["kind"].as_str().unwrap().to_owned())
            .collect();
        kinds.join(" ")
    };
    let shared = "shared-across-environments";
    assert_eq!(findings("hue/api-key", "home").await, shared);
    assert_eq!(findings("hue/api-key", "lab").await, shared);
    assert_eq!(findings("ha/token", "home").await, "expired");
    assert_eq!(findings("wifi/key", "home").await, "");
    let all = crate::posture::of_inventory(&rig).await;
    let kinds = all.as_array().unwrap().iter().map(|f| f["kind"].as_str());
    assert_eq!(kinds.collect::<Vec<_>>(), [Some(shared), Some("expired")]);

    let retire = [
        "credential",
        "retire",
        "hue/api-key",
        "--env",
        "lab",
        "--reason",
        "gone",
    ];
    told(&rig, &retire).await;
    assert_eq!(findings("hue/api-key", "home").await, "");
    assert_eq!(findings("hue/api-key", "lab").await, "");
}

/// A home with credentials of two environments, one of them recorded elsewhere, and a device.
async fn stocked() -> Rig {
    let rig = home().await;
    rig.enroll("lamp").await;
    added(&rig, "hue/api-key", "home", b"one-value", &[]).await;
    added(&rig, "hue/api-key", "lab", b"other-value", &[]).await;
    let record = [
        "credential",
        "add",
        "cloud/root-key",
        "--env",
        "home",
        "--kind",
        "other",
        "--owner",
        "anna",
        "--purpose",
        "backup",
        "--recorded-at",
        "a sealed envelope in the bank",
    ];
    told(&rig, &record).await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_of_the_home_is_in_one_inventory() {
    let rig = stocked().await;
    let list = told(&rig, &["credential", "list"]).await;
    let names: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            format!(
                "{} {} {}",
                c["name"].as_str().unwrap(),
                c["environment"].as_str().unwrap(),
                c["kind"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            "ca/issuing home ca-key",
            "ca/issuing lab ca-key",
            "ca/root  ca-key",
            "ca/server  ca-key",
            "cloud/root-key home other",
            "device/lamp home certificate",
            "hue/api-key home api-key",
            "hue/api-key lab api-key",
            "log/checkpoint  log-key",
            "server/tls  server-key",
        ]
    );
    // Each of them is shown; what the home keeps for itself is given to nobody.
    for name in [
        "ca/root",
        "ca/server",
        "device/lamp",
        "log/checkpoint",
        "server/tls",
    ] {
        let shown = told(&rig, &["credential", "show", name]).await;
        assert_eq!(
            (&shown["name"], &shown["custody"]),
            (&name.into(), &"own".into())
        );
        for verb in ["reveal", "rotate", "retire", "lease"] {
            let why = refused(&rig, &["credential", verb, name]).await;
            assert_eq!(why["code"], "refused", "{verb}: {why}");
        }
    }
    let issuing = told(&rig, &["credential", "show", "ca/issuing", "--env", "lab"]).await;
    assert_eq!(issuing["environment"], "lab");
    for c in list.as_array().unwrap() {
        for required in ["owner", "purpose", "tier", "state"] {
            assert!(
                !c[required].as_str().unwrap().is_empty(),
                "{required} of {c}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inventory_is_searched_and_written_out() {
    let rig = stocked().await;
    let found = told(&rig, &["credential", "list", "--search", "BANK"]).await;
    assert_eq!(
        found.as_array().unwrap().len(),
        0,
        "a place is not searched"
    );
    let found = told(
        &rig,
        &["credential", "list", "--search", "LIGHTS", "--env", "lab"],
    )
    .await;
    assert_eq!(found.as_array().unwrap().len(), 1);
    let found = told(&rig, &["credential", "list", "--kind", "certificate"]).await;
    assert_eq!(found[0]["name"], "device/lamp");
    let nowhere = refused(&rig, &["credential", "reveal", "cloud/root-key"]).await;
    assert!(
        nowhere["remedy"]
            .as_str()
            .unwrap()
            .contains("a sealed envelope in the bank")
    );

    for (file, begin) in [
        ("register.csv", "name,environment,kind,"),
        ("register.json", "[\n"),
    ] {
        let path = rig.work.path().join(file);
        let written = told(
            &rig,
            &["credential", "register", "--out", path.to_str().unwrap()],
        )
        .await;
        assert_eq!(written["credentials"], 10);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(begin) && text.contains("a sealed envelope in the bank"));
        assert!(!text.contains("one-value"));
    }
}
