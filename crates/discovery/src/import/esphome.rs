//! ESPHome: one YAML file a device.

use super::ReadError;
use super::judge::{carries_password, names_a_secret};
use super::settings::{Collected, Named};
use super::yaml::{self, Scalar};

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    let scalars = yaml::scalars(text, collected)?;
    let device = device_of(&scalars, collected.file());
    for scalar in &scalars {
        let name = scalar.name();
        if !is_told(scalar) {
            continue;
        }
        if let Some(why) = yaml::elsewhere(scalar) {
            collected.leave(&name, scalar.line, why)?;
            continue;
        }
        let key = format!("{device}-{}", shortened(scalar));
        let named = Named {
            what: &name,
            bridge: "esphome",
            key: &key,
            line: scalar.line,
        };
        match known_kind(scalar) {
            Some(kind) => match crate::placeholder::reason(&scalar.text) {
                Some(why) => collected.leave(&name, scalar.line, why)?,
                None => collected.find(named, kind, &scalar.text)?,
            },
            None => collected.consider(named, &scalar.text, None)?,
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
    let section = scalar.path.first().map_or("", String::as_str);
    match (section, scalar.key()) {
        ("wifi", "password") => Some("wifi-key"),
        ("api", "key") => Some("encryption-key"),
        ("ota" | "api" | "mqtt" | "web_server", "password") => Some("password"),
        _ => None,
    }
}

/// `wifi.networks.0.password` → `wifi-password-0`: what tells secrets apart, without the rest.
fn shortened(scalar: &Scalar) -> String {
    let section = scalar.path.first().map_or("", String::as_str);
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

/// Most of an ESPHome file is wiring. Told of are secrets, and what stands in the sections that hold them.
fn is_told(scalar: &Scalar) -> bool {
    let section = scalar.path.first().map_or("", String::as_str);
    let holds_secrets = matches!(
        section,
        "wifi" | "api" | "ota" | "mqtt" | "web_server" | "substitutions"
    );
    let code = scalar.tag.as_deref() == Some("lambda") || scalar.text.contains('\n');
    !code && (holds_secrets || names_a_secret(scalar.key()) || carries_password(&scalar.text))
}
