//! The gateway with the real products whose credentials it keeps: Mosquitto and Home Assistant.

use serde_json::Value;

use crate::broker::{ADMIN, Broker};
use crate::house::House;
use crate::rig::Rig;
use crate::rotation::{at_step, current};
use crate::vault::{add, added, home, told};

/// Connects a bridge whose authority is kept in the vault.
async fn connect(rig: &Rig, kind: &str, name: &str, authority: &str, settings: &[&str]) {
    added(
        rig,
        &format!("{name}/authority"),
        "home",
        authority.as_bytes(),
        &[],
    )
    .await;
    let by = format!("{name}/authority");
    let mut connect = vec![
        "bridge",
        "connect",
        kind,
        name,
        "--env",
        "home",
        "--authority",
        &by,
    ];
    connect.extend(["--owner", "anna", "--purpose", "x"]);
    for setting in settings {
        connect.extend(["--set", setting]);
    }
    told(rig, &connect).await;
}

/// Adds a credential whose value the bridge makes.
async fn minted(rig: &Rig, name: &str, kind: &str) {
    let mut add = vec![
        "credential",
        "add",
        name,
        "--env",
        "home",
        "--kind",
        kind,
        "--generate",
    ];
    add.extend(["--owner", "anna", "--purpose", "x"]);
    told(rig, &add).await;
    at_step(rig, name, "done").await;
}

fn verdict<'a>(tested: &'a Value, name: &str) -> &'a Value {
    let all = tested["credentials"].as_array().unwrap();
    all.iter().find(|verdict| verdict["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brokers_user_comes_with_its_name_lives_beside_its_successor_and_ends_when_retired() {
    let Some(broker) = Broker::start(None, true) else {
        return;
    };
    broker.prepare();
    let rig = home().await;
    let url = format!("url=mqtt://127.0.0.1:{}", broker.port);
    connect(
        &rig,
        "mosquitto",
        "broker",
        ADMIN,
        &[&url, "roles=[\"lamps\"]"],
    )
    .await;
    minted(&rig, "broker/frigate", "password").await;
    let tested = told(&rig, &["bridge", "test", "broker"]).await;
    for name in ["broker/authority", "broker/frigate"] {
        assert_eq!(verdict(&tested, name)["verdict"], "works", "{tested}");
    }
    assert_eq!(
        crate::posture::of_inventory(&rig).await,
        Value::from(Vec::<Value>::new())
    );

    // A command gets the password and the name that goes with it.
    let mut run = vec![
        "credential",
        "run",
        "--env",
        "home",
        "broker/frigate",
        "--",
        "sh",
        "-c",
    ];
    run.push("printf '%s %s' \"$BROKER_FRIGATE_ID\" \"$BROKER_FRIGATE\"");
    let output = rig.cli(&run).await;
    let pair = String::from_utf8(output.stdout).unwrap();
    let (user, password) = pair.split_once(' ').unwrap();
    assert!(broker.publish(user, password, "lamps/attic"));

    let rotate = ["credential", "rotate", "broker/frigate", "--accept-cost"];
    told(&rig, &[&rotate[..], &["--overlap", "1h"]].concat()).await;
    at_step(&rig, "broker/frigate", "switch").await;
    let new = told(&rig, &["credential", "reveal", "broker/frigate"]).await;
    let (new_user, new_password) = (
        new["remote_id"].as_str().unwrap(),
        new["text"].as_str().unwrap(),
    );
    assert_ne!(new_user, user);
    assert!(broker.publish(new_user, new_password, "lamps/attic"));
    assert!(broker.publish(user, password, "lamps/attic"), "both live");

    let lease = told(&rig, &["credential", "lease", "broker/frigate"]).await;
    let (child, borrowed) = (
        lease["remote_id"].as_str().unwrap(),
        lease["text"].as_str().unwrap(),
    );
    assert!(broker.publish(child, borrowed, "lamps/attic"));
    let retired = told(&rig, &["credential", "retire", "broker/frigate"]).await;
    assert_eq!(retired[0]["revoked_at_bridge"], 2, "{retired}");
    for (user, password) in [
        (user, password),
        (new_user, new_password),
        (child, borrowed),
    ] {
        assert!(!broker.publish(user, password, "lamps/attic"), "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_houses_tokens_are_made_lent_and_rotated_and_an_administrators_is_a_finding() {
    let Some(house) = House::start().await else {
        return;
    };
    let ada = house.move_in().await;
    let hearthkey = house.let_in(&ada, "hearthkey").await;
    let authority = house.long_lived(&hearthkey, "authority", 365).await;
    let rig = home().await;
    let url = format!("url=http://127.0.0.1:{}", house.port);
    connect(&rig, "home-assistant", "ha", &authority, &[&url]).await;
    minted(&rig, "ha/nodered", "api-token").await;
    let (_, first) = current(&rig, "ha/nodered").await;
    assert_eq!(house.status(&first).await, 200);

    let lease = told(&rig, &["credential", "lease", "ha/nodered"]).await;
    let child = lease["text"].as_str().unwrap();
    assert_ne!(child, first, "a child is lent, and not the original");
    assert_eq!(house.status(child).await, 200);
    let id = lease["lease"].as_str().unwrap();
    told(&rig, &["credential", "end-lease", id]).await;
    assert_eq!(
        (house.status(child).await, house.status(&first).await),
        (401, 200)
    );

    told(
        &rig,
        &["credential", "rotate", "ha/nodered", "--overlap", "0s"],
    )
    .await;
    at_step(&rig, "ha/nodered", "done").await;
    let (_, second) = current(&rig, "ha/nodered").await;
    assert_eq!(
        (house.status(&first).await, house.status(&second).await),
        (401, 200)
    );

    // A token of Ada's may do everything in the house.
    let adas = house.long_lived(&ada, "old script", 365).await;
    assert!(
        add(&rig, "ha/script", "home", adas.as_bytes(), &[])
            .await
            .status
            .success()
    );
    let tested = told(&rig, &["bridge", "test", "ha"]).await;
    assert_eq!(
        verdict(&tested, "ha/script")["privileged"],
        true,
        "{tested}"
    );
    let findings = crate::posture::of_inventory(&rig).await;
    let drift = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["kind"] == "drift");
    let drift = drift.unwrap();
    assert_eq!(drift["object"], "credential:home/ha/script");
    assert!(
        drift["what"].as_str().unwrap().contains("administrator"),
        "{drift}"
    );
}
