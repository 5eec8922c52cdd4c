//! What holds for a device over all its sessions and connections.

use std::sync::Arc;

use hearthkey_core::posture::shared_identity::Machine;
use hearthkey_core::profile::Rights;
use hearthkey_core::room::Room as Wanted;

use crate::engine::testing::{Heard, Hello, Room};
use crate::engine::{Progress, Verdict};
use crate::event::{Bound, Event};
use crate::limits::Limits;

use super::{bounds_told, lasting, say, texts, two};

/// What was reported about machines that met: where each came from, and how often.
fn met(room: &mut Room) -> Vec<(u8, u64, u8, u32)> {
    let host = |machine: Machine| match machine.address {
        std::net::IpAddr::V4(address) => address.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    let notes = room.engine.take_notes().into_iter();
    let met = notes.filter_map(|note| match note {
        Event::MachinesMet {
            earlier,
            heard_ago_ms,
            later,
            times,
            ..
        } => Some((host(earlier), heard_ago_ms, host(later), times)),
        _ => None,
    });
    met.collect()
}

#[test]
fn machines_that_meet_are_told_eight_times_in_ten_seconds_and_counted_beyond() {
    let mut room = Room::new(&Limits::default());
    for n in 0..20 {
        room.host = 1 + n % 2;
        room.connect("lamp", "lamp", &Hello::default());
        room.now_ms += 200;
    }
    let told = met(&mut room);
    assert_eq!(told.len(), 8);
    assert_eq!(told[0], (1, 200, 2, 1));
    assert_eq!(told[1], (2, 200, 1, 1));
    room.now_ms += 10_000;
    room.host = 1;
    room.connect("lamp", "lamp", &Hello::default());
    assert_eq!(met(&mut room), [(2, 10_200, 1, 12)]);
}

#[test]
fn a_device_with_one_session_has_one_connection_and_leaves_one_session_behind() {
    let mut room = Room::new(&Limits::default());
    room.sessions_max = 1;
    let mut before = room.connect("hub", "7b0c", &lasting());
    room.hear(&mut before);
    room.subscribe(&mut before, 1, &[("a/#", 1)], None);
    let mut after = room.connect("hub", "91fd", &lasting());
    let told = room.hear(&mut before);
    assert_eq!(told.last(), Some(&Heard::Disconnect(0x8e)));
    room.lose(&mut after);
    assert_eq!(room.engine.standings().len(), 1, "what is left behind");
    let mut again = room.connect("hub", "7b0c", &lasting());
    let anew = Heard::Connack {
        present: false,
        code: 0,
    };
    assert_eq!(room.hear(&mut again), [anew]);
}

#[test]
fn a_device_that_connects_again_goes_on_at_the_pace_it_had_used() {
    let limits = Limits {
        publishes_per_s_max: 1,
        ..Limits::default()
    };
    let mut room = Room::new(&limits);
    let mut listener = room.connect("hall", "hall", &Hello::default());
    room.hear(&mut listener);
    room.subscribe(&mut listener, 1, &[("a/#", 0)], None);
    let mut flood = room.connect("lamp", "lamp", &Hello::default());
    for _ in 0..10 {
        assert_eq!(
            room.publish(&mut flood, &say("a/b", b"x", 0)),
            Progress::All
        );
    }
    for client_id in ["lamp", "other"].repeat(20) {
        room.lose(&mut flood);
        room.engine.tick(room.now_ms);
        flood = room.connect("lamp", client_id, &Hello::default());
        let progress = room.publish(&mut flood, &say("a/b", b"x", 0));
        assert!(matches!(progress, Progress::Rest(_)), "{progress:?}");
    }
    assert_eq!(bounds_told(&mut room), [Bound::Pace]);
    let heard = texts(&room.hear(&mut listener)).len();
    assert_eq!(heard, 11, "the burst, and the one that was too fast");
    room.lose(&mut flood);
    // However often it came back, it has to rest no longer than for that.
    room.now_ms += 11_000;
    room.engine.tick(room.now_ms);
    let mut rested = room.connect("lamp", "lamp", &Hello::default());
    assert_eq!(
        room.publish(&mut rested, &say("a/b", b"x", 0)),
        Progress::All
    );
}

#[test]
fn a_session_left_behind_has_the_bounds_of_its_profile_before_its_device_is_back() {
    let (mut room, mut listener, mut speaker) = two(&Limits::default(), &lasting(), 1);
    room.lose(&mut listener);
    let wanted = Wanted {
        queue_max_bytes: Some(65_536),
        ..Wanted::default()
    };
    let verdict = Verdict::Active {
        rights: Room::rights("hall"),
        bounds: room.engine.bounds().of(wanted, 1),
    };
    for standing in room.engine.standings() {
        room.engine.restrict(standing.at, &verdict, room.now_ms);
    }
    for _ in 0..3 {
        room.publish(&mut speaker, &say("a/b", &[b'x'; 40_000], 1));
    }
    assert_eq!(bounds_told(&mut room), [Bound::Queue]);
    let mut again = room.connect("hall", "hall", &lasting());
    assert_eq!(texts(&room.hear(&mut again)).len(), 1, "the newest");
}

#[test]
fn of_a_device_that_is_gone_for_good_no_session_is_left_and_of_a_suspended_one_what_it_hears() {
    for (verdict, left) in [(Verdict::Over, 0), (Verdict::ShutOut, 1)] {
        let (mut room, mut listener, mut speaker) = two(&Limits::default(), &lasting(), 1);
        room.lose(&mut listener);
        room.publish(&mut speaker, &say("a/b", b"x", 1));
        let away = room.engine.standings();
        let away = away.iter().find(|its| {
            let device = its.owner.device();
            device.is_some_and(|device| device.as_str() == "hall")
        });
        let at = away.unwrap().at;
        assert_eq!(room.engine.restrict(at, &verdict, room.now_ms), 0);
        let count = room.engine.standings().len() - 1;
        assert_eq!(count, left, "{verdict:?}");
        let rights: Arc<Rights> = Room::rights("hall");
        let mut again = room.connect_with("hall", "hall", &lasting(), rights);
        let heard = room.hear(&mut again);
        assert_eq!(texts(&heard), Vec::<String>::new(), "nothing was kept");
    }
}
