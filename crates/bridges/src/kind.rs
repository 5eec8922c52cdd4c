//! The kinds of bridges.

use std::fmt;
use std::str::FromStr;

/// A kind of bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BridgeKind {
    /// Home Assistant's long-lived access tokens.
    HomeAssistant,
    /// Users of a Mosquitto broker with the dynamic security plugin.
    Mosquitto,
    /// Application keys of a Philips Hue bridge.
    Hue,
    /// The network key of a Zigbee network kept by Zigbee2MQTT.
    Zigbee2mqtt,
    /// A Wi-Fi passphrase.
    Wifi,
    /// Any HTTP API, by templates.
    Http,
    /// Any program, by JSON on its standard input and output.
    Command,
}

impl BridgeKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::HomeAssistant,
        Self::Mosquitto,
        Self::Hue,
        Self::Zigbee2mqtt,
        Self::Wifi,
        Self::Http,
        Self::Command,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HomeAssistant => "home-assistant",
            Self::Mosquitto => "mosquitto",
            Self::Hue => "hue",
            Self::Zigbee2mqtt => "zigbee2mqtt",
            Self::Wifi => "wifi",
            Self::Http => "http",
            Self::Command => "command",
        }
    }

    /// Whether its authority is a value like those that it makes, so that it can be tried as one of them.
    pub fn authority_is_a_value(self) -> bool {
        matches!(self, Self::HomeAssistant | Self::Mosquitto)
    }
}

impl fmt::Display for BridgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no kind of bridge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no kind of bridge: use one of home-assistant, mosquitto, hue, zigbee2mqtt, wifi, http, command"
)]
pub struct UnknownKind(String);

impl FromStr for BridgeKind {
    type Err = UnknownKind;
    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == word);
        found.ok_or_else(|| UnknownKind(word.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_written_as_it_is_read() {
        for kind in BridgeKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "zwave".parse::<BridgeKind>().unwrap_err().to_string();
        assert!(
            error.contains("zwave") && error.contains("zigbee2mqtt"),
            "{error}"
        );
        for kind in BridgeKind::ALL {
            assert!(UnknownKind("x".into()).to_string().contains(kind.as_str()));
        }
    }
}
