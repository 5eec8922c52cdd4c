//! The answers that the documentation shows are those of the program: the same keys, with values of the same kind.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::pipeline::{ask, token};
use crate::rig::{Rig, json};
use crate::service::home;
use crate::vault::added;

fn page(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    std::fs::read_to_string(docs.join(name)).unwrap()
}

/// The JSON object that comes first after a text in a page, with the pieces that the page leaves out as `…`.
fn shown(page: &str, after: &str) -> String {
    let (_, rest) = page.split_once(after).unwrap_or_else(|| panic!("{after}"));
    let begin = rest.find('{').unwrap();
    let mut depth = 0;
    let end = rest[begin..].find(|c| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth == 0
    });
    rest[begin..=begin + end.unwrap()].to_owned()
}

/// The names in an object and in all that is in it.
fn names(text: &str) -> BTreeSet<String> {
    let parts: Vec<&str> = text.split('"').collect();
    let quoted = parts.windows(2).skip(1).step_by(2);
    quoted
        .filter(|pair| pair[1].trim_start().starts_with(':'))
        .map(|pair| pair[0].to_owned())
        .collect()
}

/// Fails unless the page shows what is answered: every name of it, or some of them if it says that it leaves some out.
fn same(shown: &str, answered: &Value) {
    let (shown_names, real) = (names(shown), names(&answered.to_string()));
    assert!(!shown_names.is_empty(), "{shown}");
    let unknown: Vec<_> = shown_names.difference(&real).collect();
    assert!(
        unknown.is_empty(),
        "{unknown:?} of {shown} is not in {answered}"
    );
    let leaves_out = shown.contains(",…") || shown.contains(", …");
    let missing: Vec<_> = real.difference(&shown_names).collect();
    assert!(
        leaves_out || missing.is_empty(),
        "{missing:?} of {answered} is not in {shown}"
    );
    let Ok(Value::Object(example)) = serde_json::from_str::<Value>(shown) else {
        return;
    };
    for (name, value) in example {
        let kind = std::mem::discriminant(&value);
        assert_eq!(
            kind,
            std::mem::discriminant(&answered[&name]),
            "{name} of {shown}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_to_a_service_are_as_the_pages_show_them() {
    let (rig, front) = home().await;
    added(&rig, "hue/api-key", "lab", b"lab-value", &[]).await;
    let ci = token(
        &rig,
        &front,
        "ci",
        &["hue/api-key:list", "hue/api-key:read"],
    )
    .await;

    let (code, own) = ask(&rig, &ci, &["token", "whoami"]).await;
    assert_eq!(code, Some(0), "{own}");
    same(&shown(&page("API.md"), "/api/v1/tokens/self\n"), &own);

    let manifest = front.bench.dir.join("hearthkey.toml");
    let text =
        "environment = \"lab\"\n[[credential]]\nname = \"hue/api-key\"\nactions = [\"read\"]\n";
    std::fs::write(&manifest, text).unwrap();
    let check = ["check", "--manifest", manifest.to_str().unwrap()];
    let (code, checked) = ask(&rig, &ci, &check).await;
    assert_eq!(code, Some(0), "{checked}");
    same(
        &shown(&page("CI.md"), "the answer is one JSON value"),
        &checked,
    );

    // In the table for people: the same words at the beginning of the same lines.
    let environment = [("HEARTHKEY_TOKEN_FILE", ci.to_str().unwrap())];
    let told = rig.cli_with(&["token", "whoami"], &environment).await;
    let told = String::from_utf8(told.stdout).unwrap();
    let page = page("CI.md");
    let (_, example) = page.split_once("$ hearthkey token whoami\n").unwrap();
    let first = |line: &str| line.split("  ").next().map(str::to_owned);
    let example: Vec<_> = example
        .lines()
        .take_while(|l| *l != "```")
        .map(first)
        .collect();
    assert_eq!(told.lines().map(first).collect::<Vec<_>>(), example);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_of_the_gateway_are_as_the_pages_show_them() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let mut lamp = rig.enroll("lamp").await;
    let mut session = lamp.connect().await.unwrap();
    let topic = "hearthkey/v1/devices/lamp/notice";
    session.subscribe(&[topic]).await.unwrap();
    let notice = session.receive().await.unwrap().payload;
    let notice: Value = serde_json::from_slice(&notice).unwrap();
    same(
        &shown(&page("MQTT.md"), "`hearthkey/v1/devices/{device}/notice`:"),
        &notice,
    );

    let version = json(&rig.cli(&["version", "--json"]).await);
    same(
        &shown(&page("OPERATIONS.md"), "`hearthkey version --json`"),
        &version,
    );
}
