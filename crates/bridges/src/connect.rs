//! How a kind of bridge becomes a connector.

use hearthkey_core::secret::Secret;

use crate::command::Command;
use crate::connector::Connector;
use crate::error::SettingsError;
use crate::guard::Guarded;
use crate::home_assistant::HomeAssistant;
use crate::http::Http;
use crate::hue::Hue;
use crate::kind::BridgeKind;
use crate::limits::Patience;
use crate::mosquitto::Mosquitto;
use crate::wifi::Wifi;
use crate::zigbee2mqtt::Zigbee2mqtt;

/// The connector of a bridge. `settings` is a JSON object that holds no secret; `authority` is the secret by which the
/// bridge is administered. Nothing is talked to yet.
pub fn connect(
    kind: BridgeKind,
    settings: &str,
    authority: Option<Secret>,
) -> Result<Box<dyn Connector>, SettingsError> {
    connect_with(kind, settings, authority, Patience::default())
}

/// As [`connect`], with other waits.
pub fn connect_with(
    kind: BridgeKind,
    settings: &str,
    authority: Option<Secret>,
    patience: Patience,
) -> Result<Box<dyn Connector>, SettingsError> {
    let known = authority.clone();
    let inner: Box<dyn Connector> = match kind {
        BridgeKind::HomeAssistant => Box::new(HomeAssistant::new(settings, authority, patience)?),
        BridgeKind::Mosquitto => Box::new(Mosquitto::new(settings, authority, patience)?),
        BridgeKind::Hue => Box::new(Hue::new(settings, patience)?),
        BridgeKind::Zigbee2mqtt => Box::new(Zigbee2mqtt::new(settings)?),
        BridgeKind::Wifi => Box::new(Wifi::new(settings)?),
        BridgeKind::Http => Box::new(Http::new(settings, authority, patience)?),
        BridgeKind::Command => Box::new(Command::new(settings, authority, patience)?),
    };
    Ok(Box::new(Guarded::new(kind, inner, known, patience)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_no_object_too_long_or_unknown_make_no_connector() {
        for kind in BridgeKind::ALL {
            let secret = Secret::text("authority").unwrap();
            for bad in ["", "[]", "{\"surprise\": 1}", &" ".repeat(70_000)] {
                let made = connect(kind, bad, Some(secret.clone()));
                let error = made.err().map(|error| error.to_string());
                assert!(
                    error.is_some_and(|text| !text.is_empty()),
                    "{kind} {bad:.20}"
                );
            }
        }
    }
}
