//! What devices ask over MQTT: events of the broker, each handed to one use case.

pub(crate) mod events;
mod refused;
