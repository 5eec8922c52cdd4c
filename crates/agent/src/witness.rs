//! The device as a witness of the time: it says what its clock shows, and whether its kernel has that from a time server. The gateway
//! asks nothing else of it, and goes by it only while it does not trust its own machine's clock.

use serde::Serialize;

use crate::clock;
use crate::device::Device;
use crate::moment::Moment;
use crate::session::{ExchangeError, Session};

/// What is said counts for ten minutes at the gateway.
const SAY_EVERY_S: u64 = 240;

/// What the gateway is told (docs/MQTT.md, Saying the time).
#[derive(Serialize)]
struct Said {
    time: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    synchronized: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
}

/// What was said in this session.
#[derive(Default)]
pub(crate) struct Witness {
    said_at: Option<Moment>,
    /// The gateway is of an earlier version, which does not know the topic.
    is_refused: bool,
}

impl Witness {
    /// Whether it is time to say it again. A clock that was set is said at once.
    fn is_due(&self, now: Moment) -> bool {
        let Some(said_at) = self.said_at else {
            return true;
        };
        now < said_at || said_at.seconds_until(now) >= SAY_EVERY_S
    }

    /// Says the time, if it is time to. That the session has ended is found by who listens to it.
    pub(crate) async fn say_when_due(&mut self, session: &Session, device: &Device) {
        let time = clock::now();
        if self.is_refused || !self.is_due(time) {
            return;
        }
        self.said_at = Some(time);
        let said = Said {
            time,
            synchronized: clock::synchronized(),
            machine: clock::machine(),
        };
        let Ok(said) = serde_json::to_vec(&said) else {
            return;
        };
        let said = session.publish(&device.topic("clock"), said).await;
        self.is_refused = matches!(said, Err(ExchangeError::Denied { .. }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_said_every_four_minutes_and_when_the_clock_was_set() {
        let at = Moment::from_unix_s;
        let mut witness = Witness::default();
        assert!(witness.is_due(at(1_000)));
        witness.said_at = Some(at(1_000));
        assert!(!witness.is_due(at(1_239)));
        assert!(witness.is_due(at(1_240)));
        assert!(witness.is_due(at(999)), "set back");
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let said = Said {
            time: Moment::from_unix_s(1_772_368_205),
            synchronized: None,
            machine: None,
        };
        let json = serde_json::to_string(&said).unwrap();
        assert_eq!(json, r#"{"time":"2026-03-01T12:30:05Z"}"#);
    }
}
