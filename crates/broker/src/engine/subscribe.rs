//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5 §3.8, §3.10).

use std::collections::HashMap;

use hearthkey_core::topic::hearthkey;

use crate::engine::Engine;
use crate::engine::progress::{Asked, Departure, Flow};
use crate::engine::session::{Handle, Held, Owner};
use crate::engine::subscriptions::{Member, Options};
use crate::engine::topics::matches;
use crate::engine::weight::weight;
use crate::event::{Bound, Refusal, clipped};
use crate::protocol::{
    Filter, QoS, ReasonCode, RetainHandling, Subscribe, Subscription, SubscriptionId, Unsubscribe,
    Violation,
};

/// Filters in one packet. A client that has more sends them in several.
const FILTERS_MAX: usize = 10_000;
const TOO_MANY: Flow = Err(Departure::Violated(Violation {
    reason: ReasonCode::QuotaExceeded,
    section: "§4.13",
    what: "more than 10,000 topic filters in one packet",
}));

/// What became of one filter.
struct Taken {
    code: ReasonCode,
    /// What is retained under it is wanted, so.
    reads: Option<Options>,
    /// The rights do not have it.
    is_refused: bool,
}

impl Taken {
    fn not(code: ReasonCode) -> Self {
        Self {
            code,
            reads: None,
            is_refused: false,
        }
    }
}

const UNANSWERABLE: Departure = Departure::Violated(Violation {
    reason: ReasonCode::PacketTooLarge,
    section: "[MQTT-3.1.2-24]",
    what: "the answer is longer than the client takes",
});

impl Engine {
    pub(super) fn subscribe(&mut self, at: Handle, subscribe: &Subscribe, now_ms: u64) -> Flow {
        let count = subscribe.filters.len();
        if count > FILTERS_MAX {
            return TOO_MANY;
        }
        self.work = self.work.wrapping_add(count);
        let mut codes = Vec::with_capacity(count);
        let mut read = HashMap::new();
        let mut refused = None;
        for (number, subscription) in subscribe.filters.iter().enumerate() {
            let id = subscribe.subscription_id;
            let taken = self.subscribe_one(at, &subscription, id, now_ms);
            codes.push(taken.code);
            if let Some(options) = taken.reads {
                // The last of those that are the same.
                read.insert(subscription.filter.clone(), (number, options));
            }
            if taken.is_refused {
                refused.get_or_insert(subscription.filter);
            }
        }
        self.read_retained(at, read);
        if let Some(first) = refused {
            self.tell_refused(at, &first);
        }
        let why = codes.iter().find(|code| code.is_failure());
        let why = why.map(|code| code.name());
        let codes = codes.iter().copied();
        self.answer_codes(at, |link| {
            let out = &mut link.control;
            link.encoder.suback(subscribe.packet_id, codes, why, out)
        })
    }

    fn answer_codes(
        &mut self,
        at: Handle,
        words: impl FnOnce(&mut super::session::Link) -> Result<(), crate::protocol::TooLarge>,
    ) -> Flow {
        let mut said = Ok(());
        self.say(at, |link| said = words(link));
        match said {
            Ok(()) => Ok(None),
            Err(_) => Err(UNANSWERABLE),
        }
    }

    fn subscribe_one(
        &mut self,
        at: Handle,
        asked: &Subscription,
        id: Option<SubscriptionId>,
        now_ms: u64,
    ) -> Taken {
        let not_taken = Taken::not;
        let Some(session) = self.live(at) else {
            return not_taken(ReasonCode::UnspecifiedError);
        };
        let Some(link) = &session.link else {
            return not_taken(ReasonCode::UnspecifiedError);
        };
        let filter = &asked.filter;
        let is_shared = filter.share_group().is_some();
        let is_claim = matches!(session.key.owner, Owner::Claim(_));
        if filter.text().len() > self.bounds.topic_max_bytes {
            self.tell_bound(at.session, Bound::Topic, now_ms);
            return not_taken(ReasonCode::TopicFilterInvalid);
        }
        if is_shared && is_claim || !session.identity.rights.may_subscribe(filter.as_str()) {
            return Taken {
                is_refused: true,
                ..not_taken(ReasonCode::NotAuthorized)
            };
        }
        let options = Options {
            qos: asked.qos,
            no_local: asked.no_local || link.is_bridge && !is_shared,
            retain_as_published: asked.retain_as_published || link.is_bridge,
            id,
        };
        let is_new = !session.subscriptions.contains_key(filter.text());
        if is_new && let Some(bound) = self.reaches(at, filter) {
            self.tell_bound(at.session, bound, now_ms);
            return not_taken(ReasonCode::QuotaExceeded);
        }
        self.hold(at, filter, options, is_new);
        let wants_retained = match asked.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        self.ask_for_notice(at, filter);
        let code = match asked.qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQos1,
            QoS::ExactlyOnce => ReasonCode::GrantedQos2,
        };
        Taken {
            code,
            reads: (wants_retained && !is_shared).then_some(options),
            is_refused: false,
        }
    }

    /// Tells of the first filter of a packet that was refused. One event a packet is enough.
    fn tell_refused(&mut self, at: Handle, filter: &Filter) {
        if let Some(session) = self.live(at) {
            let address = session.link.as_ref().map(|link| link.address);
            let owner = session.key.owner.clone();
            let why = Refusal::Subscribe(clipped(filter.as_str()));
            self.notes.refused(&owner, address, why);
        }
    }

    /// The bound that one more subscription would go beyond, if it would.
    fn reaches(&self, at: Handle, filter: &Filter) -> Option<Bound> {
        let session = self.live(at)?;
        let more = weight(filter);
        let device = self
            .books
            .get(session.book)
            .map_or(0, |book| book.subscription_bytes);
        if session.subscriptions.len() >= session.bounds.subscriptions_max {
            return Some(Bound::Subscriptions);
        }
        if device + more > self.bounds.subscriptions_device_max_bytes {
            return Some(Bound::SubscriptionsOfDevice);
        }
        let all = self.subscription_bytes + more;
        (all > self.bounds.subscriptions_max_bytes).then_some(Bound::SubscriptionsOfHome)
    }

    fn hold(&mut self, at: Handle, filter: &Filter, options: Options, is_new: bool) {
        let Some(session) = self.live_mut(at) else {
            return;
        };
        // With bytes of its own: the packet it came in may be long.
        let Ok(filter) = Filter::parse(filter.text().compact()) else {
            return;
        };
        let member = Member {
            session: at.session,
            options,
        };
        let held = Held {
            filter: filter.clone(),
            options,
        };
        let (book, bytes) = (session.book, weight(&filter));
        session.subscriptions.insert(filter.text().clone(), held);
        self.subscriptions.insert(&filter, member);
        if is_new {
            self.subscription_bytes += bytes;
            if let Some(book) = self.books.get_mut(book) {
                book.subscription_bytes += bytes;
            }
        }
        self.note_head_change(at.session);
    }

    /// Reads what is retained under some filters, in place of what was still to be read under them.
    fn read_retained(&mut self, at: Handle, read: HashMap<Filter, (usize, Options)>) {
        if read.is_empty() {
            return;
        }
        let mut in_turn: Vec<_> = read.iter().collect();
        in_turn.sort_unstable_by_key(|(_, (number, _))| *number);
        let cursors: Vec<_> = in_turn
            .into_iter()
            .filter_map(|(filter, (_, options))| self.retained.cursor(filter, *options))
            .collect();
        if let Some(session) = self.live_mut(at) {
            let looked_at = session.cursors.len();
            session
                .cursors
                .retain(|cursor| !read.contains_key(&cursor.filter));
            session.cursors.extend(cursors);
            self.work = self.work.wrapping_add(looked_at);
        }
    }

    /// Stops reading what is retained under filters that a session has no more.
    pub(super) fn stop_reading(&mut self, at: super::arena::Place) {
        if let Some(session) = self.sessions.get_mut(at) {
            let (cursors, held) = (&mut session.cursors, &session.subscriptions);
            let looked_at = cursors.len();
            cursors.retain(|cursor| held.contains_key(cursor.filter.text()));
            self.work = self.work.wrapping_add(looked_at);
        }
    }

    fn ask_for_notice(&mut self, at: Handle, filter: &Filter) {
        if let Some(session) = self.live(at)
            && let Some(device) = session.key.owner.device()
            && matches(
                filter.inner().as_bytes(),
                hearthkey::notice(device).as_bytes(),
            )
        {
            let is_asked = |asked: &Asked| matches!(asked, Asked::Notice);
            if !self.asked.iter().any(is_asked) {
                self.asked.push(Asked::Notice);
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, at: Handle, unsubscribe: &Unsubscribe) -> Flow {
        let count = unsubscribe.len();
        if count > FILTERS_MAX {
            return TOO_MANY;
        }
        self.work = self.work.wrapping_add(count);
        let mut codes = Vec::with_capacity(count);
        for filter in unsubscribe.iter() {
            codes.push(match self.let_go(at.session, &filter) {
                true => ReasonCode::Success,
                false => ReasonCode::NoSubscriptionExisted,
            });
        }
        self.stop_reading(at.session);
        let codes = codes.iter().copied();
        self.answer_codes(at, |link| {
            let out = &mut link.control;
            link.encoder.unsuback(unsubscribe.packet_id, codes, out)
        })
    }

    /// Ends a subscription of a session. False if there is none. What is still to be read under it is not read: see
    /// [`Self::stop_reading`].
    pub(super) fn let_go(&mut self, at: super::arena::Place, filter: &Filter) -> bool {
        let Some(session) = self.sessions.get_mut(at) else {
            return false;
        };
        let Some(held) = session.subscriptions.remove(filter.text()) else {
            return false;
        };
        let bytes = weight(&held.filter);
        self.subscription_bytes -= bytes;
        if let Some(book) = self.books.get_mut(session.book) {
            book.subscription_bytes -= bytes;
        }
        self.subscriptions.remove(&held.filter, at);
        self.note_head_change(at);
        true
    }
}
