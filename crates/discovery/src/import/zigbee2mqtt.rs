//! Zigbee2MQTT's `configuration.yaml`.
//!
//! Its secrets have fixed places. Devices and groups hold names and options, often hundreds of them; only what looks
//! like a secret is listed there.

use crate::dialect::yaml::Scalar;
use crate::dialect::zigbee2mqtt::{NETWORK_KEY_BYTES, digits};

use super::ReadError;
use super::references;
use super::settings::{Collected, Named};
use super::words::names_a_secret;

pub(super) const BRIDGE: &str = "zigbee2mqtt";

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    let scalars = collected.yaml(text)?;
    network_key(&scalars, BRIDGE, &["advanced", "network_key"], collected)?;
    let mut pan_id_seen = false;
    for scalar in &scalars {
        let name = scalar.name();
        if name.starts_with("advanced.ext_pan_id") && !std::mem::replace(&mut pan_id_seen, true) {
            collected.leave(
                "advanced.ext_pan_id",
                scalar.line,
                "it is a radio setting, not a secret",
            )?;
        }
        if is_network_key(scalar) || is_quiet(scalar) {
            continue;
        }
        let why = references::elsewhere(scalar)
            .or_else(|| references::of_zigbee2mqtt(&scalar.text).map(str::to_owned));
        if let Some(why) = why {
            collected.leave(&name, scalar.line, &why)?;
            continue;
        }
        match name.as_str() {
            "advanced.pan_id" | "advanced.channel" => {
                collected.leave(&name, scalar.line, "it is a radio setting, not a secret")?;
            }
            "mqtt.key" | "mqtt.ca" | "mqtt.cert" | "frontend.ssl_key" | "frontend.ssl_cert" => {
                collected.leave(&name, scalar.line, "it is a path, not a secret")?;
            }
            _ => {
                collected.consider_scalar(Named::of(scalar, &name, BRIDGE, &name), scalar, None)?
            }
        }
    }
    Ok(())
}

/// Elements of lists, and what devices and groups say of themselves, are listed only if they may be secret.
fn is_quiet(scalar: &Scalar) -> bool {
    let element = scalar
        .path
        .last()
        .is_some_and(|key| key.parse::<usize>().is_ok());
    (element
        || matches!(
            scalar.section(),
            "devices" | "groups" | "device_options" | "version"
        ))
        && !names_a_secret(scalar.key())
}

fn is_network_key(scalar: &Scalar) -> bool {
    scalar.section() == "advanced"
        && scalar
            .path
            .get(1)
            .is_some_and(|key| key == "network_key" || key == "ext_pan_id")
}

/// A network key is written as a list of 16 numbers. It is imported as 32 hexadecimal digits, from which
/// [`crate::dialect::zigbee2mqtt::network_key`] writes the list again.
pub(super) fn network_key(
    scalars: &[Scalar],
    bridge: &str,
    place: &[&str],
    collected: &mut Collected,
) -> Result<(), ReadError> {
    let what = place.join(".");
    let in_place = |scalar: &&Scalar| {
        scalar
            .path
            .iter()
            .zip(place)
            .all(|(key, place)| key == place)
            && scalar.path.len() >= place.len()
    };
    let (parts, others): (Vec<&Scalar>, Vec<&Scalar>) = scalars
        .iter()
        .filter(in_place)
        .partition(|scalar| scalar.set_again.is_none());
    if let Some(why) = others
        .first()
        .and_then(|other| references::elsewhere(other))
    {
        collected.leave(&what, others[0].line, &why)?;
    }
    let Some(first) = parts.first() else {
        return Ok(());
    };
    let named = Named {
        what: &what,
        bridge,
        key: "network-key",
        line: first.line,
    };
    let none = "a network key is a list of 16 numbers from 0 to 255, or 32 hexadecimal digits; this is none";
    if first.path.len() == place.len() {
        let text = first.text.trim();
        let why = references::elsewhere(first)
            .or_else(|| references::of_zigbee2mqtt(text).map(str::to_owned))
            .or_else(|| crate::placeholder::reason(text).map(str::to_owned));
        let is_digits =
            text.len() == 2 * NETWORK_KEY_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
        return match why {
            Some(why) => collected.leave(&what, first.line, &why),
            None if is_digits => collected.find(named, "zigbee-key", text),
            None => collected.leave(&what, first.line, none),
        };
    }
    if let Some(why) = parts.iter().find_map(|part| references::elsewhere(part)) {
        return collected.leave(&what, first.line, &why);
    }
    match digits(parts.iter().map(|part| part.text.as_str())) {
        Some(digits) if parts.len() == NETWORK_KEY_BYTES => {
            collected.find(named, "zigbee-key", &digits)
        }
        _ => collected.leave(&what, first.line, none),
    }
}
