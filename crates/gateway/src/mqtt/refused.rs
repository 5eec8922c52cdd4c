//! Records of what the broker refused: the first of each kind in full, the others counted.

use std::net::SocketAddr;

use hearthkey_broker::{Refusal, Who};
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::refusal_tally::{Counted, Kind, RefusalTally, Source};
use hearthkey_core::time::Timestamp;

use crate::home::Home;

/// What the broker refused.
pub(crate) struct Refused {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) who: Option<Who>,
    pub(crate) why: Refusal,
}

impl Refused {
    /// Its record, if it is written down in full.
    pub(crate) fn entry(self, home: &Home, tally: &mut RefusalTally) -> Option<Entry> {
        let now = home.ctx.now();
        let (name, role, object) = match &self.who {
            Some(Who::Device(device)) => {
                let device = format!("device:{device}");
                (device.clone(), "device", device)
            }
            // The client that sent it may not hold its key.
            Some(Who::Certificate(sha256)) => {
                ("unknown".into(), "unknown", format!("certificate:{sha256}"))
            }
            Some(Who::Claim(claim)) => {
                let claim = format!("claim:{claim}");
                (claim.clone(), "claim", claim)
            }
            None => ("unknown".into(), "unknown", "door".into()),
        };
        let said = self.why.to_string();
        if !tally.enter(self.kind(), &format!("{object}: {said}"), now) {
            return None;
        }
        let actor = Actor {
            name,
            role: role.into(),
            session: None,
            address: self.address.map(|address| address.to_string()),
        };
        let entry = Entry::new(now, actor, action(&self.why), object).ended(Outcome::Refused, said);
        Some(match home.named_by(&self.who) {
            Some(device) => entry.with("certificate_device", device.as_str()),
            None => entry,
        })
    }

    fn kind(&self) -> Kind {
        let source = match &self.who {
            Some(Who::Device(device)) => Source::Device(device.clone()),
            // What they name, they have not shown to be theirs; a claim is somebody's who is no device yet.
            Some(Who::Certificate(_) | Who::Claim(_)) | None => {
                Source::stranger(self.address.map(|address| address.ip()))
            }
        };
        Kind {
            source,
            action: action(&self.why),
            reason: reason(&self.why),
        }
    }
}

fn action(why: &Refusal) -> &'static str {
    match why {
        Refusal::Publish(_) => "topic.publish",
        Refusal::Subscribe(_) => "topic.subscribe",
        Refusal::Bound(_) => "session.bound",
        Refusal::Protocol(_) => "session.protocol",
        _ => "door.enter",
    }
}

/// Why, without anything that the other side has chosen.
fn reason(why: &Refusal) -> &'static str {
    match why {
        Refusal::TooManyConnections => "too many connections",
        Refusal::Handshake(_) => "the TLS handshake failed",
        Refusal::Timeout => "no complete CONNECT in time",
        Refusal::Connect(_) => "no CONNECT that can be read",
        Refusal::Certificate(_) => "the certificate is refused",
        Refusal::ClaimLogin(_) => "neither a certificate nor a claim",
        Refusal::NoBell => "no claim is open",
        Refusal::ClaimSecret => "the claim or its secret is wrong",
        Refusal::Unavailable => "the gateway cannot answer now",
        Refusal::TooManySessions(_) => "too many sessions",
        Refusal::Will(_) => "may not leave a will there",
        Refusal::Protocol(_) => "broke the rules of MQTT",
        Refusal::Bound(_) => "a bound is reached",
        Refusal::Publish(_) => "may not publish there",
        Refusal::Subscribe(_) => "may not subscribe there",
    }
}

/// The record of refusals that were counted.
pub(crate) fn of_counted(counted: Counted, now: Timestamp) -> Entry {
    let (action, reason) = counted
        .kind
        .as_ref()
        .map_or(("door.enter", "refusals of further kinds"), |kind| {
            (kind.action, kind.reason)
        });
    let (name, role, object, address) = match counted.kind.map(|kind| kind.source) {
        Some(Source::Device(device)) => {
            let device = format!("device:{device}");
            (device.clone(), "device", device, None)
        }
        Some(Source::Stranger(prefix)) => {
            let prefix = prefix.map(|prefix| match prefix.is_ipv6() {
                true => format!("{prefix}/64"),
                false => prefix.to_string(),
            });
            ("unknown".into(), "unknown", "door".into(), prefix)
        }
        None => ("unknown".into(), "unknown", "door".into(), None),
    };
    let actor = Actor {
        name,
        role: role.into(),
        session: None,
        address,
    };
    Entry::new(now, actor, action, object)
        .ended(Outcome::Refused, reason)
        .with("count", counted.count)
        .with("different", counted.different)
        .with("or_more", counted.or_more)
        .with("first_at", counted.first.to_string())
        .with("last_at", counted.last.to_string())
        .with("example", counted.example)
}
