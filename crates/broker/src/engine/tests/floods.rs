//! Clients that want to hold more than they may.

use crate::engine::progress::Departure;
use crate::engine::progress::Progress;
use crate::engine::testing::{Client, Heard, Hello, Room, Say};
use crate::limits::Limits;
use crate::protocol::ReasonCode;

use super::{lasting, messages, say, two};

/// Publishes a QoS 2 message to the end of its handshake.
fn publish_exactly_once(room: &mut Room, speaker: &mut Client, id: u16) {
    let say = Say {
        id,
        ..say("a/b", b"x", 2)
    };
    room.publish(speaker, &say);
    room.acknowledge(speaker, 6, id);
}

#[test]
fn a_receiver_that_never_completes_its_messages_gets_no_more_of_them_over_any_number_of_connections()
 {
    let limits = Limits {
        publishes_per_s_max: u32::MAX,
        ..Limits::default()
    };
    let (mut room, mut listener, mut speaker) = two(&limits, &lasting(), 2);
    let mut taken = 0;
    for _ in 0..6 {
        for id in 1..=1_024 {
            publish_exactly_once(&mut room, &mut speaker, id);
        }
        for published in messages(room.hear(&mut listener)) {
            room.acknowledge(&mut listener, 5, published.id);
            taken += 1;
        }
        room.lose(&mut listener);
        listener = room.connect("hall", "hall", &lasting());
    }
    assert_eq!(taken, 4_096);
    // Once it completes some, it gets others.
    let releases = room.hear(&mut listener).into_iter();
    let releases = releases.filter_map(|heard| match heard {
        Heard::Ack(6, id, _) => Some(id),
        _ => None,
    });
    for id in releases.take(10) {
        room.acknowledge(&mut listener, 7, id);
    }
    assert_eq!(messages(room.hear(&mut listener)).len(), 10);
}

#[test]
fn deep_filters_count_for_the_places_that_they_take() {
    let mut room = Room::new(&Limits::default());
    let mut lamp = room.connect("lamp", "lamp", &Hello::default());
    room.hear(&mut lamp);
    let deep = "/x".repeat(480);
    let mut granted = 0;
    loop {
        let filter = format!("a/{granted}{deep}/+");
        room.subscribe(&mut lamp, 1, &[(&filter, 0)], None);
        match &room.hear(&mut lamp)[..] {
            [Heard::Suback(1, codes)] if codes == &[0] => granted += 1,
            [Heard::Suback(1, codes)] if codes == &[0x97] => break,
            other => panic!("{other:?}"),
        }
    }
    // 8 MiB, 482 levels of 320 bytes and a kilobyte of text each.
    assert!((50..=54).contains(&granted), "{granted}");
    // Without wildcards there is one place for each, however deep it is.
    room.subscribe(&mut lamp, 1, &[(&format!("a{deep}"), 0)], None);
    assert_eq!(room.hear(&mut lamp), [Heard::Suback(1, vec![0])]);
}

#[test]
fn who_reads_long_retained_messages_has_room_for_what_is_published_meanwhile() {
    let (mut room, mut listener, mut speaker) = two(&Limits::default(), &Hello::default(), 0);
    for number in 0..40 {
        let topic = format!("b/{number}");
        let kept = Say {
            retain: true,
            ..say(&topic, &[7; 600_000], 1)
        };
        room.publish(&mut speaker, &kept);
    }
    room.hear(&mut speaker);
    room.subscribe(&mut listener, 2, &[("b/#", 1)], None);
    let mut read = messages(room.hear(&mut listener));
    assert!(read.len() < 20, "{}", read.len());
    room.publish(&mut speaker, &say("b/now", b"new", 1));
    let mut now = 0;
    while let Some(published) = read.pop() {
        room.acknowledge(&mut listener, 4, published.id);
        for published in messages(room.hear(&mut listener)) {
            now += usize::from(published.payload == b"new");
            read.push(published);
        }
    }
    assert_eq!(now, 1, "the reader kept its connection");
}

#[test]
fn a_packet_has_no_more_filters_than_a_session_may() {
    let mut room = Room::new(&Limits::default());
    let mut lamp = room.connect("lamp", "lamp", &Hello::default());
    let filters = vec![("a/b", 0); 10_000];
    room.hear(&mut lamp);
    room.subscribe(&mut lamp, 1, &filters, None);
    assert!(
        matches!(&room.hear(&mut lamp)[..], [Heard::Suback(1, codes)] if codes.len() == 10_000)
    );
    let more = vec![("a/b", 0); 10_001];
    let over = room.subscribe(&mut lamp, 2, &more, None);
    let Progress::Over(Departure::Violated(violation)) = over else {
        panic!("{over:?}");
    };
    assert_eq!(violation.reason, ReasonCode::QuotaExceeded);
}

#[test]
fn the_last_of_the_same_filters_in_a_packet_reads_what_is_retained_once() {
    let (mut room, mut listener, mut speaker) = two(&Limits::default(), &Hello::default(), 0);
    let kept = Say {
        retain: true,
        ..say("c/kept", b"x", 0)
    };
    room.publish(&mut speaker, &kept);
    room.hear(&mut listener);
    let filters = [("c/+", 0), ("c/#", 0), ("c/+", 0)];
    room.subscribe(&mut listener, 9, &filters, None);
    assert_eq!(
        messages(room.hear(&mut listener)).len(),
        2,
        "one for each filter"
    );
    // Nothing more is read under a filter that is gone before it was.
    room.subscribe(&mut listener, 10, &[("c/+", 0)], None);
    room.unsubscribe(&mut listener, 11, "c/+");
    let heard = room.hear(&mut listener);
    assert!(messages(heard).is_empty());
}

#[test]
fn deliveries_count_in_the_turn_of_who_publishes() {
    let limits = Limits {
        publishes_per_s_max: u32::MAX,
        ..Limits::default()
    };
    let mut room = Room::new(&limits);
    let mut hall = room.connect("hall", "hall", &Hello::default());
    for group in 0..1_000 {
        let filter = format!("$share/g{group}/a/b");
        room.subscribe(&mut hall, 1, &[(&filter, 0)], None);
    }
    room.hear(&mut hall);
    let mut lamp = room.connect("lamp", "lamp", &Hello::default());
    room.hear(&mut lamp);
    let before = room.turns;
    for _ in 0..100 {
        room.publish(&mut lamp, &say("a/b", b"x", 0));
    }
    assert_eq!(room.turns, before, "one at a time is no turn");
    let many: Vec<u8> = (0..100)
        .flat_map(|_| room.published(&lamp, &say("a/b", b"x", 0)))
        .collect();
    room.send(&mut lamp, &many);
    let turns = room.turns - before;
    assert!((20..=50).contains(&turns), "{turns}");
}
