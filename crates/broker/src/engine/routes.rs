//! Where the messages of a topic go, and who may publish to it: worked out once, until a subscription changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hearthkey_core::profile::Rights;

use crate::engine::arena::Place;
use crate::engine::subscriptions::{Member, Options, Subscriptions};
use crate::protocol::{QoS, SubscriptionId, Text};

/// Topics whose routes are remembered. One more forgets all of them.
const TOPICS_MAX: usize = 8_192;
/// Sessions on all routes that are remembered, 56 bytes each. One more forgets all of them.
const MEMBERS_MAX: usize = 262_144;
/// Identities whose right to publish to one topic is remembered.
const PERMITS_MAX: usize = 8;

/// The identifiers of the subscriptions that a message came by.
pub(crate) type Ids = Option<Arc<[SubscriptionId]>>;

/// How one session gets the messages of a topic: all its subscriptions together, so that it gets each once
/// (MQTT 5 §3.3.4).
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    pub(crate) ids: Ids,
}

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) session: Place,
    /// What others publish.
    pub(crate) foreign: Grant,
    /// What the session itself publishes: without the subscriptions that do not want it.
    pub(crate) own: Option<Grant>,
}

/// A group of which one member gets each message.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) members: Vec<(Place, Grant)>,
    next: AtomicUsize,
}

impl Turns {
    /// The members, beginning with the one whose turn it is.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = &(Place, Grant)> {
        let from = self.next.fetch_add(1, Ordering::Relaxed) % self.members.len().max(1);
        let (before, after) = self.members.split_at(from);
        after.iter().chain(before)
    }
}

/// Where the messages of one topic go.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) targets: Vec<Target>,
    pub(crate) groups: Vec<Turns>,
}

#[derive(Debug)]
struct Known {
    version: u64,
    route: Arc<Route>,
    /// By whose rights the topic was published, and the place of the filter that allows it.
    permits: Vec<(Arc<Rights>, Option<usize>)>,
}

/// The routes that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: HashMap<Bytes, Known>,
    /// Sessions on all of them.
    members: usize,
}

impl Routes {
    /// The route of a topic.
    pub(crate) fn of(&mut self, topic: &Text, subscriptions: &Subscriptions) -> Arc<Route> {
        Arc::clone(&self.known(topic, subscriptions).route)
    }

    /// The route of a topic, and the right to publish to it: its place among the rights, if there is one.
    pub(crate) fn permitted(
        &mut self,
        topic: &Text,
        rights: &Arc<Rights>,
        subscriptions: &Subscriptions,
    ) -> (Arc<Route>, Option<usize>) {
        if let Some(known) = self.known.get(topic.as_bytes())
            && known.version == subscriptions.version()
            && let Some((_, place)) = known.permits.iter().find(|(of, _)| Arc::ptr_eq(of, rights))
        {
            return (Arc::clone(&known.route), *place);
        }
        let known = self.known(topic, subscriptions);
        let place = rights.publish_place(topic.as_str());
        if known.permits.len() >= PERMITS_MAX {
            known.permits.clear();
        }
        known.permits.push((Arc::clone(rights), place));
        (Arc::clone(&known.route), place)
    }

    fn known(&mut self, topic: &Text, subscriptions: &Subscriptions) -> &mut Known {
        let version = subscriptions.version();
        let found = self.known.get(topic.as_bytes());
        if found.is_none_or(|known| known.version != version) {
            let before = found.map(|known| known.route.members());
            let new = Arc::new(route(topic.as_bytes(), subscriptions));
            self.make_room(before, new.members());
            // Rights that are no longer in use are not kept for its sake.
            let known = Known {
                version,
                route: new,
                permits: Vec::new(),
            };
            // The text is copied: the message that brought it keeps its own.
            let key = Bytes::copy_from_slice(topic.as_bytes());
            return self.known.entry(key).insert_entry(known).into_mut();
        }
        let key = topic.bytes().clone();
        self.known.entry(key).or_insert_with(|| Known {
            version: u64::MAX,
            route: Arc::default(),
            permits: Vec::new(),
        })
    }

    /// Forgets everything if there is no room for a route with so many sessions, in place of one with `before`.
    fn make_room(&mut self, before: Option<usize>, members: usize) {
        let left = self.members - before.unwrap_or(0);
        let is_full = before.is_none() && self.known.len() >= TOPICS_MAX;
        if is_full || left + members > MEMBERS_MAX {
            self.known.clear();
            self.members = members;
        } else {
            self.members = left + members;
        }
    }
}

impl Route {
    fn members(&self) -> usize {
        let groups = self.groups.iter().map(|group| group.members.len());
        self.targets.len() + groups.sum::<usize>()
    }
}

fn route(topic: &[u8], subscriptions: &Subscriptions) -> Route {
    let mut order: Vec<Place> = Vec::new();
    let mut wants: HashMap<Place, Vec<Options>> = HashMap::new();
    let mut groups = Vec::new();
    subscriptions.each_listening(topic, |listeners| {
        for Member { session, options } in &listeners.plain {
            let its = wants.entry(*session).or_default();
            if its.is_empty() {
                order.push(*session);
            }
            its.push(*options);
        }
        for group in &listeners.groups {
            let members = group.members.iter();
            let members = members.map(|its| (its.session, granted(&[its.options], |_| true)));
            let members = members.filter_map(|(at, grant)| Some((at, grant?)));
            groups.push(Turns {
                members: members.collect(),
                next: AtomicUsize::new(0),
            });
        }
    });
    let target = |session: Place| {
        let options = wants.get(&session)?;
        Some(Target {
            session,
            foreign: granted(options, |_| true)?,
            own: granted(options, |its| !its.no_local),
        })
    };
    Route {
        targets: order.into_iter().filter_map(target).collect(),
        groups,
    }
}

/// What subscriptions of one session grant together: the highest QoS, every identifier.
fn granted(options: &[Options], counts: impl Fn(&Options) -> bool) -> Option<Grant> {
    let counted: Vec<&Options> = options.iter().filter(|its| counts(its)).collect();
    let qos = counted.iter().map(|its| its.qos).max()?;
    let ids: Vec<SubscriptionId> = counted.iter().filter_map(|its| its.id).collect();
    Some(Grant {
        qos,
        retain_as_published: counted.iter().any(|its| its.retain_as_published),
        ids: (!ids.is_empty()).then(|| ids.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::arena::Arena;
    use crate::protocol::Filter;

    fn text(text: &str) -> Text {
        Text::try_from(text).unwrap()
    }

    #[test]
    fn overlapping_subscriptions_are_one_delivery_with_every_identifier() {
        let mut subscriptions = Subscriptions::default();
        let session = Arena::default().insert(());
        for (filter, qos, no_local, id) in [
            ("a/#", QoS::ExactlyOnce, true, 1),
            ("a/+", QoS::AtMostOnce, false, 2),
            ("a/b", QoS::AtLeastOnce, true, 3),
        ] {
            let options = Options {
                qos,
                no_local,
                retain_as_published: no_local,
                id: SubscriptionId::new(id),
            };
            let filter = Filter::parse(text(filter)).unwrap();
            subscriptions.insert(&filter, Member { session, options });
        }
        let mut routes = Routes::default();
        let route = routes.of(&text("a/b"), &subscriptions);
        let [target] = &route.targets[..] else {
            panic!("one delivery")
        };
        assert_eq!(target.foreign.qos, QoS::ExactlyOnce);
        assert_eq!(target.foreign.ids.as_ref().map(|ids| ids.len()), Some(3));
        let own = target.own.as_ref().unwrap();
        assert_eq!((own.qos, own.retain_as_published), (QoS::AtMostOnce, false));
        assert!(Arc::ptr_eq(
            &route,
            &routes.of(&text("a/b"), &subscriptions)
        ));
        subscriptions.remove(&Filter::parse(text("a/#")).unwrap(), session);
        assert_eq!(
            routes.of(&text("a/b"), &subscriptions).targets[0]
                .foreign
                .qos,
            QoS::AtLeastOnce
        );
    }
}
