//! A message on its way to those who listen.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::arena::Place;
use crate::engine::outbox::Entry;
use crate::engine::parcel::Parcel;
use crate::engine::routes::{Grant, Route};
use crate::engine::session::Key;
use crate::event::Bound;
use crate::protocol::QoS;

impl Engine {
    /// Retains a message if it asks for that, and hands it to everybody who listens. `by` is the session in whose name it
    /// is said: none if it is the gateway.
    ///
    /// A message that may not be retained is handed out all the same: its publisher is not connected to be notified.
    pub(super) fn send_out(&mut self, parcel: &Arc<Parcel>, by: Option<&Key>, now_ms: u64) {
        let from = by.and_then(|key| self.keys.get(key).copied());
        if parcel.retain {
            let bounds = from
                .and_then(|at| self.sessions.get(at))
                .map_or(self.bounds.session.retained, |its| its.bounds.retained);
            let owner = by.and_then(|key| key.owner.device());
            let owner = owner.map(|device| (device, bounds));
            if let Err(full) = self.retained.set(parcel, owner, self.bounds.retained)
                && let Some(key) = by
            {
                self.notes.bound(key, None, full.into(), now_ms);
            }
        }
        let route = self.routes.of(&parcel.message.topic, &self.subscriptions);
        self.deliver(parcel, &route, from, now_ms);
    }

    /// Hands a message to everybody on its route.
    pub(super) fn deliver(
        &mut self,
        parcel: &Arc<Parcel>,
        route: &Route,
        from: Option<Place>,
        now_ms: u64,
    ) {
        let looked_at = route.targets.len() + route.groups.len();
        self.work = self.work.wrapping_add(looked_at);
        for target in &route.targets {
            let grant = match from == Some(target.session) {
                false => &target.foreign,
                true => match &target.own {
                    Some(grant) => grant,
                    None => continue,
                },
            };
            self.hand(target.session, parcel, grant, now_ms);
        }
        for group in &route.groups {
            // A member that is connected, if one is (MQTT 5 §4.8.2).
            let is_here = |at: &Place| {
                self.sessions
                    .get(*at)
                    .is_some_and(|session| session.link.is_some())
            };
            let chosen = group.in_turn().find(|(at, _)| is_here(at));
            let chosen = chosen.or_else(|| group.in_turn().next());
            if let Some((at, grant)) = chosen {
                self.hand(*at, parcel, grant, now_ms);
            }
        }
        self.relieve(now_ms);
    }

    /// Puts a message on its way to one session, within its bounds. False if it will not get it.
    pub(super) fn hand(
        &mut self,
        at: Place,
        parcel: &Arc<Parcel>,
        grant: &Grant,
        now_ms: u64,
    ) -> bool {
        let Some(session) = self.sessions.get(at) else {
            return false;
        };
        let qos = grant.qos.min(parcel.qos);
        let is_away = session.link.is_none();
        if is_away && (qos == QoS::AtMostOnce || session.is_silenced) {
            return false;
        }
        let entry = Entry {
            parcel: Arc::clone(parcel),
            qos,
            retain: parcel.retain && grant.retain_as_published,
            ids: grant.ids.clone(),
            number: 0,
        };
        let held = session.outbox.bytes();
        let is_full = held > 0 && held + entry.bytes() > session.bounds.queue_max_bytes
            || is_away && session.outbox.len() >= session.bounds.queue_messages_max;
        if is_full && !self.make_room(at, &entry, now_ms) {
            return false;
        }
        if qos == QoS::AtMostOnce && self.is_over_the_top() {
            return self.drop_for_slowness(at, now_ms);
        }
        self.change_outbox(at, |session| session.outbox.push(entry));
        if qos != QoS::AtMostOnce {
            self.note_change(at);
        }
        self.call(at);
        self.relieve_device(at, now_ms);
        true
    }

    fn drop_for_slowness(&mut self, at: Place, now_ms: u64) -> bool {
        self.tell_bound(at, Bound::Slow, now_ms);
        false
    }

    /// Tells the log and the gateway that a session has reached a bound.
    pub(crate) fn tell_bound(&mut self, at: Place, bound: Bound, now_ms: u64) {
        if let Some(session) = self.sessions.get(at) {
            let address = session.link.as_ref().map(|link| link.address);
            self.notes.bound(&session.key, address, bound, now_ms);
        }
    }
}
