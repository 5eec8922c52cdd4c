//! Is this setting a secret, and of what kind? Judged by its value where that is unmistakable, then by its name, then by
//! the form of the value.

use crate::placeholder;

use super::form::is_random;
use super::{address, command, words};

/// The kinds that a found secret can have.
pub const KINDS: &[&str] = &[
    "password",
    "api-token",
    "api-key",
    "wifi-key",
    "zigbee-key",
    "encryption-key",
    "other",
];

/// What a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A secret of this kind.
    Secret(&'static str),
    /// A setting that may stay where it is, for this reason.
    Plain(&'static str),
    /// Neither its name nor its value says.
    Unclear,
}

/// Judges a setting by its name and its value.
pub(super) fn judge(name: &str, value: &str) -> Verdict {
    if let Some(why) = placeholder::reason(value) {
        return Verdict::Plain(why);
    }
    if is_unmistakable(value) {
        return Verdict::Secret("other");
    }
    let words = words::words_of(name);
    let plain = plain_by_form(value)
        .or_else(|| words::plain(&words))
        .or_else(|| plain_by_value(value))
        .or_else(|| chip_pin(&words, value));
    if let Some(why) = plain {
        return Verdict::Plain(why);
    }
    if let Some(kind) = words::kind(&words) {
        return Verdict::Secret(kind);
    }
    if is_random(value) {
        Verdict::Secret("other")
    } else {
        Verdict::Unclear
    }
}

/// Whether a value is a secret whatever its name is.
pub(super) fn is_unmistakable(value: &str) -> bool {
    is_private_key(value) || address::is_secret(value) || command::has_secret(value)
}

/// A private key as text (RFC 7468), of whatever kind.
pub(super) fn is_private_key(value: &str) -> bool {
    value.contains("-----BEGIN ") && value.contains("PRIVATE KEY")
}

/// What a value is, if that is unmistakable and no secret.
fn plain_by_form(value: &str) -> Option<&'static str> {
    let value = value.trim();
    if value.starts_with("-----BEGIN CERT")
        || value.starts_with("-----BEGIN PUBLIC")
        || value.starts_with("ssh-ed25519 ")
        || value.starts_with("ssh-rsa ")
    {
        return Some("it is a certificate or a public key, and public");
    }
    if is_gpio(value) {
        return Some("it is a pin of a chip, not a secret");
    }
    is_entity(value).then_some("it is the id of an entity, not a secret")
}

fn plain_by_value(value: &str) -> Option<&'static str> {
    let value = value.trim();
    let boolean = ["true", "false", "yes", "no", "on", "off"];
    if boolean.iter().any(|word| value.eq_ignore_ascii_case(word)) {
        return Some("it is a switch, not a secret");
    }
    if value.parse::<std::net::IpAddr>().is_ok() {
        return Some("it is an address, not a secret");
    }
    if value.contains("://") && !value.contains(char::is_whitespace) {
        return Some("it is an address without a password");
    }
    const ROOTS: [&str; 12] = [
        "/run/", "/etc/", "/var/", "/ssl/", "/config/", "/data/", "/home/", "/opt/", "/usr/",
        "/mnt/", "/srv/", "/dev/",
    ];
    let path = (value.starts_with('/') || value.starts_with("./") || value.starts_with("~/"))
        && value.contains('.')
        || ROOTS.iter().any(|root| value.starts_with(root));
    path.then_some("it is a path, not a secret")
}

/// `pin: 4`: the numbers of people's PINs are longer.
fn chip_pin(words: &[String], value: &str) -> Option<&'static str> {
    let value = value.trim();
    let short = value.len() <= 2 && value.bytes().all(|b| b.is_ascii_digit());
    let pin = words.last().is_some_and(|last| last == "pin");
    (short && pin).then_some("it is a pin of a chip, not a secret")
}

/// `GPIO4`, `P0.13`, `PA12`, `D1`, `A0`.
fn is_gpio(value: &str) -> bool {
    let digits = |text: &str| {
        !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit())
    };
    let number = |text: &str| match text.split_once('.') {
        Some((port, pin)) => digits(port) && digits(pin),
        None => digits(text),
    };
    ["GPIO", "PA", "PB", "PC", "PD", "P", "D", "A", "TX", "RX"]
        .iter()
        .any(|start| value.strip_prefix(start).is_some_and(number))
}

/// `light.attic_2`: a domain of Home Assistant and a name in small letters.
fn is_entity(value: &str) -> bool {
    const DOMAINS: [&str; 28] = [
        "alarm_control_panel",
        "automation",
        "binary_sensor",
        "button",
        "calendar",
        "camera",
        "climate",
        "cover",
        "device_tracker",
        "fan",
        "group",
        "input_boolean",
        "input_number",
        "input_select",
        "input_text",
        "light",
        "lock",
        "media_player",
        "notify",
        "number",
        "person",
        "remote",
        "scene",
        "script",
        "select",
        "sensor",
        "switch",
        "zone",
    ];
    value.split_once('.').is_some_and(|(domain, name)| {
        let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        DOMAINS.contains(&domain) && !name.is_empty() && name.bytes().all(small)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_told_by_its_name_and_then_by_its_value() {
        for (name, value, kind) in [
            ("wifi_password", "correct horse", "wifi-key"),
            ("mqttPassword", "pw1", "password"),
            ("HUE_API_KEY", "abc123", "api-key"),
            ("ha_token", "abc", "api-token"),
            ("network_key", "01020304", "zigbee-key"),
            ("api_encryption_key", "q1w2", "encryption-key"),
            ("alarm_code", "4711", "password"),
            ("db_url", "postgres://ha:s3cr3t!@db/ha", "other"),
            ("pin", "4711", "password"),
            (
                "camera_url",
                "http://cam/snapshot.cgi?user=admin&pwd=Sommer2024",
                "other",
            ),
            ("NASPASS", "x7", "password"),
            ("tls", "-----BEGIN EC PRIVATE KEY-----\nMIGH\n", "other"),
            ("blob", "q8Zr2mT0vX4kLp7Yc1Wd9", "other"),
            (
                "command",
                "tunnel run --token eyJhIjoiMTIzNDU2Nzg5In0=",
                "other",
            ),
            (
                "command",
                "curl -H 'Authorization: Bearer q8Zr2mT0vX4kLp7Y' http://nas/",
                "other",
            ),
            ("irk", "0x12", "other"),
            ("bindkey", "231d39c1d7cc1ab1aee224cd096db932", "api-key"),
        ] {
            assert_eq!(judge(name, value), Verdict::Secret(kind), "{name}={value}");
        }
    }

    #[test]
    fn what_is_no_secret_is_told_with_the_reason() {
        for (name, value, why) in [
            ("WIFI_SSID", "attic", "it is a name, not a secret"),
            ("latitude", "52.5", "it is a place, not a secret"),
            ("token_lifetime", "30", "it is a setting, not a secret"),
            ("password_file", "x.txt", "it is a path, not a secret"),
            (
                "wifi_password",
                "${WIFI}",
                "it refers to a value that is kept elsewhere",
            ),
            (
                "db_url",
                "postgres://db/ha",
                "it is an address, not a secret",
            ),
            ("tx_pin", "GPIO16", "it is a pin of a chip, not a secret"),
            ("pin", "4", "it is a pin of a chip, not a secret"),
            (
                "code_source",
                "light.attic_2",
                "it is the id of an entity, not a secret",
            ),
            (
                "service_uuid",
                "4fafc201-1fb5-459e-8fcc-c5c9c331914b",
                "it is a name, not a secret",
            ),
            (
                "tls_key",
                "-----BEGIN CERTIFICATE-----\nMIIB\n",
                "it is a certificate or a public key, and public",
            ),
        ] {
            assert_eq!(judge(name, value), Verdict::Plain(why), "{name}={value}");
        }
    }

    #[test]
    fn what_neither_name_nor_value_tell_is_unclear() {
        for (name, value) in [
            ("where", "home/attic/sensor01/temperature2"),
            ("greeting", "hello"),
            (
                "args",
                "run --token-file /run/secrets/t1 --password ${PASSWORD1} --level 12345678",
            ),
        ] {
            assert_eq!(judge(name, value), Verdict::Unclear, "{name}={value}");
        }
    }
}
