//! Zigbee2MQTT's `configuration.yaml`.
//!
//! Its secrets have fixed places. Devices and groups hold names and options, often hundreds of them; only what looks
//! like a secret is told of there.

use zeroize::Zeroizing;

use super::ReadError;
use super::judge::names_a_secret;
use super::settings::{Collected, Named};
use super::yaml::{self, Scalar};

const BRIDGE: &str = "zigbee2mqtt";
/// Bytes of a Zigbee network key.
const NETWORK_KEY_BYTES: usize = 16;

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    let scalars = yaml::scalars(text, collected)?;
    network_key(&scalars, collected)?;
    for scalar in &scalars {
        if is_network_key(scalar) || is_quiet(scalar) {
            continue;
        }
        let name = scalar.name();
        if let Some(why) = yaml::elsewhere(scalar) {
            collected.leave(&name, scalar.line, why)?;
            continue;
        }
        let named = Named {
            what: &name,
            bridge: BRIDGE,
            key: &name,
            line: scalar.line,
        };
        match name.as_str() {
            "advanced.pan_id" | "advanced.channel" => {
                collected.leave(&name, scalar.line, "it is a radio setting, not a secret")?;
            }
            "mqtt.key" | "mqtt.ca" | "mqtt.cert" | "frontend.ssl_key" | "frontend.ssl_cert" => {
                collected.leave(&name, scalar.line, "it is a path, not a secret")?;
            }
            _ => collected.consider(named, &scalar.text, None)?,
        }
    }
    Ok(())
}

/// Elements of lists, and what devices and groups say of themselves, are told of only if they may be secret.
fn is_quiet(scalar: &Scalar) -> bool {
    let section = scalar.path.first().map_or("", String::as_str);
    let element = scalar
        .path
        .last()
        .is_some_and(|key| key.parse::<usize>().is_ok());
    (element || matches!(section, "devices" | "groups" | "device_options" | "version"))
        && !names_a_secret(scalar.key())
}

fn is_network_key(scalar: &Scalar) -> bool {
    scalar.path.first().is_some_and(|key| key == "advanced")
        && scalar
            .path
            .get(1)
            .is_some_and(|key| key == "network_key" || key == "ext_pan_id")
}

/// A network key is written as a list of 16 numbers. It is imported as 32 hexadecimal digits.
fn network_key(scalars: &[Scalar], collected: &mut Collected) -> Result<(), ReadError> {
    let parts: Vec<&Scalar> = scalars
        .iter()
        .filter(|scalar| is_network_key(scalar) && scalar.path[1] == "network_key")
        .collect();
    let Some(first) = parts.first() else {
        return Ok(());
    };
    let named = Named {
        what: "advanced.network_key",
        bridge: BRIDGE,
        key: "network-key",
        line: first.line,
    };
    if first.path.len() == 2 {
        let why = yaml::elsewhere(first).or_else(|| crate::placeholder::reason(&first.text));
        return match why {
            Some(why) => collected.leave(named.what, first.line, why),
            None => collected.find(named, "zigbee-key", &first.text),
        };
    }
    let digits: Option<Zeroizing<String>> = parts.iter().try_fold(
        Zeroizing::new(String::with_capacity(2 * NETWORK_KEY_BYTES)),
        |mut digits, part| {
            digits.push_str(&Zeroizing::new(format!("{:02x}", byte(&part.text)?)));
            Some(digits)
        },
    );
    match digits {
        Some(digits) if parts.len() == NETWORK_KEY_BYTES => {
            collected.find(named, "zigbee-key", &digits)
        }
        _ => collected.leave(
            named.what,
            first.line,
            "a network key is a list of 16 numbers from 0 to 255; this is none",
        ),
    }
}

fn byte(text: &str) -> Option<u8> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u8::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
