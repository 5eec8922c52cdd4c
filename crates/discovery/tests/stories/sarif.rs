//! The report in SARIF has what its schema requires, and no secret.

use std::collections::HashSet;
use std::fs;

use hearthkey_core::time::Timestamp;
use hearthkey_discovery::scan::{Ignores, Scanner, sarif};
use serde_json::Value;

use crate::repository::Repository;
use crate::wanted::{LABEL, VALUE, marks};

fn log() -> (Value, String) {
    let repository = Repository::new();
    repository.write(
        "etc/é a.yaml",
        format!("password: hunter2hunter2\nkey: {VALUE}\n"),
    );
    let commit = repository.commit("one");
    repository.git(&["hash-object", "-w", "etc/é a.yaml"]);
    let mut scanner = Scanner::new(marks(&[(LABEL, VALUE.as_bytes())]), true);
    let mut scan = scanner.history(repository.path(), &mut |_| {}).unwrap();
    fs::remove_dir_all(repository.at(".git")).unwrap();
    std::os::unix::net::UnixListener::bind(repository.at("socket")).unwrap();
    scan.merge(scanner.tree(repository.path(), &mut |_| {}).unwrap());
    let ignores =
        Ignores::from_toml("[[ignore]]\nrule = \"config-password\"\nreason = \"an example\"\n")
            .unwrap();
    let text = sarif(
        &ignores.judge(scan, Timestamp::from_s(1_800_000_000)),
        "1.2.3",
    );
    assert!(!text.contains("hunter2") && !text.contains(VALUE), "{text}");
    (serde_json::from_str(&text).unwrap(), commit)
}

#[test]
fn the_log_has_the_required_parts() {
    let (log, _) = log();
    assert_eq!(log["version"], "2.1.0");
    assert!(
        log["$schema"]
            .as_str()
            .unwrap()
            .ends_with("sarif-schema-2.1.0.json")
    );
    let driver = &log["runs"][0]["tool"]["driver"];
    assert_eq!(
        (driver["name"].as_str(), driver["version"].as_str()),
        (Some("hearthkey"), Some("1.2.3"))
    );
    let rules = driver["rules"].as_array().unwrap();
    let ids: HashSet<&str> = rules
        .iter()
        .map(|rule| rule["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), rules.len());
    for rule in rules {
        assert!(
            !rule["shortDescription"]["text"]
                .as_str()
                .unwrap()
                .is_empty()
        );
        assert!(
            ["error", "warning"].contains(&rule["defaultConfiguration"]["level"].as_str().unwrap())
        );
        assert!(
            rule.get("helpUri")
                .is_none_or(|uri| uri.as_str().unwrap().starts_with("https://"))
        );
    }
    assert_eq!(log["runs"][0]["columnKind"], "unicodeCodePoints");
}

#[test]
fn each_result_names_its_rule_place_and_fingerprint() {
    let (log, commit) = log();
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    let mut fingerprints = HashSet::new();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(
            run["tool"]["driver"]["rules"][index]["id"],
            result["ruleId"]
        );
        assert!(["error", "warning", "note", "none"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "etc/%C3%A9%20a.yaml");
        assert!(
            place["region"]["startLine"].as_u64() >= Some(1)
                && place["region"]["startColumn"].as_u64() >= Some(1)
        );
        assert!(
            fingerprints.insert(
                result["partialFingerprints"]["hearthkey/v1"]
                    .as_str()
                    .unwrap()
            )
        );
        let suppressed = result["ruleId"] == "config-password";
        assert_eq!(result.get("suppressions").is_some(), suppressed);
        if suppressed {
            assert_eq!(result["suppressions"][0]["kind"], "external");
            assert_eq!(result["suppressions"][0]["justification"], "an example");
        } else {
            assert_eq!(result["ruleId"], "own-value");
        }
    }
    let commits = results.iter().filter(|result| {
        let logical = result["locations"][0]["logicalLocations"].as_array();
        logical.is_some_and(|all| {
            all.iter()
                .any(|one| one["kind"] == "commit" && one["fullyQualifiedName"] == commit.as_str())
        })
    });
    assert_eq!(commits.count(), 2);
}

#[test]
fn what_was_not_scanned_is_a_notification() {
    let (log, _) = log();
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], true);
    let notes = invocation["toolExecutionNotifications"].as_array().unwrap();
    assert_eq!(notes.len(), 1);
    assert_eq!(
        notes[0]["message"]["text"],
        "socket was not scanned: it is a device, a socket or a pipe"
    );
}
