//! What one session may publish and subscribe, by its profile or by its claim, and which of it was used.

use crate::id::{ClaimId, DeviceId};
use crate::right::{Narrowing, Right, Used, Verb};
use crate::topic::{TopicFilter, hearthkey};

/// What one session may publish and subscribe. It says nothing about anybody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    publish: Vec<TopicFilter>,
    subscribe: Vec<TopicFilter>,
    /// How often each was used, in the same order.
    published: Vec<Used>,
    subscribed: Vec<Used>,
}

impl Rights {
    /// What an expired certificate in its grace may do: renew, and nothing else.
    pub fn renewal_only(device: &DeviceId) -> Self {
        Self::new(
            [hearthkey::renew(device), hearthkey::clock(device)]
                .iter()
                .filter_map(|topic| TopicFilter::parse(topic).ok())
                .collect(),
            ["notice", "renew/+"]
                .iter()
                .filter_map(|t| {
                    TopicFilter::parse(&format!("hearthkey/v1/devices/{device}/{t}")).ok()
                })
                .collect(),
        )
    }

    /// What a claim may do: send its CSR and receive the answer.
    pub fn claim(claim: &ClaimId) -> Self {
        let enroll = hearthkey::enroll(claim);
        Self::new(
            TopicFilter::parse(&enroll).into_iter().collect(),
            TopicFilter::parse(&format!("{enroll}/+"))
                .into_iter()
                .collect(),
        )
    }

    pub(super) fn new(publish: Vec<TopicFilter>, subscribe: Vec<TopicFilter>) -> Self {
        let unused = |filters: &[TopicFilter]| filters.iter().map(|_| Used::default()).collect();
        Self {
            published: unused(&publish),
            subscribed: unused(&subscribe),
            publish,
            subscribe,
        }
    }

    /// What is left of these by a narrowing. The gateway's own topics are never taken.
    pub fn narrowed(self, narrowing: &Narrowing) -> Self {
        let left = |verb, mut filters: Vec<TopicFilter>| {
            filters.retain(|filter| is_reserved(filter.as_str()) || narrowing.keeps(verb, filter));
            filters
        };
        Self::new(
            left(Verb::Publish, self.publish),
            left(Verb::Subscribe, self.subscribe),
        )
    }

    /// Every right, and whether it is one of the gateway's own topics.
    pub fn all(&self) -> Vec<((Verb, TopicFilter), bool)> {
        let publish = self.publish.iter().map(|filter| (Verb::Publish, filter));
        let subscribe = self
            .subscribe
            .iter()
            .map(|filter| (Verb::Subscribe, filter));
        publish
            .chain(subscribe)
            .map(|(verb, filter)| ((verb, filter.clone()), is_reserved(filter.as_str())))
            .collect()
    }

    /// How often rights were used since this was last asked; those that were not are left out.
    pub fn take_uses(&self) -> Vec<(Right, u64)> {
        let publish = self.publish.iter().zip(&self.published);
        let subscribe = self.subscribe.iter().zip(&self.subscribed);
        let both = publish
            .map(|used| (Verb::Publish, used))
            .chain(subscribe.map(|used| (Verb::Subscribe, used)));
        both.map(|(verb, (filter, used))| ((verb, filter.as_str().to_owned()), used.take()))
            .filter(|(_, uses)| *uses > 0)
            .collect()
    }

    /// Whether a message may be published to this topic name. The first filter that lets it through is used.
    pub fn may_publish(&self, topic: &str) -> bool {
        use_up(self.publish_place(topic), &self.published)
    }

    /// The right by which a message may be published to this topic name, as its place among the filters. Nothing is
    /// counted: see [`Rights::published`].
    pub fn publish_place(&self, topic: &str) -> Option<usize> {
        let reserved = is_reserved(topic);
        let mut filters = self.publish.iter();
        filters.position(|filter| is_reserved(filter.as_str()) == reserved && filter.matches(topic))
    }

    /// Counts one more message that was published by the right at this place.
    pub fn published(&self, place: usize) {
        use_up(Some(place), &self.published);
    }

    /// Whether a message on this topic may be delivered. Nothing is counted.
    pub fn may_hear(&self, topic: &str) -> bool {
        self.subscribe.iter().any(|filter| filter.matches(topic))
    }

    /// Whether this filter may be subscribed to, `$share/…` included. Nothing is counted.
    pub fn covers(&self, filter: &str) -> bool {
        TopicFilter::parse_shared(filter)
            .is_ok_and(|asked| self.subscribe.iter().any(|allowed| allowed.covers(&asked)))
    }

    /// Whether this filter may be subscribed to, as the client wrote it: with `$share/…` too.
    pub fn may_subscribe(&self, filter: &str) -> bool {
        let Ok(asked) = TopicFilter::parse_shared(filter) else {
            return false;
        };
        let mut filters = self.subscribe.iter();
        let found = filters.position(|allowed| allowed.covers(&asked));
        use_up(found, &self.subscribed)
    }

    /// The topic filters that may be published to.
    pub fn publish(&self) -> &[TopicFilter] {
        &self.publish
    }

    /// The topic filters that may be subscribed to.
    pub fn subscribe(&self) -> &[TopicFilter] {
        &self.subscribe
    }
}

/// Counts the use of the filter that was found, and tells whether one was.
fn use_up(found: Option<usize>, counts: &[Used]) -> bool {
    if let Some(used) = found.and_then(|place| counts.get(place)) {
        used.once_more();
    }
    found.is_some()
}

/// A topic of the gateway's own, or of the broker's: no profile's rule reaches it, however wide.
pub(super) fn is_reserved(topic: &str) -> bool {
    topic.starts_with('$') || topic.split('/').next() == Some("hearthkey")
}

/// Whether a subscription would be handed what the gateway says to one device.
pub(super) fn hears_ours(filter: &TopicFilter) -> bool {
    let ours = hearthkey::PRIVATE.iter();
    let mut ours = ours.filter_map(|ours| TopicFilter::parse(ours).ok());
    is_reserved(filter.as_str()) || ours.any(|ours| ours.overlaps(filter))
}
