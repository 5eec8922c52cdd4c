//! How values lie in the database: each in its own place, under keys that are replaced and destroyed.

use hearthkey_api::{
    CredentialChanged, CredentialRequest, RewrapView, RotationPolicyView, SecretValue,
};
use hearthkey_store::Store;
use hearthkey_store::change::Change;
use hearthkey_store::slots::{Slots, key_file};
use hearthkey_store::vault::CredentialPlace;
use hearthkey_store::vault_change::VaultWrite;
use zeroize::Zeroizing;

use crate::rig::{Rig, until};
use crate::rotation::{at_step, current, rotate};
use crate::vault::{added, home, records, refused, told};

/// The database of a home that does not run, as somebody has it who holds its keys.
pub fn stolen(rig: &Rig) -> Store {
    let slots = Slots::read(&rig.data_dir).unwrap();
    let root = slots.unseal(&key_file(&rig.data_dir).unwrap()).unwrap();
    Store::open(&rig.data_dir, root, slots.home())
        .unwrap()
        .store
}

fn place(environment: &str, name: &str, version: u32) -> CredentialPlace {
    let id = serde_json::json!({"environment": environment, "name": name});
    let id = serde_json::from_value(id).unwrap();
    CredentialPlace::of(&id, version)
}

/// Puts the sealed value of one row into another.
async fn moved(store: &Store, from: &CredentialPlace, to: &CredentialPlace) {
    let read = |place: &CredentialPlace| {
        store
            .read(|registry| registry.sealed_at(place))
            .unwrap()
            .unwrap()
    };
    let write = VaultWrite::Reseal {
        place: to.clone(),
        from: read(to).epoch,
        sealed: read(from),
    };
    store.commit(Change::default().vault(write)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_moved_to_another_row_version_or_environment_does_not_open() {
    let mut rig = home().await;
    added(&rig, "hue/api-key", "home", b"home-value-1", &[]).await;
    rotate(&rig, "hue/api-key", b"home-value-2", &["--overlap", "0s"]).await;
    at_step(&rig, "hue/api-key", "done").await;
    added(&rig, "ha/token", "home", b"token-value", &[]).await;
    added(&rig, "hue/api-key", "lab", b"lab-value", &[]).await;
    let original = place("home", "hue/api-key", 2);
    for other in [
        place("home", "ha/token", 1),
        place("home", "hue/api-key", 1),
        place("lab", "hue/api-key", 1),
    ] {
        rig.stop().await;
        let store = stolen(&rig);
        let kept = store
            .read(|registry| registry.sealed_at(&original))
            .unwrap()
            .unwrap();
        moved(&store, &other, &original).await;
        store.close();
        rig.start().await;
        let size = rig.status().await.log_size;
        let why = refused(
            &rig,
            &["credential", "reveal", "hue/api-key", "--env", "home"],
        )
        .await;
        assert_eq!(why["code"], "unopened", "{other:?}");
        assert_eq!(
            rig.status().await.log_size,
            size,
            "nothing is on record as given"
        );
        rig.stop().await;
        let store = stolen(&rig);
        let write = VaultWrite::Reseal {
            place: original.clone(),
            from: kept.epoch,
            sealed: kept,
        };
        store.commit(Change::default().vault(write)).await.unwrap();
        store.close();
        rig.start().await;
    }
    let back = told(
        &rig,
        &["credential", "reveal", "hue/api-key", "--env", "home"],
    )
    .await;
    assert_eq!(back["text"], "home-value-2");
}

/// Adds many credentials at once.
pub async fn add_many(rig: &Rig, environment: &str, count: usize) {
    let client = rig.client();
    let adding = (0..count).map(|n| {
        let client = client.clone();
        let request = CredentialRequest {
            name: format!("many/key-{n:05}"),
            environment: environment.into(),
            kind: "api-key".into(),
            owner: "anna".into(),
            purpose: format!("the purpose of number {n}"),
            tier: "standard".into(),
            value: Some(SecretValue::new(Zeroizing::new(
                format!("value-of-number-{n:05}").into_bytes(),
            ))),
            generate: false,
            location: None,
            used_by: Vec::new(),
            scopes: Vec::new(),
            expires_at: None,
            remote_id: None,
            imported_from: None,
            rotation: RotationPolicyView::default(),
            second_factor: None,
        };
        tokio::spawn(async move {
            let added: CredentialChanged =
                client.post("/api/v1/credentials", &request).await.unwrap();
            assert_eq!(added.credential.version, Some(1));
        })
    });
    // A few at a time: each is a connection of its own.
    let mut waiting = Vec::new();
    for task in adding {
        waiting.push(task);
        if waiting.len() == 32 {
            for task in waiting.drain(..) {
                task.await.unwrap();
            }
        }
    }
    for task in waiting {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_sealed_anew_under_another_key_also_if_the_gateway_is_killed_meanwhile() {
    const COUNT: usize = 600;
    let mut rig = home().await;
    add_many(&rig, "lab", COUNT).await;
    added(&rig, "hue/api-key", "home", b"home-value", &[]).await;
    let mut interrupted = false;
    for epoch in 2..30 {
        let begun: RewrapView = rig
            .client()
            .post("/api/v1/environments/lab/rewrap", &())
            .await
            .unwrap();
        assert_eq!((begun.epoch, begun.total), (epoch, COUNT as u64));
        rig.kill9().await;
        let store = stolen(&rig);
        let (done, total) = store
            .read(|registry| registry.sealed_under(&"lab".parse().unwrap(), epoch))
            .unwrap();
        store.close();
        rig.start().await;
        let view = until("everything is sealed anew", async || {
            let view: RewrapView = rig
                .client()
                .get("/api/v1/environments/lab/rewrap")
                .await
                .unwrap();
            (view.done == view.total).then_some(view)
        })
        .await;
        assert_eq!(view.epoch, epoch, "it went on by itself");
        interrupted |= done < total;
        if interrupted {
            break;
        }
    }
    assert!(interrupted, "it was never interrupted");
    let first = told(&rig, &["credential", "reveal", "many/key-00000"]).await;
    assert_eq!(first["text"], "value-of-number-00000");
    assert_eq!(current(&rig, "hue/api-key").await.1, "home-value");
    let done = told(&rig, &["environment", "rewrap", "lab"]).await;
    assert_eq!(done["done"], done["total"]);
    assert!(!records(&rig.verified_log().await, "environment.rewrap").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_credential_is_given_to_nobody_and_its_data_keys_are_destroyed() {
    let mut rig = home().await;
    added(
        &rig,
        "hue/api-key",
        "home",
        b"the-value",
        &["--used-by", "node-red"],
    )
    .await;
    told(&rig, &["credential", "lease", "hue/api-key"]).await;
    let retired = told(
        &rig,
        &["credential", "retire", "hue/api-key", "--reason", "sold"],
    )
    .await;
    assert_eq!(retired[0]["leases_ended"], 1);
    let by_hand = retired[0]["by_hand"].to_string();
    assert!(
        by_hand.contains("Remove it from node-red")
            && by_hand.contains("End version 1 where it was issued"),
        "{by_hand}"
    );
    let why = refused(&rig, &["credential", "reveal", "hue/api-key"]).await;
    assert!(
        why["detail"].as_str().unwrap().contains("is retired"),
        "{why}"
    );
    assert_eq!(
        told(&rig, &["credential", "leases"])
            .await
            .as_array()
            .unwrap()
            .len(),
        0
    );
    refused(&rig, &["credential", "rotate", "hue/api-key", "--generate"]).await;
    refused(&rig, &["credential", "retire", "hue/api-key"]).await;

    added(&rig, "hue/other", "home", b"another-value", &[]).await;
    told(
        &rig,
        &["credential", "retire", "hue/other", "--grace", "0s"],
    )
    .await;
    let shown = told(&rig, &["credential", "show", "hue/other"]).await;
    assert_eq!(shown["state"], "destroyed");
    assert_eq!(shown["versions"][0]["state"], "destroyed");
    rig.stop().await;
    let store = stolen(&rig);
    let left = |name| {
        store
            .read(|registry| registry.sealed_at(&place("home", name, 1)))
            .unwrap()
    };
    assert!(
        left("hue/other").is_none(),
        "not even who holds every key can open it"
    );
    assert!(left("hue/api-key").is_some(), "its grace lasts");
    store.close();
    rig.start().await;
    let log = rig.verified_log().await;
    assert_eq!(records(&log, "credential.shred").len(), 1);
    // The name may be used again; its versions count on, so that none is mistaken for another.
    let again = added(&rig, "hue/other", "home", b"a-third-value", &[]).await;
    assert_eq!(again["credential"]["version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn retiring_a_project_retires_what_only_it_used() {
    let rig = home().await;
    added(
        &rig,
        "cloud/key",
        "home",
        b"cloud-value",
        &["--used-by", "dashboard"],
    )
    .await;
    added(
        &rig,
        "hue/api-key",
        "lab",
        b"hue-value",
        &["--used-by", "dashboard", "--used-by", "node-red"],
    )
    .await;
    added(
        &rig,
        "ha/token",
        "home",
        b"token-value",
        &["--used-by", "dashboard-2"],
    )
    .await;
    let nowhere = refused(&rig, &["credential", "retire", "--project", "dashbord"]).await;
    assert!(
        nowhere["detail"].as_str().unwrap().contains("dashbord"),
        "{nowhere}"
    );
    let retired = told(&rig, &["credential", "retire", "--project", "dashboard"]).await;
    assert_eq!(retired.as_array().unwrap().len(), 1);
    assert_eq!(retired[0]["name"], "cloud/key");
    let shared = told(&rig, &["credential", "show", "hue/api-key"]).await;
    assert_eq!(shared["used_by"], serde_json::json!(["node-red"]));
    let other = told(&rig, &["credential", "show", "ha/token"]).await;
    assert_eq!(other["state"], "active");
}
