//! ESPHome: one YAML file a device.

use crate::dialect::yaml::Scalar;

use super::ReadError;
use super::judge::{is_private_key, is_unmistakable};
use super::references::{self, Substitutions};
use super::settings::{Collected, Named};
use super::words::names_a_secret;

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    let scalars = collected.yaml(text)?;
    let device = device_of(&scalars, collected.file());
    let substitutions = Substitutions::of(&scalars);
    for scalar in &scalars {
        let name = scalar.name();
        if !is_told(scalar) {
            continue;
        }
        let replaced = match scalar.tag.as_deref() {
            Some("literal") => None,
            _ => substitutions.why(&scalar.text),
        };
        let why = references::elsewhere(scalar).or_else(|| replaced.map(str::to_owned));
        if let Some(why) = why {
            collected.leave(&name, scalar.line, &why)?;
            continue;
        }
        let key = format!("{device}-{}", shortened(scalar));
        let named = Named::of(scalar, &name, "esphome", &key);
        match known_kind(scalar) {
            Some(kind) => match crate::placeholder::reason(&scalar.text) {
                Some(why) => collected.leave(&name, scalar.line, why)?,
                None => collected.find(named, kind, &scalar.text)?,
            },
            None if is_wiring(scalar) && !is_unmistakable(&scalar.text) => {
                collected.leave(
                    &name,
                    scalar.line,
                    "it is a pin of a chip or a code for a remote control, not a secret",
                )?;
            }
            None => collected.consider_scalar(named, scalar, None)?,
        }
    }
    Ok(())
}

/// The device's name: `esphome.name`, a substitution that names it, or the file's name.
fn device_of(scalars: &[Scalar], file: &str) -> String {
    let text_at = |path: &str| {
        scalars
            .iter()
            .find(|scalar| scalar.name() == path)
            .map(|scalar| scalar.text.as_str())
    };
    let name = text_at("esphome.name")
        .filter(|name| !name.contains('$'))
        .or_else(|| text_at("substitutions.name"))
        .or_else(|| text_at("substitutions.device_name"));
    let base = super::base_name(file);
    name.unwrap_or_else(|| base.split('.').next().unwrap_or(base))
        .to_owned()
}

/// The kinds of the places that ESPHome documents.
fn known_kind(scalar: &Scalar) -> Option<&'static str> {
    match (scalar.section(), scalar.key()) {
        ("wifi", "password") => Some("wifi-key"),
        ("api", "key") => Some("encryption-key"),
        ("ota" | "api" | "mqtt" | "web_server", "password") => Some("password"),
        ("packet_transport" | "udp", "encryption") => Some("encryption-key"),
        // An alarm's codes open it; all other codes of ESPHome are those of radios and remote controls.
        ("alarm_control_panel", "codes" | "code") => Some("password"),
        _ => None,
    }
}

/// Whether a setting with the words `pin` or `code` is wiring or radio, as all of them are but those of people.
fn is_wiring(scalar: &Scalar) -> bool {
    let words = super::words::words_of(scalar.key());
    let has = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
    has(&["pin", "code", "codes"])
        && !has(&[
            "alarm", "door", "lock", "user", "sim", "access", "keypad", "entry",
        ])
}

/// `wifi.networks.0.password` → `wifi-password-0`: what tells secrets apart, without the rest.
fn shortened(scalar: &Scalar) -> String {
    let section = scalar.section();
    let numbers: Vec<&str> = scalar
        .path
        .iter()
        .filter(|key| key.parse::<usize>().is_ok())
        .map(String::as_str)
        .collect();
    let access_point = if scalar.path.get(1).is_some_and(|key| key == "ap") {
        "-ap"
    } else {
        ""
    };
    let encryption = if section == "api" && scalar.key() == "key" {
        "-encryption"
    } else {
        ""
    };
    let mut short = format!("{section}{access_point}{encryption}-{}", scalar.key());
    if !numbers.is_empty() {
        short = format!("{short}-{}", numbers.join("-"));
    }
    short
}

/// Most of an ESPHome file is wiring. Listed are secrets, and what is in the sections that hold them. Code is neither.
fn is_told(scalar: &Scalar) -> bool {
    let holds_secrets = matches!(
        scalar.section(),
        "wifi" | "api" | "ota" | "mqtt" | "web_server" | "substitutions"
    );
    // The keys of a keypad are those that people press.
    let keypad = matches!(scalar.section(), "matrix_keypad" | "key_collector");
    if keypad && !is_unmistakable(&scalar.text) {
        return false;
    }
    let lambda = scalar.tag.as_deref() == Some("lambda") || scalar.key() == "lambda";
    let code = lambda || scalar.text.contains('\n') && !names_a_secret(scalar.key());
    is_private_key(&scalar.text) && !lambda
        || !code
            && (holds_secrets
                || known_kind(scalar).is_some()
                || names_a_secret(scalar.key())
                || is_unmistakable(&scalar.text))
}
