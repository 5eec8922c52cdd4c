//! Clients that want to hold more than they may.

use crate::engine::testing::{Heard, Hello, Room, Say};
use crate::limits::Limits;

use super::{messages, say, two};

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
