//! What a critical authority makes is as critical as that, and what became critical is reached by no token of before.

use std::path::Path;

use serde_json::Value;

use crate::critical::is_refused;
use crate::here::owned;
use crate::issuer::{Issuer, Mood};
use crate::people::{Browser, setup_link};
use crate::pipeline::{ask, token};
use crate::rig::{Rig, until};
use crate::service::home;
use crate::vault::{added, refused, told};

const CRITICAL: [&str; 2] = ["--tier", "critical"];
const LAB: [&str; 2] = ["--env", "lab"];

/// A command about a credential of `lab`.
fn of<'a>(verb: &'a str, name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["credential", verb, name][..], &LAB, more].concat()
}

/// What disconnects a bridge of `lab`.
fn of_bridge(name: &str) -> Vec<&str> {
    [&["bridge", "disconnect", name][..], &LAB].concat()
}

async fn shown(rig: &Rig, name: &str) -> Value {
    told(rig, &of("show", name, &[])).await
}

async fn switches(rig: &Rig, name: &str) {
    until("both values live", async || {
        let shown = shown(rig, name).await;
        (shown["rotations"][0]["step"] == "switch").then_some(())
    })
    .await;
}

async fn takes_a_code(rig: &Rig, args: &[&str]) {
    let refusal = refused(rig, args).await;
    assert_eq!(refusal["code"], "second_factor_needed", "{args:?}");
}

async fn is_out(rig: &Rig, token: &Path, args: &[&str]) {
    let (_, refusal) = ask(rig, token, args).await;
    assert_eq!(refusal["error"]["code"], "token_revoked", "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_critical_authority_makes_is_reached_by_no_pattern_whenever_it_was_asked_for() {
    let (rig, front) = home().await;
    added(&rig, "sys/admin", "lab", b"authority-of-sys", &CRITICAL).await;
    let issuer = Issuer::started().await;
    issuer.is_in(Mood::Refuses);
    issuer.connect(&rig, "sys", "lab", None).await;
    added(&rig, "sys/mine", "lab", b"a-first-value", &[]).await;
    let wide = ["*:read", "*:rotate", "*:lease", "*:list"];
    let wide = token(&rig, &front, "wide", &wide).await;
    let reveal = of("reveal", "sys/mine", &["--reason", "x"]);
    assert_eq!(ask(&rig, &wide, &reveal).await.0, Some(0));
    let rotate = of("rotate", "sys/mine", &[]);
    assert_eq!(ask(&rig, &wide, &rotate).await.0, Some(0));
    // It waits for its bridge, which is asked with a critical authority from now on.
    issuer.connect(&rig, "sys", "lab", Some("sys/admin")).await;
    issuer.is_in(Mood::Answers);
    switches(&rig, "sys/mine").await;
    let why = "a pattern does not include it";
    is_refused(&rig, &wide, &reveal, why).await;
    is_refused(&rig, &wide, &of("lease", "sys/mine", &[]), why).await;
    // The value that was given by hand opens no more than before.
    let first = of("reveal", "sys/mine", &["--version", "1"]);
    assert_eq!(ask(&rig, &wide, &first).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_a_critical_one_made_is_as_critical_and_so_is_what_it_makes() {
    let (rig, front) = home().await;
    added(&rig, "root/admin", "lab", b"authority-of-root", &CRITICAL).await;
    let (root, sys) = (Issuer::started().await, Issuer::started().await);
    let by = Some("root/admin");
    root.connect(&rig, "root", "lab", by).await;
    added(&rig, "root/of-sys", "lab", b"a-first-value", &[]).await;
    told(&rig, &of("rotate", "root/of-sys", &[])).await;
    switches(&rig, "root/of-sys").await;
    sys.connect(&rig, "sys", "lab", Some("root/of-sys")).await;
    added(&rig, "sys/mine", "lab", b"another-first-value", &[]).await;
    told(&rig, &of("rotate", "sys/mine", &[])).await;
    switches(&rig, "sys/mine").await;
    let wide = ["*:read", "*:rotate", "*:lease", "*:list"];
    let wide = token(&rig, &front, "wide", &wide).await;
    let reveal = of("reveal", "sys/mine", &["--reason", "x"]);
    let why = "a pattern does not include it";
    is_refused(&rig, &wide, &reveal, why).await;
    is_refused(&rig, &wide, &of("rotate", "sys/mine", &[]), why).await;
    // Nothing of that ends with a bridge, nor with the word by which one is asked.
    told(&rig, &of_bridge("root")).await;
    is_refused(&rig, &wide, &reveal, why).await;
    sys.connect(&rig, "sys", "lab", None).await;
    is_refused(&rig, &wide, &reveal, why).await;
    told(&rig, &of_bridge("sys")).await;
    is_refused(&rig, &wide, &reveal, why).await;
    for name in ["root/of-sys", "sys/mine"] {
        assert_eq!(shown(&rig, name).await["tier"], "critical", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_by_hand_keeps_its_tier_when_its_bridge_goes() {
    let (rig, _front) = home().await;
    added(&rig, "sys/admin", "lab", b"authority-of-sys", &CRITICAL).await;
    let issuer = Issuer::started().await;
    issuer.connect(&rig, "sys", "lab", Some("sys/admin")).await;
    added(&rig, "sys/given", "lab", b"given-by-hand", &[]).await;
    added(&rig, "sysop/key", "lab", b"of-another-bridge", &[]).await;
    told(&rig, &of_bridge("sys")).await;
    for name in ["sys/given", "sysop/key"] {
        assert_eq!(shown(&rig, name).await["tier"], "standard", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_a_second_factor_gets_what_a_critical_authority_makes() {
    let (rig, front) = home().await;
    added(&rig, "sys/admin", "lab", b"authority-of-sys", &CRITICAL).await;
    let issuer = Issuer::started().await;
    issuer.connect(&rig, "sys", "lab", Some("sys/admin")).await;
    for name in ["sys/early", "sys/mine"] {
        added(&rig, name, "lab", name.as_bytes(), &[]).await;
    }
    let grants = ["sys/mine:list", "sys/mine:read", "sys/mine:rotate"];
    let named = token(&rig, &front, "named", &grants).await;
    told(&rig, &of("rotate", "sys/early", &[])).await;
    switches(&rig, "sys/early").await;
    Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    takes_a_code(&rig, &of("reveal", "sys/early", &["--reason", "x"])).await;
    takes_a_code(&rig, &of("lease", "sys/early", &[])).await;
    let rotate = of("rotate", "sys/mine", &[]);
    takes_a_code(&rig, &rotate).await;
    is_refused(&rig, &named, &rotate, "is critical").await;
    assert_eq!(issuer.made(), 1, "it was not asked for more");
    // As critical as what makes it: then it is made. Who named it without a code is out.
    let raised = told(&rig, &of("change", "sys/mine", &CRITICAL)).await;
    let warned = raised["warnings"].to_string();
    assert!(warned.contains("token:named"), "{raised}");
    is_out(&rig, &named, &rotate).await;
    told(&rig, &rotate).await;
    switches(&rig, "sys/mine").await;
    takes_a_code(&rig, &of("reveal", "sys/mine", &["--reason", "x"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_before_reaches_nothing_critical_that_takes_over_a_name() {
    let (rig, front, _) = owned().await;
    let early = ["std/key:read", "other/key:list"];
    let early = token(&rig, &front, "early", &early).await;
    let reveal = of("reveal", "std/key", &["--reason", "x"]);
    assert_eq!(ask(&rig, &early, &reveal).await.0, Some(0));
    let retired = told(&rig, &of("retire", "std/key", &["--grace", "0s"])).await;
    assert!(!retired.to_string().contains("early"), "{retired}");
    let again = added(&rig, "std/key", "lab", b"a-critical-value", &CRITICAL).await;
    let warned = again["warnings"].to_string();
    assert!(warned.contains("token:early"), "{again}");
    is_out(&rig, &early, &reveal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_critical_value_stays_unless_a_second_factor_is_shown() {
    let (rig, front) = home().await;
    let past = ["--expires", "2020-01-01T00:00:00Z"];
    for name in ["crit/key", "std/key"] {
        added(&rig, name, "lab", name.as_bytes(), &[]).await;
        told(&rig, &of("change", name, &past)).await;
    }
    told(&rig, &of("change", "crit/key", &CRITICAL)).await;
    Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    let new = front.bench.dir.join("new");
    std::fs::write(&new, "value-of-now").unwrap();
    let new = ["--from-file", new.to_str().unwrap()];
    let ends_then = async |name: &'static str| {
        told(&rig, &of("rotate", name, &new)).await;
        until("the new value is the current one", async || {
            let shown = shown(&rig, name).await;
            (shown["version"] == 2).then(|| shown["expires_at"].clone())
        })
        .await
    };
    let kept = ends_then("crit/key").await;
    assert!(kept.to_string().contains("2020-01-01"), "{kept}");
    assert!(ends_then("std/key").await.is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_neither_what_a_value_may_do_nor_where_another_lies() {
    let (rig, front) = home().await;
    let about = ["--kind", "api-key", "--owner", "eve", "--purpose", "x"];
    let record = [&about[..], &["--recorded-at", "the safe"]].concat();
    told(&rig, &of("add", "safe/key", &record)).await;
    let grants = ["safe/key:write", "safe/key:list", "sys/mine:write"];
    let named = token(&rig, &front, "named", &grants).await;
    let new = front.bench.dir.join("new");
    std::fs::write(&new, "own-value").unwrap();
    let given = ["--from-file", new.to_str().unwrap(), "--scope", "admin"];
    let add = of("add", "sys/mine", &[&about[..], &given].concat());
    is_refused(&rig, &named, &add, "may not set the scopes of a credential").await;
    let before = shown(&rig, "safe/key").await;
    for more in [&["--replaced"][..], &["--recorded-at", "elsewhere"]] {
        let change = of("change", "safe/key", more);
        is_refused(&rig, &named, &change, "a token may not change").await;
    }
    assert_eq!(shown(&rig, "safe/key").await, before);
    told(&rig, &of("change", "safe/key", &["--replaced"])).await;
}
