//! The bounds that a device can reach: what is said when it does, and what there is to do.

/// A bound that a device has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Bound {
    /// Sessions of the device at a time.
    #[error("tries to have more sessions than its profile allows")]
    Sessions,
    /// A packet that is longer than the gateway reads from this device.
    #[error("sent a packet that is too long: the connection was ended")]
    Packet,
    /// A topic or a filter that is longer than any may be.
    #[error("used a topic or filter of more than 1,024 bytes")]
    Topic,
    /// Subscriptions of one session, in number.
    #[error("has reached its limit of subscriptions")]
    Subscriptions,
    /// Subscriptions of all sessions of one device, in bytes.
    #[error("has reached the limit of bytes for subscriptions of a device")]
    SubscriptionsOfDevice,
    /// All subscriptions together, in bytes.
    #[error("the home has reached its limit of subscriptions")]
    SubscriptionsOfHome,
    /// It takes its messages too slowly: what was sent without a promise was dropped.
    #[error("takes its messages too slowly: QoS 0 messages were dropped")]
    Slow,
    /// It takes its messages too slowly: the connection was ended.
    #[error("takes its messages too slowly: the connection was ended")]
    TooSlow,
    /// It is offline, and its queue is full: the oldest messages were dropped.
    #[error("is offline, and its queue is full: the oldest messages were dropped")]
    Queue,
    /// What waits for all sessions of one device: the longest queue was emptied.
    #[error("its queues together are too long: the longest one was emptied")]
    QueuesOfDevice,
    /// All queues together are over their bound, and this was the longest: it was emptied.
    #[error("all queues together were too long: this one was the longest and was emptied")]
    QueuesOfHome,
    /// A retained message that is too long.
    #[error("a message is too long to be retained")]
    RetainedMessage,
    /// The retained messages of one device.
    #[error("has reached its limit of retained messages")]
    RetainedOfDevice,
    /// All retained messages together.
    #[error("the home has reached its limit of retained messages")]
    RetainedOfHome,
    /// QoS 2 messages that are not released.
    #[error("has too many unfinished QoS 2 messages")]
    HalfDone,
    /// It sends faster than it may: it is read more slowly.
    #[error("publishes too fast: it is read more slowly")]
    Pace,
    /// Packets that are not complete, of all connections together.
    #[error("too many long packets arrive at the same time: the connection was ended")]
    Incoming,
    /// Requests for certificates on one connection.
    #[error("asks for certificates more often than once in five seconds: it was asked to wait")]
    Requests,
}

/// What raises a bound that the profile sets.
macro_rules! profile {
    ($what:literal) => {
        concat!(
            "If the device needs that much, raise ",
            $what,
            " in its own profile; otherwise find out why it needs it."
        )
    };
}

impl Bound {
    /// Every bound.
    pub const ALL: [Self; 18] = [
        Self::Sessions,
        Self::Packet,
        Self::Topic,
        Self::Subscriptions,
        Self::SubscriptionsOfDevice,
        Self::SubscriptionsOfHome,
        Self::Slow,
        Self::TooSlow,
        Self::Queue,
        Self::QueuesOfDevice,
        Self::QueuesOfHome,
        Self::RetainedMessage,
        Self::RetainedOfDevice,
        Self::RetainedOfHome,
        Self::HalfDone,
        Self::Pace,
        Self::Incoming,
        Self::Requests,
    ];

    /// Tells apart the findings about two bounds of one device.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Packet => "packet",
            Self::Topic => "topic",
            Self::Subscriptions => "subscriptions",
            Self::SubscriptionsOfDevice => "subscriptions-of-device",
            Self::SubscriptionsOfHome => "subscriptions-of-home",
            Self::Slow => "slow",
            Self::TooSlow => "too-slow",
            Self::Queue => "queue",
            Self::QueuesOfDevice => "queues-of-device",
            Self::QueuesOfHome => "queues-of-home",
            Self::RetainedMessage => "retained-message",
            Self::RetainedOfDevice => "retained-of-device",
            Self::RetainedOfHome => "retained-of-home",
            Self::HalfDone => "half-done",
            Self::Pace => "pace",
            Self::Incoming => "incoming",
            Self::Requests => "requests",
        }
    }

    /// What to do about it: which value of the profile to raise, or what to look for at the device.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Sessions => profile!("sessions_max"),
            Self::Packet => profile!("[room] packet_max_bytes"),
            Self::Subscriptions => profile!("[room] subscriptions_max"),
            Self::Queue => profile!("[room] queue_max_bytes"),
            Self::RetainedOfDevice => {
                profile!("[room] retained_max or retained_max_bytes")
            }
            Self::Topic => "No profile can raise this. Give the device shorter topics.",
            Self::SubscriptionsOfDevice => {
                "No profile can raise this. Let it subscribe with wildcards instead of topic by topic, or divide it into two devices."
            }
            Self::SubscriptionsOfHome => {
                "No profile can raise this. Find the devices that subscribe topic by topic, and let them use wildcards."
            }
            Self::Slow | Self::TooSlow => {
                "Find out why it does not read: a weak network, a program that hangs, or too many messages. Let it subscribe \
                 to less, or raise [room] queue_max_bytes in its own profile if it only falls behind for a moment."
            }
            Self::QueuesOfDevice => {
                "No profile can raise this. Let it have fewer sessions that outlive their connections, or subscribe to less."
            }
            Self::QueuesOfHome => {
                "No profile can raise this. Find out which device publishes that much. Connect this one again, or retire it if it is gone."
            }
            Self::RetainedMessage => {
                "No profile can raise this. Let the device publish long messages without the retain flag, or in parts."
            }
            Self::RetainedOfHome => {
                "No profile can raise this. Clear retained messages that are not needed: publish an empty retained message on the topic."
            }
            Self::HalfDone => {
                "Its program does not complete QoS 2. Update it, or let it publish with QoS 1."
            }
            Self::Pace => {
                "Nothing is lost. If it should not send that much, look at what it publishes, and suspend it if it was taken over. \
                 On the command line: `hearthkey device suspend DEVICE`."
            }
            Self::Incoming => {
                "If it happens again, find the devices that send packets of megabytes at the same time, and let them send at different times."
            }
            Self::Requests => {
                "Its program retries without waiting. Update it, or make it wait as described in docs/MQTT.md under How to retry."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_bound_has_a_name_of_its_own_and_says_what_to_do() {
        let names: BTreeSet<&str> = Bound::ALL.iter().map(|bound| bound.name()).collect();
        assert_eq!(names.len(), Bound::ALL.len());
        for bound in Bound::ALL {
            assert!(bound.remedy().ends_with('.'), "{bound}");
            assert!(!bound.to_string().ends_with('.'), "{bound}");
        }
    }
}
