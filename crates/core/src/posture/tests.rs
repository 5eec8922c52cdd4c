use super::*;
use crate::authority::Life;
use crate::backup::shipped::{NOT_SHIPPED, Shipped};
use crate::trusted_time::{Doubt, Doubted};

fn calm() -> Facts {
    Facts {
        home: "attic".into(),
        backups: Backups {
            made_at: Some(Timestamp::from_s(0)),
            tried_at: Some(Timestamp::from_s(0)),
            ..Backups::default()
        },
        authorities: vec![CaLife {
            name: "root".into(),
            life: Life {
                begins: Timestamp::from_s(0),
                ends: Timestamp::from_s(0).after(Span::days(7300)),
            },
        }],
        ..Facts::default()
    }
}

fn named(name: &str) -> Named {
    let mut named = Named::default();
    named.add(name.into());
    named
}

fn kinds(facts: &Facts) -> Vec<FindingKind> {
    let found = judge(facts, Timestamp::from_s(0));
    found.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_home_as_it_should_be_has_no_findings() {
    assert_eq!(kinds(&calm()), []);
}

/// Facts of a home in which one thing is wrong, and what is found.
type Wrong = (Facts, FindingKind);

fn wrong_with_how_it_opens_and_is_kept() -> Vec<Wrong> {
    vec![
        (
            Facts {
                key_file: true,
                ..calm()
            },
            FindingKind::KeyFile,
        ),
        (
            Facts {
                no_recovery_code: true,
                ..calm()
            },
            FindingKind::NoRecoveryCode,
        ),
        (
            Facts {
                disk: Disk::Full,
                ..calm()
            },
            FindingKind::StorageUnavailable,
        ),
        (
            Facts {
                unusable_unlock_files: vec!["slots.json"],
                ..calm()
            },
            FindingKind::UnlockMissing,
        ),
        (
            Facts {
                unanchored_at: Some(Timestamp::from_s(0)),
                ..calm()
            },
            FindingKind::NotAnchored,
        ),
        (
            Facts {
                backups: Backups::default(),
                ..calm()
            },
            FindingKind::BackupMissing,
        ),
    ]
}

fn wrong_with_its_log_its_clock_and_its_devices() -> Vec<Wrong> {
    vec![
        (
            Facts {
                anchor: Anchor::Missing(1),
                ..calm()
            },
            FindingKind::AnchorBehind,
        ),
        (
            Facts {
                journal: JournalGaps {
                    missing: true,
                    ..JournalGaps::default()
                },
                ..calm()
            },
            FindingKind::JournalIncomplete,
        ),
        (
            Facts {
                clock_doubted: Some(ClockDoubted {
                    doubted: Doubted {
                        since: Timestamp::from_s(0),
                        why: Doubt::FarAhead,
                    },
                    machine: Timestamp::from_s(1_000_000),
                    synchronized: None,
                }),
                ..calm()
            },
            FindingKind::ClockNotTrusted,
        ),
        (
            Facts {
                of_the_future: named("lamp"),
                ..calm()
            },
            FindingKind::WrongClock,
        ),
        (
            Facts {
                log_problem: Some("record 5 does not match the signature".into()),
                ..calm()
            },
            FindingKind::LogAltered,
        ),
        (
            Facts {
                over_age: named("lamp"),
                ..calm()
            },
            FindingKind::OverAge,
        ),
        (
            Facts {
                waiting: named("lamp"),
                ..calm()
            },
            FindingKind::Waiting,
        ),
        (
            Facts {
                unencrypted: named("home/hue"),
                ..calm()
            },
            FindingKind::Unencrypted,
        ),
    ]
}

#[test]
fn each_thing_that_is_wrong_is_found() {
    let wrong = wrong_with_how_it_opens_and_is_kept().into_iter();
    for (facts, kind) in wrong.chain(wrong_with_its_log_its_clock_and_its_devices()) {
        assert_eq!(kinds(&facts), [kind]);
    }
}

#[test]
fn a_journal_that_does_not_get_to_its_place_is_found_after_a_while() {
    let facts = Facts {
        shipped: Shipped {
            is_planned: true,
            behind_since: Some(Timestamp::from_s(0)),
            ..Shipped::default()
        },
        ..calm()
    };
    assert_eq!(kinds(&facts), []);
    let found = judge(&facts, Timestamp::from_s(0).after(NOT_SHIPPED));
    let found: Vec<FindingKind> = found.iter().map(|finding| finding.kind).collect();
    assert_eq!(found, [FindingKind::JournalNotShipped]);
}

#[test]
fn a_restored_home_is_found_to_be_one() {
    let at = Timestamp::from_s(2);
    let restored = Some(Restored {
        at,
        backup_at: at,
        journal_to: None,
        brought: None,
        seen: None,
    });
    let facts = Facts { restored, ..calm() };
    assert_eq!(kinds(&facts), [FindingKind::Restored]);
}

#[test]
fn many_of_a_kind_are_one_finding_with_the_first_names() {
    let mut facts = calm();
    for n in 0..7 {
        facts.unrenewed.add(format!("lamp-{n}"));
    }
    facts.ungiven.add("home/hue/api-key".into());
    let found = judge(&facts, Timestamp::from_s(0));
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0].what,
        "Missed their renewal: 7 devices: lamp-0, lamp-1, lamp-2, lamp-3, lamp-4 and 2 more."
    );
    assert_eq!(
        found[1].what,
        "Never given out: 1 credential: home/hue/api-key."
    );
    let retire = RemedyAction::new(RemedyKind::Retire, "credential:home/hue/api-key");
    assert_eq!(found[1].action, Some(retire), "one is put right by one act");
    facts.ungiven.add("home/hue/other".into());
    let found = judge(&facts, Timestamp::from_s(0));
    assert_eq!(found[1].action, None, "two are not");
}

#[test]
fn what_is_put_right_one_by_one_stands_by_itself_as_long_as_it_is_few() {
    let mut facts = calm();
    for n in 0..EACH_MAX + 7 {
        let name = format!("ci-{n}");
        facts
            .unshown
            .add(|| name.clone(), || token_never_used(&name));
    }
    let found = judge(&facts, Timestamp::from_s(0));
    assert_eq!(found.len(), EACH_MAX + 1);
    let revoke = RemedyAction::new(RemedyKind::Revoke, "token:ci-0");
    assert_eq!(found[0].action, Some(revoke));
    let rest = &found[EACH_MAX];
    assert_eq!(
        rest.what,
        "The same holds for 7 more: ci-20, ci-21, ci-22, ci-23, ci-24 and 2 more."
    );
    assert_eq!((rest.kind, &rest.action), (FindingKind::NeverUsed, &None));
}

#[test]
fn the_same_thing_found_again_has_the_same_id() {
    let mut facts = calm();
    facts.unrenewed.add("lamp".into());
    let first = judge(&facts, Timestamp::from_s(0)).remove(0);
    facts.unrenewed.add("door".into());
    let second = judge(&facts, Timestamp::from_s(60)).remove(0);
    assert_eq!(first.id, second.id);
}
