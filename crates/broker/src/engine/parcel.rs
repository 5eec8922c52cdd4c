//! A message on its way: one value for all its receivers, counted as long as one of them holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::protocol::{Message, QoS};

/// What a parcel takes besides its bytes: the counted allocation, the shared bytes' own heads.
const OVERHEAD_BYTES: usize = 192;

/// The bytes of all parcels that are held, each counted once however many sessions wait for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<AtomicUsize>);

impl Meter {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A published message.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) message: Message,
    /// The QoS it was published with.
    pub(crate) qos: QoS,
    /// The retain flag it was published with.
    pub(crate) retain: bool,
    /// When it is no longer to be delivered, in milliseconds of the engine's time.
    pub(crate) expires_ms: Option<u64>,
    meter: Meter,
}

/// How a message was published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expires_ms: Option<u64>,
}

impl Parcel {
    /// Counts a message. Its bytes must be its own: see [`Message::compact`].
    pub(crate) fn new(message: Message, terms: Terms, meter: &Meter) -> Arc<Self> {
        let parcel = Self {
            message,
            qos: terms.qos,
            retain: terms.retain,
            expires_ms: terms.expires_ms,
            meter: meter.clone(),
        };
        meter.0.fetch_add(parcel.bytes(), Ordering::Relaxed);
        Arc::new(parcel)
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.message.len_bytes() + OVERHEAD_BYTES
    }

    /// What is left of its life, in seconds rounded up; `Err` if it is over (MQTT 5 §3.3.2.3.3).
    pub(crate) fn left_s(&self, now_ms: u64) -> Result<Option<u32>, Expired> {
        match self.expires_ms {
            None => Ok(None),
            Some(end) if end <= now_ms => Err(Expired),
            Some(end) => Ok(Some(
                u32::try_from((end - now_ms).div_ceil(1000)).unwrap_or(u32::MAX),
            )),
        }
    }
}

/// A message that is not to be delivered any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired;

impl Drop for Parcel {
    fn drop(&mut self) {
        self.meter.0.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

/// When something ends that lives so many seconds from now; `u32::MAX` is for ever.
pub(crate) fn end_ms(now_ms: u64, life_s: u32) -> Option<u64> {
    (life_s != u32::MAX).then(|| now_ms.saturating_add(u64::from(life_s) * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Properties, Text};

    #[test]
    fn a_parcel_is_counted_once_and_given_back_and_its_life_is_rounded_up() {
        let meter = Meter::default();
        let message = Message {
            topic: Text::try_from("a/b").unwrap(),
            payload: vec![0; 1000].into(),
            properties: Properties::default(),
        };
        let terms = Terms {
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_ms: end_ms(0, 2),
        };
        let parcel = Parcel::new(message, terms, &meter);
        let other = Arc::clone(&parcel);
        assert_eq!(meter.bytes(), 1003 + OVERHEAD_BYTES);
        assert_eq!(parcel.left_s(1), Ok(Some(2)));
        assert_eq!(parcel.left_s(1_001), Ok(Some(1)));
        assert_eq!(parcel.left_s(2_000), Err(Expired));
        drop(parcel);
        assert_ne!(meter.bytes(), 0);
        drop(other);
        assert_eq!(meter.bytes(), 0);
    }
}
