//! What the engine does that a plain model would not show: rights, bounds, sharing, restarts.

mod floods;
mod owners;
mod restarts;

use std::sync::Arc;

use hearthkey_core::access::DeviceAccess;
use hearthkey_core::device::DeviceState;
use hearthkey_core::profile::Rights;

use crate::engine::session::Owner;
use crate::engine::testing::{Client, Heard, Hello, Published, Room, Say};
use crate::engine::{Departure, Progress, Voice};
use crate::event::{Bound, Event, Refusal};
use crate::limits::Limits;

fn lasting() -> Hello {
    Hello {
        clean: false,
        expiry_s: 3_600,
        ..Hello::default()
    }
}

fn texts(heard: &[Heard]) -> Vec<String> {
    let published = heard.iter().filter_map(|heard| match heard {
        Heard::Publish(published) => Some(published),
        _ => None,
    });
    published
        .map(|published| String::from_utf8_lossy(&published.payload).into_owned())
        .collect()
}

fn messages(heard: Vec<Heard>) -> Vec<Published> {
    let published = heard.into_iter().filter_map(|heard| match heard {
        Heard::Publish(published) => Some(published),
        _ => None,
    });
    published.collect()
}

fn say<'a>(topic: &'a str, payload: &'a [u8], qos: u8) -> Say<'a> {
    Say {
        topic,
        payload,
        qos,
        id: u16::from(qos > 0),
        ..Say::default()
    }
}

fn bounds_told(room: &mut Room) -> Vec<Bound> {
    let notes = room.engine.take_notes().into_iter();
    let bounds = notes.filter_map(|note| match note {
        Event::Refused {
            why: Refusal::Bound(bound),
            ..
        } => Some(bound),
        _ => None,
    });
    bounds.collect()
}

/// A room with a listener to everything below `a` and a speaker of another device.
fn two(limits: &Limits, hello: &Hello, qos: u8) -> (Room, Client, Client) {
    let mut room = Room::new(limits);
    let mut listener = room.connect("hall", "hall", hello);
    room.subscribe(&mut listener, 1, &[("a/#", qos)], None);
    room.hear(&mut listener);
    let mut speaker = room.connect("lamp", "lamp", &Hello::default());
    room.hear(&mut speaker);
    (room, listener, speaker)
}

#[test]
fn what_waits_is_not_delivered_once_the_right_to_hear_it_is_taken() {
    let (mut room, mut listener, mut speaker) = two(&Limits::default(), &lasting(), 1);
    room.publish(&mut speaker, &say("a/b", b"secret", 1));
    room.access
        .set_device_state(&"x".parse().unwrap(), DeviceState::Active);
    assert_eq!(room.hear(&mut listener), [], "rights may have changed");
    assert_eq!(
        room.publish(&mut speaker, &say("a/b", b"secret", 1)),
        Progress::Stale
    );
    room.lose(&mut listener);
    let fewer: Arc<Rights> = Arc::new(Rights::default());
    let mut again = room.connect_with("hall", "hall", &lasting(), fewer);
    let heard = room.hear(&mut again);
    assert_eq!(
        heard,
        [Heard::Connack {
            present: true,
            code: 0
        }]
    );
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member_who_is_there() {
    let mut room = Room::new(&Limits::default());
    let mut members: Vec<Client> = (0..3)
        .map(|number| room.connect(&format!("m{number}"), "x", &lasting()))
        .collect();
    for member in &mut members {
        room.subscribe(member, 1, &[("$share/g/a/#", 1)], None);
        room.hear(member);
    }
    let mut speaker = room.connect("lamp", "lamp", &Hello::default());
    for number in 0..30_u16 {
        let say = Say {
            id: number + 1,
            ..say("a/b", b"x", 1)
        };
        room.publish(&mut speaker, &say);
    }
    let counts: Vec<usize> = members
        .iter_mut()
        .map(|member| messages(room.hear(member)).len())
        .collect();
    assert_eq!(counts, [10, 10, 10]);
    let mut gone = members.remove(0);
    room.lose(&mut gone);
    for number in 0..10_u16 {
        let say = Say {
            id: number + 1,
            ..say("a/b", b"x", 1)
        };
        room.publish(&mut speaker, &say);
    }
    let counts: usize = members
        .iter_mut()
        .map(|member| messages(room.hear(member)).len())
        .sum();
    assert_eq!(counts, 10);
}

#[test]
fn a_slow_session_loses_qos_0_first_and_its_connection_then_and_nobody_waits_for_it() {
    let limits = Limits {
        queue_max_bytes: 10_000,
        ..Limits::default()
    };
    let (mut room, mut listener, mut speaker) = two(&limits, &Hello::default(), 1);
    for _ in 0..50 {
        room.publish(&mut speaker, &say("a/b", &[7; 1_000], 0));
    }
    assert_eq!(bounds_told(&mut room), [Bound::Slow]);
    for _ in 0..50 {
        let done = room.publish(&mut speaker, &say("a/b", &[7; 1_000], 1));
        assert_eq!(done, Progress::All);
    }
    assert_eq!(bounds_told(&mut room), [Bound::TooSlow]);
    let heard = room.hear(&mut listener);
    assert_eq!(heard, [Heard::Disconnect(0x97)]);
    assert_eq!(room.hear(&mut speaker).len(), 50);
}

#[test]
fn a_session_that_is_away_loses_its_oldest_messages_and_its_device_and_the_home_have_bounds_too() {
    let limits = Limits {
        queue_max_bytes: 10_000,
        queues_device_max_bytes: 15_000,
        queues_total_max_bytes: 40_000,
        ..Limits::default()
    };
    let mut room = Room::new(&limits);
    for (device, id) in [("hall", "1"), ("hall", "2"), ("door", "1")] {
        let mut client = room.connect(device, id, &lasting());
        room.subscribe(&mut client, 1, &[("a/#", 1)], None);
        room.lose(&mut client);
    }
    let mut speaker = room.connect("lamp", "lamp", &Hello::default());
    for number in 0..30_u8 {
        room.publish(&mut speaker, &say("a/b", &[number; 1_000], 1));
    }
    let told = bounds_told(&mut room);
    assert_eq!(told, [Bound::QueuesOfDevice, Bound::Queue, Bound::Queue]);
    let mut door = room.connect("door", "1", &lasting());
    let kept = messages(room.hear(&mut door));
    assert_eq!(kept.last().unwrap().payload[0], 29, "the newest are kept");
    assert!((5..10).contains(&kept.len()), "{}", kept.len());
    assert!(room.engine.meter.bytes() < 40_000);
}

#[test]
fn memory_is_given_back_when_messages_are_acknowledged() {
    let (mut room, mut listener, mut speaker) = two(&Limits::default(), &Hello::default(), 1);
    for number in 0..100_u16 {
        let say = Say {
            id: number + 1,
            ..say("a/b", &[7; 10_000], 1)
        };
        room.publish(&mut speaker, &say);
    }
    let held = room.engine.meter.bytes();
    assert!(held > 1_000_000);
    let mut all = 0;
    loop {
        let heard = messages(room.hear(&mut listener));
        if heard.is_empty() {
            break;
        }
        all += heard.len();
        for published in heard {
            room.acknowledge(&mut listener, 4, published.id);
        }
    }
    assert_eq!((all, room.engine.meter.bytes()), (100, 0));
}

#[test]
fn subscriptions_and_retained_messages_beyond_their_bounds_are_refused_in_words() {
    let limits = Limits {
        subscriptions_max: 2,
        retained_device_messages_max: 1,
        ..Limits::default()
    };
    let mut room = Room::new(&limits);
    let mut lamp = room.connect("lamp", "lamp", &Hello::default());
    let mut old = room.connect(
        "lamp",
        "old",
        &Hello {
            v5: false,
            ..Hello::default()
        },
    );
    room.hear(&mut lamp);
    room.hear(&mut old);
    room.subscribe(
        &mut lamp,
        1,
        &[("a/1", 0), ("a/2", 0), ("a/3", 0), ("a/2", 1)],
        None,
    );
    assert_eq!(
        room.hear(&mut lamp),
        [Heard::Suback(1, vec![0, 0, 0x97, 1])]
    );
    let kept = |topic| Say {
        retain: true,
        ..say(topic, b"x", 1)
    };
    room.publish(&mut lamp, &kept("a/1"));
    room.publish(&mut lamp, &kept("a/2"));
    room.publish(&mut lamp, &kept("a/1"));
    let heard = room.hear(&mut lamp);
    let acks: Vec<&Heard> = heard
        .iter()
        .filter(|heard| matches!(heard, Heard::Ack(..)))
        .collect();
    assert_eq!(
        acks,
        [
            &Heard::Ack(4, 1, 0),
            &Heard::Ack(4, 1, 0x97),
            &Heard::Ack(4, 1, 0)
        ]
    );
    assert_eq!(texts(&heard).len(), 2, "what is refused is not delivered");
    room.publish(&mut old, &kept("a/2"));
    assert_eq!(room.hear(&mut old), [Heard::Ack(4, 1, 0)]);
    assert_eq!(
        texts(&room.hear(&mut lamp)),
        ["x"],
        "nobody could say no: it is delivered, and not retained"
    );
    assert_eq!(
        bounds_told(&mut room),
        [Bound::Subscriptions, Bound::RetainedOfDevice]
    );
}

#[test]
fn a_packet_as_long_as_the_client_takes_is_delivered_and_a_longer_one_counts_as_delivered() {
    let hello = Hello {
        packet_max: 64,
        ..Hello::default()
    };
    let (mut room, mut listener, mut speaker) = two(&Limits::default(), &hello, 1);
    // Fixed header 2, topic 5, identifier 2, properties 1.
    for length in [54, 55] {
        room.publish(&mut speaker, &say("a/b", &vec![7; length], 1));
    }
    let heard = messages(room.hear(&mut listener));
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].payload.len(), 54);
    room.acknowledge(&mut listener, 4, heard[0].id);
    assert_eq!(room.engine.meter.bytes(), 0);
}

#[test]
fn the_properties_of_a_message_come_as_they_were_sent_and_topics_get_short_names() {
    let hello = Hello {
        alias_max: 5,
        ..Hello::default()
    };
    let (mut room, mut listener, mut speaker) = two(&Limits::default(), &hello, 0);
    let properties =
        b"\x01\x01\x08\0\x03a/r\x26\0\x01k\0\x01v\x26\0\x01k\0\x01w\x09\0\x01c\x03\0\x01t";
    let message = Say {
        properties,
        ..say("a/b", b"x", 0)
    };
    room.publish(&mut speaker, &message);
    room.publish(&mut speaker, &message);
    let heard = messages(room.hear(&mut listener));
    assert_eq!(heard[0].topic, "a/b");
    assert_eq!(heard[1].topic, "", "the second time by its number");
    for published in heard {
        assert!(published.rest.ends_with(&properties[..]), "{published:?}");
    }
}

#[test]
fn ten_thousand_retained_messages_reach_a_reader_without_a_queue() {
    let mut room = Room::new(&Limits::default());
    let mut lamp = room.connect("lamp", "lamp", &Hello::default());
    for number in 0..10_000 {
        let topic = format!("a/{number}/config");
        let message = Say {
            retain: true,
            ..say(&topic, b"{}", 0)
        };
        room.publish(&mut lamp, &message);
    }
    let held = room.engine.meter.bytes();
    let mut reader = room.connect(
        "hall",
        "hall",
        &Hello {
            v5: false,
            ..Hello::default()
        },
    );
    room.hear(&mut reader);
    room.subscribe(&mut reader, 1, &[("a/+/config", 1)], None);
    assert_eq!(room.engine.meter.bytes(), held);
    assert_eq!(messages(room.hear(&mut reader)).len(), 10_000);
    assert_eq!(room.engine.meter.bytes(), held);
}

#[test]
fn the_wrong_acknowledgement_and_a_client_that_asks_too_much_end_the_connection() {
    for (qos, kind) in [(1, 5), (1, 7), (2, 4), (2, 7)] {
        let (mut room, mut listener, mut speaker) = two(&Limits::default(), &Hello::default(), 2);
        room.publish(&mut speaker, &say("a/b", b"x", qos));
        let id = messages(room.hear(&mut listener))[0].id;
        let done = room.acknowledge(&mut listener, kind, id);
        assert!(
            matches!(done, Progress::Over(Departure::Violated(_))),
            "{qos} {kind}"
        );
        assert_eq!(room.hear(&mut listener), [Heard::Disconnect(0x82)]);
    }
    let limits = Limits {
        receive_max: 3,
        ..Limits::default()
    };
    let mut room = Room::new(&limits);
    let mut lamp = room.connect("lamp", "lamp", &Hello::default());
    for id in 1..=4 {
        let say = Say {
            id,
            ..say("a/b", b"x", 2)
        };
        room.publish(&mut lamp, &say);
    }
    assert_eq!(room.hear(&mut lamp).last(), Some(&Heard::Disconnect(0x93)));
}

#[test]
fn a_silent_client_is_told_so_after_one_and_a_half_times_its_keep_alive() {
    let hello = Hello {
        keep_alive_s: 10,
        ..Hello::default()
    };
    let mut room = Room::new(&Limits::default());
    let mut lamp = room.connect("lamp", "lamp", &hello);
    room.hear(&mut lamp);
    room.now_ms = 14_000;
    room.engine.tick(room.now_ms);
    room.send(&mut lamp, &[0xc0, 0]);
    assert_eq!(room.hear(&mut lamp), [Heard::Pingresp]);
    room.now_ms = 28_000;
    room.engine.tick(room.now_ms);
    assert_eq!(room.hear(&mut lamp), []);
    room.now_ms = 29_001;
    room.engine.tick(room.now_ms);
    assert_eq!(room.hear(&mut lamp), [Heard::Disconnect(0x8d)]);
}

#[test]
fn a_device_that_is_shut_out_never_speaks_again_and_the_gateway_says_that_it_is_gone() {
    let will = super::testing::WillSaid {
        topic: "a/alive",
        payload: b"my own words".to_vec(),
        qos: 1,
        retain: true,
        delay_s: 0,
    };
    let hello = Hello {
        will: Some(will),
        ..lasting()
    };
    let (mut room, mut listener, _speaker) = two(&Limits::default(), &Hello::default(), 1);
    room.connect("cam", "cam", &hello);
    let owner = Owner::Device("cam".parse().unwrap());
    room.engine.cut(|key, _| key.owner == owner, room.now_ms);
    let due = room.engine.due_wills(room.now_ms);
    assert_eq!(due.len(), 1);
    let profile = hearthkey_core::profile::Profile::parse(
        "name = \"p\"\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 30\nkeys = [\"p256\"]\n\
         [[publish]]\ntopic = \"a/#\"\nreason = \"r\"\n[availability]\ntopic = \"a/alive\"\noffline = \"gone\"\n",
    );
    let state = DeviceState::Suspended;
    let known = DeviceAccess::new(state, "home".parse().unwrap(), &profile.unwrap().into());
    let voice = Voice::Gateway {
        availability: known.availability(&"cam".parse().unwrap()),
        is_shut_out: true,
    };
    let epoch = room.access.epoch().now();
    assert!(room.engine.speak(&due[0], voice, epoch, room.now_ms));
    assert_eq!(texts(&room.hear(&mut listener)), ["gone"]);
    assert!(room.engine.due_wills(room.now_ms).is_empty());
}
