//! Home Assistant's `configuration.yaml`, its packages and other parts of it.
//!
//! Most of it is no secret: listed are settings with the name of a secret, and values that are one whatever their name.

use crate::dialect::yaml::Scalar;

use super::ReadError;
use super::judge::is_unmistakable;
use super::references;
use super::settings::{Collected, Named};
use super::words::names_a_secret;
use super::zigbee2mqtt;

/// Where the integration ZHA has the network key: a list of numbers, as Zigbee2MQTT has it.
const ZHA_KEY: [&str; 4] = ["zha", "zigpy_config", "network", "key"];

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    let scalars = collected.yaml(text)?;
    zigbee2mqtt::network_key(&scalars, "home-assistant", &ZHA_KEY, collected)?;
    for scalar in &scalars {
        if scalar.path.starts_with(&ZHA_KEY.map(str::to_owned)) {
            continue;
        }
        if !(names_a_secret(scalar.key()) || is_unmistakable(&scalar.text)) {
            continue;
        }
        let name = scalar.name();
        let why = references::elsewhere(scalar)
            .or_else(|| references::of_home_assistant(&scalar.text).map(str::to_owned));
        if let Some(why) = why {
            collected.leave(&name, scalar.line, &why)?;
            continue;
        }
        let key = shortened(scalar);
        collected.consider_scalar(
            Named::of(scalar, &name, "home-assistant", &key),
            scalar,
            None,
        )?;
    }
    Ok(())
}

/// `notify.0.api_key` → `notify-api-key`.
fn shortened(scalar: &Scalar) -> String {
    match scalar.section() {
        section if section == scalar.key() => section.to_owned(),
        section => format!("{section}-{}", scalar.key()),
    }
}
