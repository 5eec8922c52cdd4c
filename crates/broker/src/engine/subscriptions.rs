//! Who listens to what: filters without wildcards by their text, the others in a tree of their levels.

use std::collections::HashMap;

use crate::engine::arena::Place;
use crate::protocol::{Filter, QoS, SubscriptionId};

/// How a subscription wants its messages (MQTT 5 §3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) id: Option<SubscriptionId>,
}

/// A session that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) session: Place,
    pub(crate) options: Options,
}

/// A group of a shared subscription: each message goes to one of its members (MQTT 5 §4.8.2).
#[derive(Debug)]
pub(crate) struct Group {
    name: Box<str>,
    pub(crate) members: Vec<Member>,
}

/// Who listens to one filter.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) plain: Vec<Member>,
    pub(crate) groups: Vec<Group>,
}

#[derive(Debug, Default)]
struct Node {
    /// Filters that end here.
    here: Listeners,
    /// Filters that end here with `/#`.
    all: Listeners,
    any: Option<Box<Node>>,
    /// Each in a place of its own: a table has room for four, and most levels have one.
    named: HashMap<Box<[u8]>, Box<Node>>,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    exact: HashMap<Box<[u8]>, Listeners>,
    root: Node,
    version: u64,
}

impl Subscriptions {
    /// Moves with every change: what was found before may not hold any more.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Whether nothing is left, not even an empty place in the tree.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.root.is_empty()
    }

    /// Adds a subscription, or replaces the options of the same session with the same filter.
    pub(crate) fn insert(&mut self, filter: &Filter, member: Member) {
        self.version += 1;
        let inner = filter.inner().as_bytes();
        let listeners = match super::topics::is_wild(inner) {
            false => match self.exact.contains_key(inner) {
                true => self.exact.get_mut(inner),
                false => Some(self.exact.entry(inner.into()).or_default()),
            },
            true => Some(self.root.walk(inner)),
        };
        if let Some(listeners) = listeners {
            listeners.add(filter.share_group(), member);
        }
    }

    /// Removes a session's subscription.
    pub(crate) fn remove(&mut self, filter: &Filter, session: Place) {
        self.version += 1;
        let inner = filter.inner().as_bytes();
        let group = filter.share_group();
        if super::topics::is_wild(inner) {
            let mut levels = inner.split(|byte| *byte == b'/');
            self.root.remove(&mut levels, group, session);
        } else if let Some(listeners) = self.exact.get_mut(inner)
            && listeners.drop_out(group, session)
        {
            self.exact.remove(inner);
        }
    }

    /// Everybody who listens to a topic, filter by filter.
    pub(crate) fn each_listening<'a>(&'a self, topic: &[u8], mut found: impl FnMut(&'a Listeners)) {
        if let Some(listeners) = self.exact.get(topic) {
            found(listeners);
        }
        let reserved = topic.first() == Some(&b'$');
        let mut levels = topic.split(|byte| *byte == b'/');
        let Some(first) = levels.next() else { return };
        if !reserved {
            self.root.each_of_all(&mut found);
            if let Some(any) = &self.root.any {
                any.each(levels.clone(), &mut found);
            }
        }
        if let Some(named) = self.root.named.get(first) {
            named.each(levels, &mut found);
        }
    }
}

impl Listeners {
    fn add(&mut self, group: Option<&str>, member: Member) {
        let members = match group {
            None => &mut self.plain,
            Some(name) => {
                let at = self.groups.iter().position(|group| &*group.name == name);
                let at = at.unwrap_or_else(|| {
                    self.groups.push(Group {
                        name: name.into(),
                        members: Vec::new(),
                    });
                    self.groups.len() - 1
                });
                match self.groups.get_mut(at) {
                    Some(group) => &mut group.members,
                    None => return,
                }
            }
        };
        match members.iter_mut().find(|its| its.session == member.session) {
            Some(its) => its.options = member.options,
            None => members.push(member),
        }
    }

    /// Removes a member. True if nobody is left.
    fn drop_out(&mut self, group: Option<&str>, session: Place) -> bool {
        match group {
            None => self.plain.retain(|its| its.session != session),
            Some(name) => {
                for group in self.groups.iter_mut().filter(|group| &*group.name == name) {
                    group.members.retain(|its| its.session != session);
                }
                self.groups.retain(|group| !group.members.is_empty());
            }
        }
        self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups.is_empty()
    }
}

impl Node {
    /// The listeners of a filter, made if there are none.
    fn walk(&mut self, filter: &[u8]) -> &mut Listeners {
        let mut node = self;
        for level in filter.split(|byte| *byte == b'/') {
            node = match level {
                b"#" => return &mut node.all,
                b"+" => node.any.get_or_insert_default(),
                name => node.named.entry(name.into()).or_default(),
            };
        }
        &mut node.here
    }

    /// Removes a member, and every node that is empty then. True if this one is.
    fn remove<'a>(
        &mut self,
        levels: &mut impl Iterator<Item = &'a [u8]>,
        group: Option<&str>,
        session: Place,
    ) -> bool {
        match levels.next() {
            None => drop(self.here.drop_out(group, session)),
            Some(b"#") => drop(self.all.drop_out(group, session)),
            Some(b"+") => {
                if let Some(any) = &mut self.any
                    && any.remove(levels, group, session)
                {
                    self.any = None;
                }
            }
            Some(name) => {
                if let Some(named) = self.named.get_mut(name)
                    && named.remove(levels, group, session)
                {
                    self.named.remove(name);
                }
            }
        }
        self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.all.is_empty() && self.any.is_none() && self.named.is_empty()
    }

    fn each<'a, 't>(
        &'a self,
        mut levels: impl Iterator<Item = &'t [u8]> + Clone,
        found: &mut impl FnMut(&'a Listeners),
    ) {
        self.each_of_all(found);
        let Some(level) = levels.next() else {
            if !self.here.is_empty() {
                found(&self.here);
            }
            return;
        };
        if let Some(any) = &self.any {
            any.each(levels.clone(), found);
        }
        if let Some(named) = self.named.get(level) {
            named.each(levels, found);
        }
    }

    fn each_of_all<'a>(&'a self, found: &mut impl FnMut(&'a Listeners)) {
        if !self.all.is_empty() {
            found(&self.all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::arena::Arena;
    use crate::engine::topics::matches;
    use crate::protocol::Text;

    fn filter(text: &str) -> Filter {
        Filter::parse(Text::try_from(text).unwrap()).unwrap()
    }

    fn member(session: Place) -> Member {
        let options = Options {
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            id: None,
        };
        Member { session, options }
    }

    fn heard(subscriptions: &Subscriptions, topic: &str) -> usize {
        let mut count = 0;
        subscriptions.each_listening(topic.as_bytes(), |listeners| {
            count += listeners.plain.len() + listeners.groups.len();
        });
        count
    }

    #[test]
    fn the_tree_finds_what_comparing_each_filter_finds_and_leaves_nothing_behind() {
        let levels = ["a", "b", "", "$x", "+"];
        let mut filters: Vec<String> = vec!["#".into()];
        for a in levels {
            filters.push(a.to_owned());
            filters.push(format!("{a}/#"));
            for b in levels {
                filters.push(format!("{a}/{b}"));
                filters.push(format!("{a}/{b}/#"));
                filters.push(format!("$share/g/{a}/{b}"));
            }
        }
        filters
            .retain(|text| Text::try_from(text.as_str()).is_ok_and(|t| Filter::parse(t).is_ok()));
        let mut arena = Arena::default();
        let mut subscriptions = Subscriptions::default();
        let places: Vec<Place> = filters.iter().map(|_| arena.insert(())).collect();
        for (text, place) in filters.iter().zip(&places) {
            subscriptions.insert(&filter(text), member(*place));
            subscriptions.insert(&filter(text), member(*place));
        }
        for topic in ["a", "a/b", "a/", "/", "$x", "$x/a", "b/a/c", "a/b/c"] {
            let expected = filters
                .iter()
                .filter(|text| matches(filter(text).inner().as_bytes(), topic.as_bytes()))
                .count();
            assert_eq!(heard(&subscriptions, topic), expected, "{topic}");
        }
        let before = subscriptions.version();
        for (text, place) in filters.iter().zip(&places) {
            subscriptions.remove(&filter(text), *place);
        }
        assert!(subscriptions.version() > before && subscriptions.is_empty());
        assert_eq!(heard(&subscriptions, "a/b"), 0);
    }
}
