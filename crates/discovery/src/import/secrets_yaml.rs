//! Home Assistant's and ESPHome's `secrets.yaml`, and Zigbee2MQTT's `secret.yaml`. Everything in them is there to be
//! kept secret, except what plainly is not.

use super::ReadError;
use super::references;
use super::settings::{Collected, Named};
use super::zigbee2mqtt;

pub(super) fn read(text: &str, bridge: &str, collected: &mut Collected) -> Result<(), ReadError> {
    let scalars = collected.yaml(text)?;
    if bridge == zigbee2mqtt::BRIDGE {
        zigbee2mqtt::network_key(&scalars, bridge, &["network_key"], collected)?;
    }
    for scalar in &scalars {
        let name = scalar.name();
        if bridge == zigbee2mqtt::BRIDGE && scalar.section() == "network_key" {
            continue;
        }
        if let Some(why) = references::elsewhere(scalar) {
            collected.leave(&name, scalar.line, &why)?;
            continue;
        }
        let named = Named::of(scalar, &name, bridge, &name);
        collected.consider_scalar(named, scalar, Some("other"))?;
    }
    Ok(())
}
