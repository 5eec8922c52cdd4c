use super::*;

pub(super) fn at(s: i64) -> Timestamp {
    Timestamp::from_s(1_000_000 + s)
}

pub(super) fn machine(host: u8, program: &str) -> Machine {
    Machine {
        address: [10, 0, 0, host].into(),
        ja4: format!("t13d0912h0_{program:0>12}_000000000000")
            .parse()
            .ok(),
    }
}

pub(super) fn lamp() -> DeviceId {
    "lamp".parse().unwrap()
}

/// Each of these machines in turn takes the session of the one before, which was active a second ago; `s` apart.
fn relay(known: &mut SharedIdentities, machines: &[Machine], s: i64) -> usize {
    let mut told = 0;
    for (n, pair) in machines.windows(2).enumerate() {
        let now = at((n as i64 + 1) * s);
        let meeting = Meeting {
            device: lamp(),
            client_id: "lamp".into(),
            earlier: pair[0],
            heard_at: now.before(Span::s(1)),
            later: pair[1],
            times: 1,
        };
        told += usize::from(known.meet(meeting, now).is_some());
    }
    told
}

fn found(machines: &[Machine], s: i64) -> Option<Finding> {
    let mut known = SharedIdentities::default();
    relay(&mut known, machines, s);
    let last = at(machines.len() as i64 * s);
    known.findings(|_| true, last).first.pop()
}

#[test]
fn one_machine_is_never_two() {
    let (home, moved, updated) = (machine(1, "a"), machine(2, "a"), machine(1, "b"));
    let v6 = Machine {
        address: "fd00::1".parse().unwrap(),
        ..home
    };
    for (why, machines) in [
        ("it connects again", vec![home; 20]),
        ("a new address", vec![home, home, moved, moved, moved]),
        (
            "a new firmware",
            vec![home, home, updated, updated, updated],
        ),
        (
            "a firmware that was put back",
            vec![home, updated, home, home],
        ),
        ("there and back", vec![home, moved, home, home]),
        (
            "IPv4 and IPv6 by turns",
            vec![home, v6, home, v6, home, v6, home],
        ),
    ] {
        assert_eq!(found(&machines, 20), None, "{why}");
    }
    let slowly = [home, moved, home, moved, home, moved];
    assert_eq!(
        found(&slowly, 400),
        None,
        "between two networks over an hour"
    );
}

#[test]
fn two_that_come_back_by_turns_are_two_by_address_or_by_program() {
    let (here, there) = (machine(1, "a"), machine(2, "a"));
    let finding = found(&[here, there, here, there], 120).unwrap();
    assert_eq!(
        finding.what,
        "Two machines alternate in using the identity of lamp: 10.0.0.1 and 10.0.0.2, last at 1970-01-12T13:52:40Z."
    );
    assert!(finding.remedy.contains("`hearthkey device suspend lamp`"));
    assert_eq!(finding.severity, Severity::High);
    let suspend = RemedyAction::new(RemedyKind::Suspend, "device:lamp");
    assert_eq!(finding.action, Some(suspend));
    let behind_one_router = machine(1, "b");
    let finding = found(&[here, behind_one_router, here, behind_one_router], 120).unwrap();
    assert!(
        finding.what.contains("both at 10.0.0.1"),
        "{}",
        finding.what
    );
    assert!(finding.what.contains("00000000000b_"), "{}", finding.what);
}

#[test]
fn a_machine_that_is_refused_while_the_other_is_heard_is_seen_without_a_takeover() {
    let mut known = SharedIdentities::default();
    let (here, there) = (machine(1, "a"), machine(2, "a"));
    for n in 0..4 {
        let now = at(n * 60);
        let meeting = Meeting {
            device: lamp(),
            client_id: "x".into(),
            earlier: here,
            heard_at: now.before(Span::s(5)),
            later: there,
            times: 1,
        };
        known.meet(meeting, now);
    }
    assert_eq!(known.findings(|_| true, at(240)).first.len(), 1);
    let mut moved = SharedIdentities::default();
    for n in 0..4 {
        let meeting = Meeting {
            device: lamp(),
            client_id: "x".into(),
            earlier: here,
            // The connection of before it got its new address: nothing comes from there any more.
            heard_at: at(-5),
            later: there,
            times: 1,
        };
        moved.meet(meeting, at(n * 60));
    }
    assert_eq!(moved.findings(|_| true, at(240)).first, []);
}

#[test]
fn many_takeovers_within_a_minute_are_two_programs_wherever_they_come_from() {
    let finding = found(&[machine(1, "a"); 6], 10).unwrap();
    assert!(
        finding.what.starts_with("Two programs at 10.0.0.1"),
        "{}",
        finding.what
    );
    assert_eq!(finding.severity, Severity::Medium);
    assert_eq!(found(&[machine(1, "a"); 5], 10), None);
}

#[test]
fn it_is_told_once_in_ten_minutes_and_goes_away_after_a_week_or_with_a_new_key() {
    let mut known = SharedIdentities::default();
    let two = [machine(1, "a"), machine(2, "a")].repeat(40);
    assert_eq!(relay(&mut known, &two, 10), 2);
    let last = at(790);
    let count = |known: &SharedIdentities, now| known.findings(|_| true, now).first.len();
    assert_eq!(count(&known, last), 1);
    assert_eq!(known.findings(|_| false, last).first, [], "it is shut out");
    let week = Span::days(7);
    assert_eq!(count(&known, last.after(week).before(Span::s(1))), 1);
    assert_eq!(count(&known, last.after(week)), 0);
    let again = SharedIdentities::from_json(&known.to_json());
    assert_eq!(
        again.findings(|_| true, last),
        known.findings(|_| true, last)
    );
    assert_eq!(count(&SharedIdentities::from_json(b"{"), last), 0);
    known.forget(&lamp());
    assert_eq!(count(&known, last), 0);
}

#[test]
fn two_that_are_never_there_together_are_told_once_and_a_meeting_says_more() {
    let mut known = SharedIdentities::default();
    let two = [machine(1, "a"), machine(2, "b")];
    let mut told = 0;
    for (hour, machine) in two.repeat(4).into_iter().enumerate() {
        let now = at(hour as i64 * 3_600);
        told += usize::from(known.come(&lamp(), "lamp", machine, now).is_some());
    }
    assert_eq!(told, 1);
    let last = at(7 * 3_600);
    let apart = known.findings(|_| true, last).first.pop().unwrap();
    assert_eq!(apart.severity, Severity::Medium);
    let what = "may be used by two machines that connect by turns: 10.0.0.1 and 10.0.0.2";
    assert!(apart.what.contains(what), "{}", apart.what);
    let again = SharedIdentities::from_json(&known.to_json());
    assert_eq!(again.findings(|_| true, last).first.len(), 1);
    relay(&mut known, &two.repeat(2), 60);
    let met = known.findings(|_| true, last).first.pop().unwrap();
    assert_eq!(met.severity, Severity::High);
    assert!(known.come(&lamp(), "lamp", two[0], last).is_none());
    known.forget(&lamp());
    assert!(known.come(&lamp(), "lamp", two[1], last).is_none());
}

#[test]
fn what_is_remembered_is_bounded_in_bytes_and_in_devices() {
    let mut known = SharedIdentities::default();
    for n in 0..WATCHED_MAX as i64 + 50 {
        for round in 0..20 {
            let meeting = Meeting {
                device: format!("d-{n}").parse().unwrap(),
                client_id: "ü".repeat(600),
                earlier: machine(1, "a"),
                heard_at: at(n),
                later: machine(2, &round.to_string()),
                times: 7,
            };
            known.meet(meeting, at(n));
        }
    }
    assert_eq!(known.watched.len(), WATCHED_MAX);
    assert_eq!(known.found.len(), WATCHED_MAX);
    for watched in known.watched.values() {
        assert!(watched.seen.len() <= SEEN_MAX);
    }
    let entry = size_of::<(Timestamp, Machine)>();
    // A ring grows by doubling, so it may have room for twice as many.
    let bytes = 2 * SEEN_MAX * entry
        + size_of::<Watched>()
        + size_of::<SharedIdentity>()
        + CLIENT_ID_MAX_BYTES
        + 3 * 63;
    assert!(bytes <= DEVICE_MAX_BYTES, "{bytes}");
    let kept = known.to_json();
    assert!(kept.len() < 64 * 1024, "{}", kept.len());
}

#[test]
fn sessions_side_by_side_are_compared_by_address_once_they_have_lasted() {
    let present = |device: &str, address: &str, s: i64| Present {
        device: device.parse().unwrap(),
        address: address.parse().unwrap(),
        since: at(s),
    };
    let sessions = vec![
        present("hub", "10.0.0.1", 0),
        present("hub", "fd00::1", 0),
        present("hub", "10.0.0.2", 10),
        present("lamp", "10.0.0.1", 0),
        present("lamp", "10.0.0.1", 0),
        present("dual", "10.0.0.1", 0),
        present("dual", "fd00::1", 0),
    ];
    assert_eq!(
        side_by_side(sessions.clone(), at(309), Each::default()).first,
        []
    );
    let found = side_by_side(sessions, at(310), Each::default()).first;
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].what,
        "hub is connected from two addresses at the same time: 10.0.0.1 and 10.0.0.2."
    );
}
