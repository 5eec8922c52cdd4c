//! What can happen.

use proptest::prelude::*;

/// Clients: device and client id. Two are of one device.
pub(super) const CLIENTS: [(&str, &str); 4] = [("d1", "x"), ("d1", "y"), ("d2", "x"), ("d3", "z")];
pub(super) const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "a/", "b", "b/x"];
pub(super) const FILTERS: [&str; 10] = [
    "a", "a/#", "a/+", "a/+/c", "a/b", "b/#", "b", "a/", "b/+", "a/+/#",
];

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Connect {
        who: usize,
        v5: bool,
        clean: bool,
        expiry_s: u32,
        receive_max: u16,
        will: Option<(usize, u8, bool, u32)>,
    },
    Subscribe {
        who: usize,
        filter: usize,
        options: u8,
        id: Option<u32>,
    },
    Unsubscribe {
        who: usize,
        filter: usize,
    },
    Publish {
        who: usize,
        topic: usize,
        qos: u8,
        retain: bool,
        empty: bool,
        expiry_s: Option<u32>,
    },
    /// The last QoS 2 message once more.
    Again {
        who: usize,
    },
    Release {
        who: usize,
    },
    /// The answer to one of the messages that were received.
    Acknowledge {
        who: usize,
        which: usize,
    },
    Leave {
        who: usize,
    },
    Lose {
        who: usize,
    },
    Wait {
        ms: u64,
    },
}

pub(super) fn acts() -> impl Strategy<Value = Act> {
    let who = 0..CLIENTS.len();
    let will = prop::option::of((0..TOPICS.len(), 0..3_u8, any::<bool>(), 0..3_u32));
    let expiry = prop_oneof![Just(0_u32), Just(5), Just(u32::MAX)];
    let options =
        (0..3_u8, 0..4_u8, 0..3_u8).prop_map(|(qos, flags, rh)| qos | flags << 2 | rh << 4);
    prop_oneof![
        3 => (who.clone(), any::<bool>(), any::<bool>(), expiry, 1..4_u16, will).prop_map(
            |(who, v5, clean, expiry_s, receive_max, will)| Act::Connect {
                who, v5, clean, expiry_s, receive_max, will,
            }
        ),
        4 => (who.clone(), 0..FILTERS.len(), options, prop::option::of(1..5_u32)).prop_map(
            |(who, filter, options, id)| Act::Subscribe { who, filter, options, id }
        ),
        1 => (who.clone(), 0..FILTERS.len()).prop_map(|(who, filter)| Act::Unsubscribe { who, filter }),
        8 => (who.clone(), 0..TOPICS.len(), 0..3_u8, any::<bool>(), 0..5_u8, prop::option::of(1..4_u32))
            .prop_map(|(who, topic, qos, retain, empty, expiry_s)| Act::Publish {
                who, topic, qos, retain, empty: empty == 0, expiry_s,
            }),
        1 => who.clone().prop_map(|who| Act::Again { who }),
        1 => who.clone().prop_map(|who| Act::Release { who }),
        8 => (who.clone(), 0..3_usize).prop_map(|(who, which)| Act::Acknowledge { who, which }),
        1 => who.clone().prop_map(|who| Act::Leave { who }),
        1 => who.prop_map(|who| Act::Lose { who }),
        2 => (1..4_000_u64).prop_map(|ms| Act::Wait { ms }),
    ]
}
