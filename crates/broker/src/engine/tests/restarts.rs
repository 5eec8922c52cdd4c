//! What survives.

use crate::engine::Moment;
use crate::engine::testing::{Heard, Hello, Room, Say, WillSaid};
use crate::limits::Limits;
use crate::state::{StateChange, StateRow};

use super::{lasting, messages, say, texts, two};

/// The rows of everything that an engine has to write down.
fn written(room: &mut Room, rows: &mut Vec<StateRow>) {
    let at = Moment {
        now_ms: room.now_ms,
        home_s: 1_000 + (room.now_ms / 1000) as i64,
    };
    loop {
        let changes = room.engine.take_changes(3, true, at);
        if changes.is_empty() {
            return;
        }
        for change in changes {
            let (kind, key) = match &change {
                StateChange::Put(row) => (row.kind, row.key.clone()),
                StateChange::Delete { kind, key } => (*kind, key.clone()),
            };
            rows.retain(|row| (row.kind, &row.key) != (kind, &key));
            if let StateChange::Put(row) = change {
                rows.push(row);
            }
        }
    }
}

#[test]
fn an_engine_that_is_restored_goes_on_where_it_was_written_down() {
    let will = WillSaid {
        topic: "b/alive",
        payload: b"gone".to_vec(),
        qos: 0,
        retain: false,
        delay_s: 0,
    };
    let hello = Hello {
        will: Some(will),
        ..lasting()
    };
    let (mut room, mut listener, mut speaker) = two(&Limits::default(), &hello, 2);
    let mut rows = Vec::new();
    for (number, qos) in [(1_u16, 1), (2, 2), (3, 2), (4, 1)] {
        let text = number.to_string();
        let say = Say {
            id: number,
            retain: number == 1,
            ..say("a/b", text.as_bytes(), qos)
        };
        room.publish(&mut speaker, &say);
        written(&mut room, &mut rows);
    }
    let heard = messages(room.hear(&mut listener));
    assert_eq!(heard.len(), 4);
    room.acknowledge(&mut listener, 4, heard[0].id);
    room.acknowledge(&mut listener, 5, heard[1].id);
    let qos_2 = Say {
        id: 77,
        ..say("b/x", b"mine", 2)
    };
    room.publish(&mut listener, &qos_2);
    written(&mut room, &mut rows);

    let mut after = Room::new(&Limits::default());
    let at = Moment {
        now_ms: 0,
        home_s: 1_010,
    };
    assert_eq!(after.engine.restore(rows.clone(), at), 0);
    let mut again = after.connect("hall", "hall", &lasting());
    let heard = after.hear(&mut again);
    assert_eq!(
        heard[0],
        Heard::Connack {
            present: true,
            code: 0
        }
    );
    assert_eq!(heard[1], Heard::Ack(6, 2, 0), "released, not sent again");
    assert_eq!(texts(&heard), ["3", "4"]);
    assert!(messages(heard).iter().all(|published| published.dup));
    after.publish(&mut again, &Say { dup: true, ..qos_2 });
    assert_eq!(after.hear(&mut again), [Heard::Ack(5, 77, 0)]);
    for (kind, id) in [(7, 2), (5, 3), (7, 3), (4, 4), (6, 77)] {
        after.acknowledge(&mut again, kind, id);
    }
    after.hear(&mut again);
    after.subscribe(&mut again, 5, &[("a/b", 0)], None);
    assert_eq!(texts(&after.hear(&mut again)), ["1"], "retained");
    after.send(&mut again, &[0xe0, 2, 4, 0]);
    let heard = after.engine.due_wills(0).len();
    assert_eq!(
        heard, 0,
        "the will of before was taken back when its device came"
    );
    written(&mut after, &mut rows);
    let kinds: Vec<_> = rows
        .iter()
        .map(|row| (row.kind, row.key.as_str()))
        .collect();
    use crate::state::StateKind::{Retained, Session};
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    assert!(kinds.contains(&(Retained, "a/b")) && kinds.contains(&(Session, "hall")));
}

#[test]
fn the_will_of_a_device_that_does_not_come_back_after_a_restart_is_spoken() {
    let will = WillSaid {
        topic: "a/alive",
        payload: b"gone".to_vec(),
        qos: 1,
        retain: false,
        delay_s: 0,
    };
    let mut room = Room::new(&Limits::default());
    room.connect(
        "lamp",
        "lamp",
        &Hello {
            will: Some(will),
            ..Hello::default()
        },
    );
    let mut rows = Vec::new();
    written(&mut room, &mut rows);
    assert_eq!(
        rows.len(),
        1,
        "also that of a session which ends with its connection"
    );
    let mut after = Room::new(&Limits::default());
    let at = Moment {
        now_ms: 0,
        home_s: 2_000,
    };
    after.engine.restore(rows, at);
    assert!(!after.engine.tick(59_000));
    assert!(after.engine.tick(60_000));
}

#[test]
fn what_is_over_is_dropped_without_being_called_unreadable_and_a_will_does_not_outlive_its_session()
{
    let will = |delay_s| WillSaid {
        topic: "b/alive",
        payload: b"gone".to_vec(),
        qos: 0,
        retain: false,
        delay_s,
    };
    let mut room = Room::new(&Limits::default());
    let short = Hello {
        clean: false,
        expiry_s: 100,
        will: Some(will(100_000)),
        ..Hello::default()
    };
    let mut lamp = room.connect("lamp", "lamp", &short);
    room.hear(&mut lamp);
    room.subscribe(&mut lamp, 1, &[("a/#", 1)], None);
    let none = Hello {
        will: Some(will(100_000)),
        ..Hello::default()
    };
    let mut speaker = room.connect("door", "door", &none);
    room.hear(&mut speaker);
    let retained = Say {
        retain: true,
        expiry_s: Some(10),
        ..say("a/b", b"soon over", 1)
    };
    room.publish(&mut speaker, &retained);
    let mut rows = Vec::new();
    written(&mut room, &mut rows);
    room.lose(&mut lamp);
    written(&mut room, &mut rows);

    let restored = |home_s| {
        let mut after = Room::new(&Limits::default());
        let at = Moment { now_ms: 0, home_s };
        assert_eq!(after.engine.restore(rows.clone(), at), 0);
        after
    };
    let mut soon = restored(1_050);
    assert!(!soon.engine.tick(49_000));
    assert!(soon.engine.tick(50_000), "the will of a session that ends");
    assert_eq!(soon.engine.due_wills(50_000).len(), 1);
    assert_eq!(
        soon.engine.due_wills(60_000).len(),
        2,
        "and of one that ended with its connection"
    );
    let mut late = restored(5_000);
    assert_eq!(late.engine.standings().len(), 0);
    let mut left = rows.clone();
    written(&mut late, &mut left);
    let kinds: Vec<_> = left.iter().map(|row| row.kind).collect();
    assert!(
        kinds
            .iter()
            .all(|kind| *kind == crate::state::StateKind::Will),
        "{kinds:?}"
    );
}

#[test]
fn after_a_crash_a_qos_2_message_that_is_new_is_not_taken_for_the_one_whose_release_was_lost() {
    let (mut room, mut listener, _) = two(&Limits::default(), &Hello::default(), 2);
    let mut speaker = room.connect("lamp", "other", &lasting());
    let numbered = |payload, dup| Say {
        id: 7,
        dup,
        ..say("a/b", payload, 2)
    };
    let mut rows = Vec::new();
    room.publish(&mut speaker, &numbered(b"first", false));
    written(&mut room, &mut rows);
    // This comes too late to be written down.
    room.acknowledge(&mut speaker, 6, 7);
    room.hear(&mut listener);
    for (payload, dup, is_delivered) in [(b"first", true, false), (b"other", false, true)] {
        let mut room = Room::new(&Limits::default());
        let at = Moment {
            now_ms: 0,
            home_s: 1_000,
        };
        assert_eq!(room.engine.restore(rows.clone(), at), 0);
        let mut listener = room.connect("hall", "hall", &Hello::default());
        room.subscribe(&mut listener, 1, &[("a/#", 2)], None);
        room.hear(&mut listener);
        let mut speaker = room.connect("lamp", "other", &lasting());
        room.hear(&mut speaker);
        room.publish(&mut speaker, &numbered(payload, dup));
        assert_eq!(room.hear(&mut speaker), [Heard::Ack(5, 7, 0)]);
        let heard = messages(room.hear(&mut listener));
        assert_eq!(!heard.is_empty(), is_delivered, "{heard:?}");
    }
}

#[test]
fn a_message_takes_no_number_of_one_that_was_over_when_the_engine_was_restored() {
    let (mut room, mut listener, mut speaker) = two(&Limits::default(), &lasting(), 1);
    room.lose(&mut listener);
    let brief = Say {
        expiry_s: Some(1),
        ..say("a/b", b"brief", 1)
    };
    room.publish(&mut speaker, &brief);
    let mut rows = Vec::new();
    written(&mut room, &mut rows);
    let restored = |rows: &Vec<StateRow>, home_s: i64| {
        let mut room = Room::new(&Limits::default());
        let at = Moment { now_ms: 0, home_s };
        assert_eq!(room.engine.restore(rows.clone(), at), 0);
        room
    };
    let mut room = restored(&rows, 1_010);
    let mut speaker = room.connect("lamp", "lamp", &Hello::default());
    room.publish(&mut speaker, &say("a/b", b"lasting", 1));
    written(&mut room, &mut rows);
    let mut room = restored(&rows, 1_020);
    let mut listener = room.connect("hall", "hall", &lasting());
    assert_eq!(texts(&room.hear(&mut listener)), ["lasting"]);
}

#[test]
fn what_gave_way_in_vain_does_not_come_back_with_a_restart() {
    let limits = Limits {
        queue_max_bytes: 3_000,
        ..Limits::default()
    };
    let (mut room, mut listener, mut speaker) = two(&limits, &lasting(), 1);
    let text = "x".repeat(2_000);
    for length in [1_500, 500] {
        let payload = &text.as_bytes()[..length];
        room.publish(&mut speaker, &say("a/b", payload, 1));
        // The first is on its way and never acknowledged; the second waits for an absent client.
        if length == 1_500 {
            assert_eq!(messages(room.hear(&mut listener)).len(), 1);
            room.lose(&mut listener);
        }
    }
    let mut rows = Vec::new();
    written(&mut room, &mut rows);
    let queued = |rows: &Vec<StateRow>| {
        let of_queue = |row: &&StateRow| row.kind == crate::state::StateKind::Queue;
        rows.iter().filter(of_queue).count()
    };
    assert_eq!(queued(&rows), 2);
    room.publish(&mut speaker, &say("a/b", text.as_bytes(), 1));
    written(&mut room, &mut rows);
    assert_eq!(
        queued(&rows),
        1,
        "it gave way, and there was no room after all"
    );
}
