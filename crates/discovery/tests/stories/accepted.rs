//! Leaks that somebody accepts are hidden for a reason, for a time, and never by accident.

use std::fs;

use hearthkey_core::time::Timestamp;
use hearthkey_discovery::scan::{IgnoreState, Ignores, Report, Scan, Scanner};

use crate::wanted::{LABEL, VALUE, marks, told, tree};

/// A password by a rule in `docs/a.yaml`, an own value in `docs/b`, both in `c`.
fn scan() -> Scan {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("docs")).unwrap();
    let password = "password: hunter2hunter2\n";
    fs::write(directory.path().join("docs/a.yaml"), password).unwrap();
    fs::write(directory.path().join("docs/b"), VALUE).unwrap();
    fs::write(directory.path().join("z"), format!("{password}{VALUE}")).unwrap();
    let scan = tree(
        &mut Scanner::new(marks(&[(LABEL, VALUE.as_bytes())]), true),
        directory.path(),
    );
    let found: Vec<String> = scan.leaks.iter().map(told).collect();
    assert_eq!(found, ["config-password", LABEL, "config-password", LABEL]);
    scan
}

fn judged(text: &str, today: &str) -> Report {
    let today: Timestamp = today.parse().unwrap();
    Ignores::from_toml(text).unwrap().judge(scan(), today)
}

fn left(report: &Report) -> Vec<String> {
    let each = report.scan.leaks.iter();
    each.map(|leak| format!("{} {}", leak.place.path().unwrap(), told(leak)))
        .collect()
}

const TODAY: &str = "2026-11-23T10:00:00Z";

#[test]
fn a_path_hides_rules_but_never_an_own_value() {
    let report = judged(
        "[[ignore]]\npath = \"docs/**\"\nreason = \"examples\"\n",
        TODAY,
    );
    assert_eq!(
        left(&report),
        [
            format!("docs/b {LABEL}"),
            "z config-password".to_owned(),
            format!("z {LABEL}")
        ]
    );
    assert_eq!(
        (
            report.suppressed.len(),
            report.suppressed[0].reason.as_str()
        ),
        (1, "examples")
    );
    assert_eq!(report.ignores[0].state, IgnoreState::Used(1));
}

#[test]
fn an_own_value_is_hidden_by_its_exact_fingerprint_in_one_place() {
    let fingerprint = scan().leaks[1].fingerprint;
    let report = judged(
        &format!("[[ignore]]\nfinding = \"{fingerprint}\"\nreason = \"rotated\"\n"),
        TODAY,
    );
    assert_eq!(
        left(&report),
        [
            "docs/a.yaml config-password".to_owned(),
            "z config-password".to_owned(),
            format!("z {LABEL}")
        ]
    );
}

#[test]
fn an_entry_is_in_force_to_the_end_of_its_day() {
    let text =
        "[[ignore]]\nrule = \"config-password\"\nreason = \"soon gone\"\nuntil = 2026-11-23\n";
    assert_eq!(
        judged(text, "2026-11-23T23:59:59Z").ignores[0].state,
        IgnoreState::Used(2)
    );
    let after = judged(text, "2026-11-24T00:00:00Z");
    assert_eq!(
        (after.ignores[0].state, after.scan.leaks.len()),
        (IgnoreState::Expired, 4)
    );
}

#[test]
fn everything_that_an_entry_names_must_agree_and_an_entry_without_use_is_told_of() {
    let text = "[[ignore]]\npath = \"docs/*\"\nrule = \"url-password\"\nreason = \"r\"\n\
                [[ignore]]\npath = \"*.yaml\"\nreason = \"not across directories\"\n";
    let report = judged(text, TODAY);
    assert_eq!(report.scan.leaks.len(), 4);
    assert!(
        report
            .ignores
            .iter()
            .all(|one| one.state == IgnoreState::Unused)
    );
}

#[test]
fn a_file_with_one_bad_entry_is_refused_whole() {
    for (text, says) in [
        ("[[ignore]]\npath = \"x\"\n", "entry 1: it gives no reason"),
        (
            "[[ignore]]\npath = \"x\"\nreason = \"  \"\n",
            "entry 1: it gives no reason",
        ),
        ("[[ignore]]\nreason = \"x\"\n", "it names nothing"),
        (
            "[[ignore]]\nrule = \"magic\"\nreason = \"x\"\n",
            "its rule is not known",
        ),
        (
            "[[ignore]]\nfinding = \"12\"\nreason = \"x\"\n",
            "32 hexadecimal digits",
        ),
        (
            "[[ignore]]\npath = \"[\"\nreason = \"x\"\n",
            "its path is no glob",
        ),
        (
            "[[ignore]]\npath = \"x\"\nreason = \"x\"\nuntil = 2026-01-01T00:00:00Z\n",
            "its until is no day",
        ),
        (
            "[[ignore]]\npath = \"x\"\nreason = \"x\"\nuntil = \"soon\"\n",
            "cannot be read",
        ),
        (
            "[[ignore]]\npaths = \"x\"\nreason = \"x\"\n",
            "cannot be read",
        ),
    ] {
        let error = Ignores::from_toml(text).unwrap_err().to_string();
        assert!(
            error.contains(says) && error.starts_with(".hearthkeyignore.toml"),
            "{error}"
        );
    }
    assert_eq!(judged("", TODAY).scan.leaks.len(), 4);
}
