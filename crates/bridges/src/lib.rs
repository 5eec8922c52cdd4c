//! stub, replaced at the merge
#![allow(dead_code, missing_docs)]
mod connector;
mod error;
mod progress;
pub use connector::*;
pub use error::*;
pub use progress::*;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeKind {
    HomeAssistant,
    Mosquitto,
    Hue,
    Zigbee2mqtt,
    Wifi,
    Http,
    Command,
}
impl std::str::FromStr for BridgeKind {
    type Err = String;
    fn from_str(_: &str) -> Result<Self, String> {
        Err("x".into())
    }
}
impl std::fmt::Display for BridgeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("x")
    }
}
pub fn connect(
    _: BridgeKind,
    _: &str,
    _: Option<hearthkey_core::secret::Secret>,
) -> Result<Box<dyn Connector>, SettingsError> {
    Err(SettingsError::NoAuthority("x"))
}
