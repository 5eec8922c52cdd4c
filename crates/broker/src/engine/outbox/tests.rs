use super::*;
use crate::engine::parcel::{Meter, Terms};
use crate::protocol::{Message, Properties, Text};

fn entry(text: &str, qos: QoS) -> Entry {
    let message = Message {
        topic: Text::try_from(text).unwrap(),
        payload: Default::default(),
        properties: Properties::default(),
    };
    let terms = Terms {
        qos,
        retain: false,
        expires_ms: None,
    };
    Entry {
        parcel: Parcel::new(message, terms, &Meter::default()),
        qos,
        retain: false,
        ids: None,
        number: 0,
    }
}

fn sent(outbox: &mut Outbox, window: usize) -> Vec<(String, u16, bool)> {
    let mut all = Vec::new();
    while let Some(next) = outbox.next(window) {
        all.push(match next {
            Outgoing::Release(id) => ("release".into(), id.get(), false),
            Outgoing::Message { entry, id, dup } => {
                let topic = entry.parcel.message.topic.to_string();
                (topic, id.map_or(0, NonZeroU16::get), dup)
            }
        });
    }
    all
}

fn id(number: u16) -> PacketId {
    NonZeroU16::new(number).unwrap()
}

#[test]
fn the_window_holds_and_what_was_not_acknowledged_comes_again_first_in_order_within_it() {
    let mut outbox = Outbox::default();
    for text in ["a", "b", "c", "d"] {
        outbox.push(entry(text, QoS::AtLeastOnce));
    }
    assert_eq!(
        sent(&mut outbox, 3),
        [
            ("a".into(), 1, false),
            ("b".into(), 2, false),
            ("c".into(), 3, false)
        ]
    );
    assert_eq!(outbox.complete(id(2), QoS::AtLeastOnce), Acked::Done);
    assert_eq!(outbox.complete(id(2), QoS::AtLeastOnce), Acked::Unknown);
    assert_eq!(sent(&mut outbox, 3), [("d".into(), 4, false)]);
    outbox.disconnected();
    outbox.push(entry("e", QoS::AtLeastOnce));
    assert_eq!(
        sent(&mut outbox, 2),
        [("a".into(), 1, true), ("c".into(), 3, true)]
    );
    for number in [4, 1, 3] {
        let acked = outbox.complete(id(number), QoS::AtLeastOnce);
        assert_eq!(acked, Acked::Done, "also before it was sent again");
    }
    assert_eq!(sent(&mut outbox, 2), [("e".into(), 5, false)]);
    assert_eq!(outbox.complete(id(5), QoS::AtLeastOnce), Acked::Done);
    assert!(outbox.is_empty() && outbox.bytes() == 0);
}

#[test]
fn qos_2_is_released_once_and_releases_do_not_wait_for_the_window() {
    let mut outbox = Outbox::default();
    outbox.push(entry("a", QoS::ExactlyOnce));
    outbox.push(entry("b", QoS::ExactlyOnce));
    assert_eq!(sent(&mut outbox, 1), [("a".into(), 1, false)]);
    for wrong in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        assert_eq!(outbox.complete(id(1), wrong), Acked::Wrong, "PUBREC is due");
    }
    assert_eq!(outbox.release(id(1)), Acked::Done);
    assert_eq!(outbox.release(id(1)), Acked::Done);
    assert_eq!(outbox.complete(id(1), QoS::AtLeastOnce), Acked::Wrong);
    assert!(sent(&mut outbox, 1).is_empty(), "it counts until PUBCOMP");
    outbox.disconnected();
    assert_eq!(
        sent(&mut outbox, 1),
        [("release".into(), 1, false), ("b".into(), 2, false)]
    );
    assert_eq!(outbox.complete(id(1), QoS::ExactlyOnce), Acked::Done);
    assert_eq!(outbox.refused(id(2)), Acked::Done);
    assert!(outbox.is_empty() && outbox.bytes() == 0);
}

#[test]
fn an_identifier_in_use_is_not_given_twice() {
    let mut outbox = Outbox::default();
    for _ in 0..70_000 {
        outbox.push(entry("a", QoS::AtLeastOnce));
    }
    assert_eq!(sent(&mut outbox, 2).len(), 2);
    for number in 2..=u16::MAX {
        assert_eq!(outbox.complete(id(number), QoS::AtLeastOnce), Acked::Done);
        assert_eq!(sent(&mut outbox, 2).len(), 1);
    }
    let ids: Vec<u16> = outbox.flights().map(|flight| flight.id.get()).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn what_is_dropped_is_not_counted_any_more() {
    let mut outbox = Outbox::default();
    outbox.push(entry("zero", QoS::AtMostOnce));
    outbox.push(entry("one", QoS::AtLeastOnce));
    outbox.push(entry("two", QoS::AtLeastOnce));
    assert!(outbox.disconnected() > 0);
    assert_eq!(outbox.len(), 2);
    assert!(outbox.drop_oldest().is_some());
    outbox.retain(
        |entry| entry.parcel.message.topic.as_str() != "two",
        |_| true,
    );
    assert!(outbox.is_empty() && outbox.bytes() == 0 && outbox.drop_oldest().is_none());
    outbox.push(entry("x", QoS::AtLeastOnce));
    sent(&mut outbox, 5);
    outbox.push(entry("y", QoS::AtLeastOnce));
    assert_eq!(outbox.clear().0, 2);
    assert_eq!(outbox.bytes(), 0);
}
