//! Many with one claim, and those who only guess.

use std::collections::BTreeSet;

use crate::guest::{
    Leaf, ask, certificates, claim, claim_for, done, enroll, enroll_topic, home, log_in, new_key,
    params, recorded, records, request,
};
use crate::mqtt::{Answer, Hello};
use crate::wire::{Identity, Refused};

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_connections_with_ten_keys_all_with_the_first_key_get_one_certificate() {
    let (rig, door) = home().await;
    let claim = claim(&rig, "lamp").await;
    let requests: Vec<String> = (0..10).map(|_| request(&new_key(), "lamp")).collect();
    let topic = enroll_topic(&claim.claim);
    // All are in before the first one asks.
    let mut guests = Vec::new();
    for _ in 0..100 {
        guests.push(log_in(&door, &claim).await.expect("logged in"));
    }
    // One claim, one client id: a hundred connections.
    let asking: Vec<_> = guests
        .into_iter()
        .enumerate()
        .map(|(n, mut guest)| {
            let (topic, csr) = (topic.clone(), requests[n % 10].clone());
            tokio::spawn(async move { (n % 10, guest.ask(&topic, csr.as_bytes()).await) })
        })
        .collect();
    let (mut winners, mut issued) = (BTreeSet::new(), BTreeSet::new());
    let (mut accepted, mut lost) = (0, 0);
    for answer in asking {
        match answer.await.unwrap() {
            (key, Ok(Answer::Accepted(pem))) => {
                accepted += 1;
                winners.insert(key);
                issued.insert(pem);
            }
            (_, Ok(rejected)) => assert_eq!(rejected.code(), "claim_used"),
            (_, Err(_)) => lost += 1,
        }
    }
    assert_eq!(
        (winners.len(), issued.len()),
        (1, 1),
        "{accepted} accepted, {lost} lost"
    );
    assert_eq!(certificates(&rig, "lamp").await, 1);
    let object = format!("claim:{}", claim.claim);
    recorded(&rig, "device.enroll", "alert", &object, "claim_used").await;
    let enrolled =
        |r: &&serde_json::Value| r["action"] == "device.enroll" && r["outcome"] == "done";
    assert_eq!(records(&rig).await.iter().filter(enrolled).count(), 1);
    assert_eq!((accepted, lost), (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_sent_the_same_certificate_also_after_a_power_failure() {
    let (mut rig, door) = home().await;
    let claim = claim(&rig, "lamp").await;
    let key = new_key();
    let csr = request(&key, "lamp");
    let first = ask(&door, &claim, csr.as_bytes()).await.accepted();
    rig.kill9().await;
    rig.start().await;
    // Another request, the same key.
    let again = ask(&door, &claim, request(&key, "again").as_bytes()).await;
    assert_eq!(again.accepted(), first);
    let json = serde_json::json!({ "csr": csr }).to_string();
    let in_json = ask(&door, &claim, json.as_bytes()).await.accepted();
    let in_json: serde_json::Value = serde_json::from_str(&in_json).unwrap();
    assert!(first.starts_with(in_json["certificate"].as_str().unwrap()));
    let other = ask(&door, &claim, request(&new_key(), "lamp").as_bytes()).await;
    assert_eq!(other.code(), "claim_used");
    assert_eq!(certificates(&rig, "lamp").await, 1);
    let lamp = Identity::from_pem("lamp", &first, &key.serialize_pem());
    assert!(door.device(&lamp).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_secret_cannot_tell_a_claim_from_none() {
    let (rig, door) = home().await;
    let open = claim(&rig, "open").await;
    let used = claim(&rig, "used").await;
    let csr = request(&new_key(), "used");
    ask(&door, &used, csr.as_bytes()).await.accepted();
    let flipped = |secret: &str| {
        let last = if secret.ends_with('0') { "1" } else { "0" };
        format!("{}{last}", &secret[..secret.len() - 1])
    };
    let near = flipped(&open.secret);
    let nowhere = format!("c-{}", "0".repeat(open.claim.len() - 2));
    let mut answers = BTreeSet::new();
    for (id, secret) in [
        (&open.claim, &near),
        (&open.claim, &"x".to_owned()),
        (&used.claim, &near),
        (&nowhere, &near),
        (&open.claim, &used.secret),
    ] {
        let hello = Hello::claim(id, secret);
        match door.connect(None, &hello).await.unwrap_err() {
            Refused::Connack(code, reason) => answers.insert((code, reason)),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().unwrap().0, 0x86);
    let hello = Hello {
        v5: false,
        ..Hello::claim(&open.claim, "x")
    };
    let refused = door.connect(None, &hello).await.unwrap_err();
    assert_eq!(refused, Refused::Connack(4, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_secrets_at_once_lock_the_claim_for_good() {
    let (mut rig, door) = home().await;
    let claim = claim(&rig, "lamp").await;
    let object = format!("claim:{}", claim.claim);
    let guesses: Vec<_> = (0..20)
        .map(|n| {
            let (door, id) = (door.clone(), claim.claim.clone());
            tokio::spawn(async move {
                let secret = format!("{n:032}");
                door.connect(None, &Hello::claim(&id, &secret))
                    .await
                    .is_ok()
            })
        })
        .collect();
    for guess in guesses {
        assert!(!guess.await.unwrap());
    }
    recorded(&rig, "claim.present", "alert", &object, "claim_locked").await;
    rig.kill9().await;
    rig.start().await;
    let answer = ask(&door, &claim, request(&new_key(), "lamp").as_bytes()).await;
    assert_eq!(answer.code(), "claim_locked");
    assert_eq!(certificates(&rig, "lamp").await, 0);
    recorded(&rig, "device.enroll", "refused", &object, "claim_locked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greedy_request_yields_a_certificate_for_the_claims_device_and_nothing_more() {
    let (rig, door) = home().await;
    let victim = enroll(&rig, &door, "hall").await;
    let claim = claim(&rig, "lamp").await;
    let key = new_key();
    let mut greedy = params("hall");
    greedy.subject_alt_names = vec![
        rcgen::SanType::DnsName("hall.home.home.arpa".try_into().unwrap()),
        rcgen::SanType::IpAddress("127.0.0.1".parse().unwrap()),
    ];
    greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    greedy.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    greedy.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::Any,
    ];
    let csr = greedy.serialize_request(&key).unwrap().pem().unwrap();
    let pem = ask(&door, &claim, csr.as_bytes()).await.accepted();
    let lamp = Identity::from_pem("lamp", &pem, &key.serialize_pem());
    let leaf = Leaf::of(&lamp.chain[0]);
    assert!(leaf.der_bytes <= 800, "{leaf:?}");
    let expected = Leaf {
        common_name: "lamp".into(),
        names: vec!["lamp.home.home.arpa".into()],
        is_ca: false,
        client_auth_only: true,
        der_bytes: leaf.der_bytes,
    };
    assert_eq!(leaf, expected);
    let mut hall = door.device(&victim).await.unwrap();
    // A client id is a name in the device's own namespace.
    let as_hall = door.connect(Some(&lamp), &Hello::v5("hall")).await;
    let mut as_hall = as_hall.unwrap();
    assert_ne!(as_hall.publish("devices/hall/x", b"1").await, Ok(0));
    assert_eq!(hall.publish("devices/hall/x", b"1").await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_belongs_to_a_device_already_does_not_make_two_devices_one() {
    let (rig, door) = home().await;
    let (first, second) = (claim(&rig, "lamp").await, claim(&rig, "hall").await);
    let key = new_key();
    let csr = request(&key, "lamp");
    let lamp = ask(&door, &first, csr.as_bytes()).await.accepted();
    let lamp = Identity::from_pem("lamp", &lamp, &key.serialize_pem());
    // Whether one key may serve two devices is the gateway's to say; each stays itself.
    if let Answer::Accepted(pem) = ask(&door, &second, csr.as_bytes()).await {
        let hall = Identity::from_pem("hall", &pem, &key.serialize_pem());
        assert!(door.device(&hall).await.is_ok());
        done(
            &rig,
            &["device", "revoke", "hall", "--reason", "key-compromise"],
        )
        .await;
        assert!(door.device(&hall).await.is_err());
    }
    assert!(door.device(&lamp).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_one_second_is_over_after_it() {
    let (rig, door) = home().await;
    let short = claim_for(&rig, "lamp", "generic", "1s").await;
    let csr = request(&new_key(), "lamp");
    crate::rig::until("the claim's end", async || {
        let now = rig.status().await.clock.now;
        (now[..19] > short.expires_at[..19]).then_some(())
    })
    .await;
    assert_eq!(
        ask(&door, &short, csr.as_bytes()).await.code(),
        "claim_expired"
    );
    let object = format!("claim:{}", short.claim);
    recorded(&rig, "device.enroll", "refused", &object, "claim_expired").await;
}
