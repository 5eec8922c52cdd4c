//! A home outlives its CAs: they are followed by new ones by themselves, and the gateway starts whatever has ended.
//!
//! The gateway runs under libfaketime with a clock that was set while it was off; a person confirms it.

use hearthkey_api::{AuthorityList, AuthorityView};

use crate::grace::days_later;
use crate::guest::{ask, enroll, new_key, renew_topic, request};
use crate::rig::{Rig, json, libfaketime};
use crate::wire::{Door, Identity};

/// The CAs with a name.
async fn authorities(rig: &Rig, name: &str) -> Vec<AuthorityView> {
    let listed = rig.cli(&["trust", "list", "--json"]).await;
    let list: AuthorityList = serde_json::from_value(json(&listed)).unwrap();
    let mut known = list.authorities;
    known.retain(|ca| ca.name == name);
    known
}

fn states(known: &[AuthorityView]) -> Vec<&str> {
    known.iter().map(|ca| ca.state.as_str()).collect()
}

async fn comes_and_goes(door: &Door, device: &Identity, topic: &str) {
    let mut session = door.device(device).await.unwrap();
    assert_eq!(session.publish(topic, b"on").await, Ok(0));
    session.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_a_ca_and_of_the_one_that_follows_it_come_in_and_the_first_renew_from_the_second()
 {
    let Some(library) = libfaketime() else {
        println!("skipped: libfaketime is missing (Debian package faketime)");
        return;
    };
    let mut rig = Rig::new().await;
    rig.start().await;
    // The client's own clock stays where it is.
    let door = Door::of(&rig).await.careless();
    let born = authorities(&rig, "issuing/home").await;
    days_later(&mut rig, &library, 901).await;
    let lamp = enroll(&rig, &door, "lamp").await;
    assert_eq!(
        authorities(&rig, "issuing/home").await.len(),
        1,
        "not before half of its life"
    );

    days_later(&mut rig, &library, 927).await;
    // Confirming the clock was what it waited for: the gateway looks once a minute, and when it starts.
    rig.stop().await;
    rig.start().await;
    let now = authorities(&rig, "issuing/home").await;
    let mut both = states(&now);
    both.sort_unstable();
    assert_eq!(both, ["former", "signs"]);
    let signs = now.iter().find(|ca| ca.state == "signs").unwrap();
    assert_ne!(signs.sha256, born[0].sha256);
    assert_eq!(states(&authorities(&rig, "server").await), ["signs"]);

    let hall = enroll(&rig, &door, "hall").await;
    comes_and_goes(&door, &lamp, "devices/lamp/state").await;
    comes_and_goes(&door, &hall, "devices/hall/state").await;
    let key = new_key();
    let mut session = door.device(&lamp).await.unwrap();
    let csr = request(&key, "lamp");
    let answer = session.ask(&renew_topic("lamp"), csr.as_bytes()).await;
    let renewed = Identity::from_pem("lamp", &answer.unwrap().accepted(), &key.serialize_pem());
    comes_and_goes(&door, &renewed, "devices/lamp/state").await;

    let lists = rig.cli(&["trust", "crl", "--env", "home"]).await;
    let lists = String::from_utf8(lists.stdout).unwrap();
    assert_eq!(lists.matches("BEGIN X509 CRL").count(), 2, "{lists}");
    rig.verified_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_starts_after_its_cas_and_after_its_root_and_says_what_has_ended() {
    let Some(library) = libfaketime() else {
        println!("skipped: libfaketime is missing (Debian package faketime)");
        return;
    };
    let mut rig = Rig::new().await;
    rig.start().await;
    let door = Door::of(&rig).await.careless();

    for years in [5, 9] {
        days_later(&mut rig, &library, years * 365).await;
        rig.stop().await;
        rig.start().await;
        let device = format!("lamp{years}");
        let lamp = enroll(&rig, &door, &device).await;
        comes_and_goes(&door, &lamp, &format!("devices/{device}/state")).await;
    }
    let found = rig.cli(&["check", "--json"]).await;
    assert!(!String::from_utf8_lossy(&found.stdout).contains("ca-life"));

    days_later(&mut rig, &library, 25 * 365).await;
    let found = rig.cli(&["check", "--json"]).await;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.contains("The root has ended"), "{found}");
    let claim = rig.claim("late").await.unwrap();
    let csr = request(&new_key(), "late");
    let answer = ask(&door, &claim, csr.as_bytes()).await;
    assert_eq!(answer.code(), "issuer_ended");
    for command in [
        &["credential", "list"][..],
        &["log", "key"],
        &["device", "list"],
    ] {
        let output = rig.cli(command).await;
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
}
