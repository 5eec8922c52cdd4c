//! A claim, a CSR, a certificate: with the stock tools, and with everything that can be wrong.

use crate::guest::{claim_for, enroll_topic, log_in, new_key, request};
use crate::rig::{Rig, until};
use crate::stock::{Bench, said};
use crate::wire::Door;

async fn home() -> (Rig, Bench) {
    let mut rig = Rig::new().await;
    rig.start().await;
    let bench = Bench::new(&rig, "bench").await;
    (rig, bench)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_nothing_but_openssl_and_mosquitto_enrolls_and_publishes() {
    let (rig, bench) = home().await;
    bench.enroll(&rig, "lamp").await;
    let publish = ["-q", "1", "-t", "devices/lamp/state", "-m", "on", "-r"];
    let published = bench.mosquitto_as("lamp", "mosquitto_pub", &publish).await;
    assert!(published.status.success(), "{}", said(&published));
    let listen = ["-t", "devices/lamp/#", "-C", "1", "-W", "20"];
    let heard = bench.mosquitto_as("lamp", "mosquitto_sub", &listen).await;
    assert_eq!(said(&heard), "on\n");
    let verified = bench
        .openssl("verify -CAfile ca.pem -untrusted lamp.crt -purpose sslclient lamp.crt")
        .await;
    assert!(said(&verified).contains("OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csr_contributes_its_key_and_nothing_else() {
    let (rig, bench) = home().await;
    let claim = rig.claim("lamp").await.unwrap();
    let wishes = [
        "-subj",
        "/CN=other/O=Evil",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "extendedKeyUsage=serverAuth,codeSigning",
        "-addext",
        "subjectAltName=DNS:other.home.home.arpa,URI:spiffe://x",
        "-addext",
        "keyUsage=keyCertSign,cRLSign",
    ];
    let csr = bench.csr("wish", &wishes).await;
    let answer = bench.ask(&claim, &csr).await;
    std::fs::write(bench.dir.join("wish.crt"), answer).unwrap();
    let text = said(&bench.openssl("x509 -in wish.crt -noout -text").await);
    for policy in [
        "Subject: CN = lamp\n",
        "CA:FALSE",
        "TLS Web Client Authentication\n",
        "DNS:lamp.home.home.arpa\n",
        "Digital Signature\n",
    ] {
        assert!(text.contains(policy), "{policy}: {text}");
    }
    for wish in [
        "other",
        "Evil",
        "CA:TRUE",
        "Server Authentication",
        "Code Signing",
        "spiffe",
        "CRL Sign",
    ] {
        assert!(!text.contains(wish), "{wish}: {text}");
    }
}

/// DER of a CSR in PEM, changed, and in PEM again.
async fn altered(bench: &Bench, csr: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    std::fs::write(bench.dir.join("a.csr"), csr).unwrap();
    bench.openssl("req -in a.csr -outform DER -out a.der").await;
    let mut der = std::fs::read(bench.dir.join("a.der")).unwrap();
    change(&mut der);
    std::fs::write(bench.dir.join("a.der"), der).unwrap();
    let base64 = said(&bench.openssl("base64 -in a.der").await);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{base64}-----END CERTIFICATE REQUEST-----\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_csr_is_refused_with_its_code_issues_nothing_and_is_recorded() {
    let (rig, bench) = home().await;
    let good = bench.csr("lamp", &[]).await;
    let p521 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"];
    let cases = [
        ("csr_malformed", "hello".to_owned()),
        ("csr_malformed", "{\"csr\": 7}".to_owned()),
        (
            "csr_malformed",
            altered(&bench, &good, |der| der.push(0)).await,
        ),
        (
            "csr_malformed",
            altered(&bench, &good, |der| der.truncate(100)).await,
        ),
        ("csr_malformed", format!("{good}{good}")),
        (
            "csr_signature_invalid",
            altered(&bench, &good, |der| *der.last_mut().unwrap() ^= 1).await,
        ),
        (
            "csr_too_large",
            altered(&bench, &good, |der| der.resize(20 * 1024, 0)).await,
        ),
        (
            "csr_key_unsupported",
            bench.csr_with_key("p521", &p521, &[]).await,
        ),
        (
            "csr_key_unsupported",
            bench.csr_with_key("ed", &["-newkey", "ed25519"], &[]).await,
        ),
        (
            "csr_key_unsupported",
            bench
                .csr_with_key("rsa", &["-newkey", "rsa:1024"], &[])
                .await,
        ),
    ];
    let claim = rig.claim("lamp").await.unwrap();
    for (code, payload) in &cases {
        let answer = bench.ask(&claim, payload).await;
        assert!(
            answer.contains(&format!("\"code\":\"{code}\"")),
            "{code}: {answer}"
        );
        assert!(answer.contains("\"remedy\":\""), "{answer}");
    }
    assert!(rig.device("lamp").await.certificate.is_none());
    let log = rig.verified_log().await;
    let refused = |code: &str| log.matches(&format!("\"reason\":\"{code}\"")).count();
    for (code, _) in &cases {
        let times = cases.iter().filter(|(other, _)| other == code).count();
        assert_eq!(refused(code), times, "{code}");
    }
    assert!(
        bench.ask(&claim, &good).await.starts_with("-----BEGIN"),
        "the claim is still good"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_connections_racing_one_claim_yield_one_certificate() {
    let (rig, _) = home().await;
    let rig = std::sync::Arc::new(rig);
    let claim = std::sync::Arc::new(rig.claim("lamp").await.unwrap());
    let racers: Vec<_> = (0..100)
        .map(|n| {
            let (rig, claim) = (rig.clone(), claim.clone());
            tokio::spawn(async move {
                let directory = rig.device_dir(&format!("racer-{n}"));
                rig.enroll_in(&claim, &directory)
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            })
        })
        .collect();
    let mut certificates = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(()) => certificates += 1,
            Err(error) => assert!(
                error.contains("claim_used") || error.contains("already been used"),
                "{error}"
            ),
        }
    }
    assert_eq!(certificates, 1);
    assert_eq!(rig.device("lamp").await.certificates.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gets_the_same_certificate_again_and_another_key_gets_none() {
    let (rig, bench) = home().await;
    let claim = rig.claim("lamp").await.unwrap();
    let csr = bench.csr("lamp", &[]).await;
    let first = bench.ask(&claim, &csr).await;
    assert!(first.starts_with("-----BEGIN"), "{first}");
    assert_eq!(bench.ask(&claim, &csr).await, first);
    let other = bench.csr("other", &[]).await;
    assert!(bench.ask(&claim, &other).await.contains("\"claim_used\""));
    let log = rig.verified_log().await;
    assert!(
        log.contains("\"outcome\":\"alert\",\"reason\":\"claim_used\""),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_secrets_lock_a_claim_and_say_nothing_to_who_guesses() {
    let (rig, bench) = home().await;
    let mut claim = rig.claim("lamp").await.unwrap();
    let csr = bench.csr("lamp", &[]).await;
    let right = std::mem::replace(&mut claim.secret, "0".repeat(32));
    for _ in 0..5 {
        let answer = bench.ask(&claim, &csr).await;
        assert!(
            answer.contains("Bad User Name or Password")
                || answer.to_lowercase().contains("bad user"),
            "{answer}"
        );
    }
    claim.secret = right;
    assert!(bench.ask(&claim, &csr).await.contains("\"claim_locked\""));
    let log = rig.verified_log().await;
    assert_eq!(log.matches("\"reason\":\"wrong_secret\"").count(), 4);
    assert_eq!(
        log.matches("\"outcome\":\"alert\",\"reason\":\"claim_locked\"")
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_claim_says_so_and_a_claim_cannot_speak_for_another() {
    let (rig, bench) = home().await;
    let line = "device claim old --profile generic --environment home --owner anna --purpose test --lifetime 1s --json";
    let opened = rig.cli(&line.split(' ').collect::<Vec<_>>()).await;
    let old: hearthkey_api::ClaimOpened = serde_json::from_slice(&opened.stdout).unwrap();
    let csr = bench.csr("old", &[]).await;
    until("the claim's end", async || {
        let now: String = rig.status().await.clock.now;
        // Whole seconds, which can be compared as text.
        (now[..19] > old.expires_at[..19]).then_some(())
    })
    .await;
    assert!(bench.ask(&old, &csr).await.contains("\"claim_expired\""));

    let (mine, theirs) = (
        rig.claim("mine").await.unwrap(),
        rig.claim("theirs").await.unwrap(),
    );
    let topic = format!("hearthkey/v1/claims/{}/enroll", theirs.claim);
    let args = [
        "-i",
        &mine.claim,
        "-u",
        &mine.claim,
        "-P",
        &mine.secret,
        "-q",
        "1",
        "-t",
        &topic,
        "-m",
        &csr,
    ];
    let refused = said(&bench.mosquitto("mosquitto_pub", &args).await);
    assert!(
        refused.to_lowercase().contains("not authorized"),
        "{refused}"
    );
    until("the refusal's record", async || {
        let log = rig.verified_log().await;
        (log.contains("topic.publish") && log.contains(&theirs.claim)).then_some(())
    })
    .await;
    assert!(rig.device("theirs").await.certificate.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_stays_on_the_line_is_answered_when_its_key_is_approved() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let door = Door::of(&rig).await;
    let claim = claim_for(&rig, "hub", "home-assistant", "15m").await;
    let mut hub = log_in(&door, &claim).await.unwrap();
    let csr = request(&new_key(), "hub");
    let topic = enroll_topic(&claim.claim);
    let held = hub.ask(&topic, csr.as_bytes()).await.unwrap();
    assert_eq!(held.code(), "approval_required");
    let key = rig.device("hub").await.claims[0].presented_key.clone();
    let approve = ["device", "approve", "hub", "--key", &key.unwrap()];
    let approved = rig.cli(&approve).await;
    assert!(approved.status.success(), "{}", said(&approved));
    let late = hub.message().await.unwrap();
    assert_eq!(late.topic, format!("{topic}/accepted"));
    assert!(late.payload.starts_with(b"-----BEGIN CERTIFICATE-----"));
    assert_eq!(rig.device("hub").await.state, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_with_approval_gives_nothing_until_a_person_has_compared_the_key() {
    let (rig, bench) = home().await;
    let file = bench.dir.join("camera.toml");
    let profile = "name = \"camera\"\ndescription = \"d\"\ncertificate_lifetime_days = 7\ngrace_days = 7\nkeys = [\"p256\"]\napproval = true\n";
    std::fs::write(&file, profile).unwrap();
    let added = rig.cli(&["profile", "add", file.to_str().unwrap()]).await;
    assert!(added.status.success(), "{}", said(&added));
    let line =
        "device claim eye --profile camera --environment lab --owner anna --purpose test --json";
    let opened = rig.cli(&line.split(' ').collect::<Vec<_>>()).await;
    let claim: hearthkey_api::ClaimOpened = serde_json::from_slice(&opened.stdout).unwrap();
    let csr = bench.csr("eye", &[]).await;
    assert!(
        bench
            .ask(&claim, &csr)
            .await
            .contains("\"approval_required\"")
    );
    let key = rig.device("eye").await.claims[0]
        .presented_key
        .clone()
        .unwrap();
    let wrong = rig
        .cli(&["device", "approve", "eye", "--key", &"0".repeat(64)])
        .await;
    assert!(!wrong.status.success());
    let approved = rig.cli(&["device", "approve", "eye", "--key", &key]).await;
    assert!(approved.status.success(), "{}", said(&approved));
    assert!(bench.ask(&claim, &csr).await.starts_with("-----BEGIN"));
    assert_eq!(rig.device("eye").await.state, "active");
}
