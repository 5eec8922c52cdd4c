//! A verifier that checks every certificate of a chain against revocation lists finds the lists, and a true answer.

use crate::clock::{confirm, set, settable};
use crate::rig::{Rig, until};
use crate::stock::{Bench, home_with_a_lamp, run, said};

/// A list as the gateway publishes it, in PEM.
async fn list(rig: &Rig, of: &[&str]) -> String {
    let output = rig.cli(&[&["trust", "crl"], of].concat()).await;
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

const ROOT: [&str; 2] = ["--ca", "root"];
const SERVER: [&str; 2] = ["--ca", "server"];
const HOME: [&str; 2] = ["--env", "home"];

/// What openssl says of a chain when every certificate of it is checked against these lists.
async fn checked(bench: &Bench, chain: &str, lists: &[&str]) -> String {
    std::fs::write(bench.dir.join("lists.pem"), lists.concat()).unwrap();
    let arguments = [
        "verify",
        "-x509_strict",
        "-crl_check_all",
        "-CAfile",
        "ca.pem",
        "-CRLfile",
        "lists.pem",
        "-untrusted",
        chain,
        chain,
    ];
    said(&run(&bench.dir, "openssl", &arguments).await)
}

/// The number of a list.
async fn number(bench: &Bench, list: &str) -> String {
    std::fs::write(bench.dir.join("one.pem"), list).unwrap();
    let said = said(&bench.openssl("crl -in one.pem -noout -crlnumber").await);
    said.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_certificate_of_a_devices_chain_is_checked_and_a_revoked_device_is_found() {
    let (rig, bench) = home_with_a_lamp().await;
    let issuing = list(&rig, &HOME).await;
    let root = list(&rig, &ROOT).await;
    // The chain that the device was given: its own certificate and the issuing CA's.
    let verdict = checked(&bench, "lamp.crt", &[&issuing, &root]).await;
    assert!(verdict.contains("lamp.crt: OK"), "{verdict}");
    for lacking in [&issuing, &root] {
        let verdict = checked(&bench, "lamp.crt", &[lacking]).await;
        assert!(
            verdict.contains("unable to get certificate CRL"),
            "{verdict}"
        );
    }
    rig.revoke("lamp").await.unwrap();
    until("the device is on the list", async || {
        let issuing = list(&rig, &HOME).await;
        let verdict = checked(&bench, "lamp.crt", &[&issuing, &root]).await;
        verdict.contains("certificate revoked").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_certificate_of_the_gateways_own_chain_is_checked() {
    let (rig, bench) = home_with_a_lamp().await;
    let shown = bench.s_client(&["-showcerts"]).await;
    let begin = shown.find("-----BEGIN CERTIFICATE-----").unwrap();
    let end = shown.rfind("-----END CERTIFICATE-----").unwrap();
    std::fs::write(bench.dir.join("gateway.pem"), &shown[begin..end + 25]).unwrap();
    let lists = [list(&rig, &SERVER).await, list(&rig, &ROOT).await];
    let verdict = checked(&bench, "gateway.pem", &[&lists[0], &lists[1]]).await;
    assert!(verdict.contains("gateway.pem: OK"), "{verdict}");
    let verdict = checked(&bench, "gateway.pem", &[&lists[1]]).await;
    assert!(
        verdict.contains("unable to get certificate CRL"),
        "{verdict}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roots_list_is_signed_once_and_made_anew_before_it_ends() {
    let mut rig = Rig::new().await;
    if !settable(&mut rig) {
        return;
    }
    rig.start().await;
    let bench = Bench::new(&rig, "bench").await;
    let first = list(&rig, &ROOT).await;
    assert_eq!(number(&bench, &first).await, "crlNumber=0x01");
    rig.restart().await;
    assert_eq!(
        list(&rig, &ROOT).await,
        first,
        "the root's key was not used again"
    );
    rig.kill9().await;
    set(&rig, "+40d");
    rig.start().await;
    confirm(&rig).await;
    assert_eq!(list(&rig, &ROOT).await, first, "good for another 50 days");
    set(&rig, "+50d");
    rig.restart().await;
    confirm(&rig).await;
    let second = until("a new list", async || {
        let second = list(&rig, &ROOT).await;
        (second != first).then_some(second)
    })
    .await;
    assert_eq!(number(&bench, &second).await, "crlNumber=0x02");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_of_the_root_and_the_server_ca_are_retained_for_those_who_may_hear_of_trust() {
    let (rig, bench) = home_with_a_lamp().await;
    for (topic, of) in [
        ("hearthkey/v1/trust/root/crl", ROOT),
        ("hearthkey/v1/trust/server/crl", SERVER),
    ] {
        let heard = bench
            .mosquitto_as("lamp", "mosquitto_sub", &["-t", topic, "-C", "1", "-N"])
            .await;
        let told = rig
            .cli(&[&["trust", "crl", "--der"], &of[..]].concat())
            .await;
        assert!(!heard.stdout.is_empty(), "{}", said(&heard));
        assert_eq!(heard.stdout, told.stdout, "{topic}");
    }
}
