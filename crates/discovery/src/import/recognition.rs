//! Finding out what kind of file this is, from its name and its characteristic keys.

use std::collections::BTreeMap;
use std::path::Path;

use crate::dialect::{bytes, yaml};

use super::Source;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognized {
    /// A file of this kind.
    One(Source),
    /// Its keys fit several kinds; a person has to say.
    Several(Vec<Source>),
    /// Nothing fits.
    Unknown,
}

/// Sections that only ESPHome has at the top of a file.
const ESPHOME: [&str; 50] = [
    "esphome",
    "esp32",
    "esp8266",
    "rp2040",
    "bk72xx",
    "rtl87xx",
    "ln882x",
    "nrf52",
    "libretiny",
    "substitutions",
    "captive_portal",
    "wifi",
    "dashboard_import",
    "external_components",
    "esp32_ble",
    "esp32_ble_tracker",
    "esp32_ble_server",
    "esp32_improv",
    "improv_serial",
    "bluetooth_proxy",
    "ble_client",
    "esp32_camera",
    "esp32_camera_web_server",
    "safe_mode",
    "web_server",
    "uart",
    "i2c",
    "spi",
    "one_wire",
    "globals",
    "i2s_audio",
    "micro_wake_word",
    "voice_assistant",
    "ethernet",
    "psram",
    "status_led",
    "remote_receiver",
    "remote_transmitter",
    "output",
    "dallas",
    "preferences",
    "esp32_touch",
    "font",
    "display",
    "http_request",
    "deep_sleep",
    "wireguard",
    "time_based",
    "packages",
    "rf_bridge",
];
/// Sections that only Home Assistant has at the top of a file, in `configuration.yaml` or in a package.
const HOME_ASSISTANT: [&str; 55] = [
    "default_config",
    "automation",
    "scene",
    "group",
    "input_boolean",
    "input_text",
    "input_number",
    "input_select",
    "input_datetime",
    "input_button",
    "template",
    "recorder",
    "http",
    "tts",
    "notify",
    "zone",
    "shell_command",
    "rest",
    "rest_command",
    "device_tracker",
    "lovelace",
    "panel_custom",
    "panel_iframe",
    "history",
    "logbook",
    "energy",
    "counter",
    "schedule",
    "utility_meter",
    "command_line",
    "influxdb",
    "google_assistant",
    "alexa",
    "cloud",
    "zha",
    "zwave_js",
    "knx",
    "modbus",
    "homekit",
    "ffmpeg",
    "calendar",
    "weather",
    "camera",
    "binary_sensor_template",
    "smtp",
    "telegram_bot",
    "bayesian",
    "adaptive_lighting",
    "alert",
    "person",
    "system_log",
    "proximity",
    "intent_script",
    "conversation",
    "my",
];
/// Sections of Zigbee2MQTT that no other has at the top of a file.
const ZIGBEE2MQTT: [&str; 14] = [
    "serial",
    "advanced",
    "device_options",
    "permit_join",
    "passlist",
    "blocklist",
    "ban",
    "whitelist",
    "external_converters",
    "external_extensions",
    "map_options",
    "experimental",
    "availability",
    "onboarding",
];
/// Sections that both ESPHome and Home Assistant have.
const EITHER: [&str; 17] = [
    "sensor",
    "binary_sensor",
    "switch",
    "light",
    "climate",
    "cover",
    "fan",
    "mqtt",
    "api",
    "logger",
    "script",
    "time",
    "button",
    "number",
    "select",
    "alarm_control_panel",
    "media_player",
];

/// The kind of a file, by its name and by all of its bytes.
pub fn recognize(path: &Path, bytes: &[u8]) -> Recognized {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Recognized::Unknown;
    };
    let name = name.to_ascii_lowercase();
    let text =
        bytes::text(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into());
    let (stem, end) = name.rsplit_once('.').unwrap_or((&name, ""));
    let one = |fits: bool, source| match fits {
        true => Recognized::One(source),
        false => Recognized::Unknown,
    };
    match end {
        "yaml" | "yml" if stem == "secrets" => Recognized::One(Source::HomeAssistantSecrets),
        "yaml" | "yml" if stem == "secret" => Recognized::One(Source::Zigbee2mqttSecrets),
        "yaml" | "yml" => of_yaml(stem, &text),
        "csv" => one(is_table(&text), Source::Csv),
        "env" => Recognized::One(Source::Dotenv),
        "conf" => one(is_mosquitto_conf(&text), Source::MosquittoConf),
        _ if name.starts_with(".env") => Recognized::One(Source::Dotenv),
        _ => one(is_password_file(&text), Source::MosquittoPasswords),
    }
}

/// The keys at the top of a document, each with those below it.
fn sections(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if let Ok(scalars) = yaml::read(text) {
        for scalar in scalars {
            let mut path = scalar.path.into_iter();
            let Some(top) = path.next() else { continue };
            sections.entry(top).or_default().extend(path);
        }
    }
    // What is empty has no scalar, and what cannot be read has lines.
    for line in text.lines() {
        if let Some((key, _)) = line.split_once(':')
            && !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            sections.entry(key.to_owned()).or_default();
        }
    }
    sections
}

fn of_yaml(stem: &str, text: &str) -> Recognized {
    let sections = sections(text);
    let has = |key: &str| sections.contains_key(key);
    let below = |key: &str, any: &[&str]| {
        sections
            .get(key)
            .is_some_and(|below| below.iter().any(|key| any.contains(&key.as_str())))
    };
    let count = |any: &[&str]| any.iter().filter(|key| has(key)).count();
    let services = below("services", &["image", "build", "environment", "env_file"]);
    if services || has("services") && (stem.contains("compose") || stem.starts_with("stack")) {
        return Recognized::One(Source::Compose);
    }
    let mut fits = Vec::new();
    let zigbee2mqtt = count(&ZIGBEE2MQTT) > 0
        && (count(&ZIGBEE2MQTT) > 1
            || below(
                "advanced",
                &[
                    "network_key",
                    "pan_id",
                    "ext_pan_id",
                    "channel",
                    "log_level",
                    "last_seen",
                ],
            )
            || below("serial", &["port", "adapter"]))
        || below("mqtt", &["base_topic", "server"]);
    if zigbee2mqtt {
        fits.push(Source::Zigbee2mqtt);
    }
    // `host:` alone is a chip of ESPHome's only beside other sections of it.
    let esphome = count(&ESPHOME);
    let core = has("homeassistant")
        && below(
            "homeassistant",
            &[
                "name",
                "latitude",
                "packages",
                "customize",
                "unit_system",
                "time_zone",
                "auth_providers",
                "external_url",
                "internal_url",
                "allowlist_external_dirs",
                "whitelist_external_dirs",
                "country",
                "currency",
                "media_dirs",
            ],
        );
    let frontend =
        has("frontend") && (below("frontend", &["themes", "extra_module_url"]) || !zigbee2mqtt);
    let home_assistant = count(&HOME_ASSISTANT) + usize::from(core) + usize::from(frontend);
    if esphome > 0 && esphome >= home_assistant {
        fits.push(Source::Esphome);
    }
    if home_assistant > 0 && home_assistant >= esphome {
        fits.push(Source::HomeAssistant);
    }
    // Home Assistant's own keys are in no file of Zigbee2MQTT, which has the section `homeassistant` as well.
    if zigbee2mqtt && esphome == 0 && home_assistant == 0 {
        return Recognized::One(Source::Zigbee2mqtt);
    }
    // Lists of automations, and scripts by their names.
    let parts = below("0", &["alias", "trigger", "triggers", "action", "actions"])
        || sections.values().flatten().any(|key| key == "sequence");
    if fits.is_empty() && parts {
        return Recognized::One(Source::HomeAssistant);
    }
    if fits.is_empty() && count(&EITHER) > 0 {
        fits = match has("ota") || has("host") {
            true => vec![Source::Esphome],
            false => vec![Source::Esphome, Source::HomeAssistant],
        };
    }
    match fits.as_slice() {
        [] => Recognized::Unknown,
        [one] => Recognized::One(*one),
        _ => Recognized::Several(fits),
    }
}

fn is_table(text: &str) -> bool {
    let header = text.lines().next().unwrap_or_default();
    let columns: Vec<String> = header
        .split(',')
        .map(|column| column.trim().trim_matches('"').to_ascii_lowercase())
        .collect();
    ["name", "value"]
        .iter()
        .all(|needed| columns.iter().any(|column| column == needed))
}

/// Every line that is no comment is `user:$…`.
fn is_password_file(text: &str) -> bool {
    let mut lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .peekable();
    lines.peek().is_some()
        && lines.take(8).all(|line| {
            line.split_once(':')
                .is_some_and(|(user, hash)| !user.contains(' ') && hash.starts_with('$'))
        })
}

/// Some lines begin with names that only Mosquitto has.
fn is_mosquitto_conf(text: &str) -> bool {
    const NAMES: [&str; 12] = [
        "listener",
        "allow_anonymous",
        "password_file",
        "acl_file",
        "persistence_location",
        "remote_password",
        "remote_username",
        "bridge_psk",
        "bridge_cafile",
        "per_listener_settings",
        "auth_plugin",
        "log_dest",
    ];
    text.lines().any(|line| {
        let name = line.split([' ', '\t']).next().unwrap_or_default();
        NAMES.contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, text: &str) -> Recognized {
        recognize(Path::new(name), text.as_bytes())
    }

    #[test]
    fn a_file_is_recognized_by_its_characteristic_keys() {
        for (name, text, source) in [
            (
                "box.yaml",
                "packages:\n  base: !include b.yaml\napi:\nwifi:\n  ssid: x\n",
                Source::Esphome,
            ),
            (
                "pico.yaml",
                "rp2040:\n  board: rpipicow\nwifi:\n  ssid: x\n",
                Source::Esphome,
            ),
            ("sim.yaml", "host:\napi:\nlogger:\n", Source::Esphome),
            (
                "net.yaml",
                "wifi:\n  ssid: x\ncaptive_portal:\n",
                Source::Esphome,
            ),
            (
                "plug.yaml",
                "bk72xx:\n  board: cb2s\nmqtt:\n  broker: x\n",
                Source::Esphome,
            ),
            (
                "configuration.yaml",
                "homeassistant:\n  enabled: true\nserial:\n  port: x\nversion: 4\n",
                Source::Zigbee2mqtt,
            ),
            (
                "configuration.yaml",
                "serial:\n  port: x\nfrontend:\n  enabled: true\nmqtt:\n  server: x\n",
                Source::Zigbee2mqtt,
            ),
            (
                "configuration.yaml",
                "advanced:\n  network_key: GENERATE\n",
                Source::Zigbee2mqtt,
            ),
            (
                "configuration.yaml",
                "default_config:\nmqtt:\n  sensor: []\nfrontend:\n  themes: !include t\n",
                Source::HomeAssistant,
            ),
            (
                "configuration.yaml",
                "homeassistant:\n  packages: !include_dir_named packages\nlogger:\n",
                Source::HomeAssistant,
            ),
            (
                "garage.yaml",
                "input_boolean:\n  open:\nautomation:\n  - alias: x\nmqtt:\n  cover: []\n",
                Source::HomeAssistant,
            ),
            (
                "automations.yaml",
                "- id: '1'\n  alias: x\n  triggers: []\n",
                Source::HomeAssistant,
            ),
            (
                "scripts.yaml",
                "arm:\n  sequence:\n    - delay: 1\n",
                Source::HomeAssistant,
            ),
            (
                "secret.yaml",
                "mqtt_password: x\n",
                Source::Zigbee2mqttSecrets,
            ),
            (
                "compose.yaml",
                "services:\n  db:\n    image: x\n",
                Source::Compose,
            ),
            ("mosquitto.conf", "listener 1883\n", Source::MosquittoConf),
        ] {
            assert_eq!(kind(name, text), Recognized::One(source), "{name}: {text}");
        }
        let both = Recognized::Several(vec![Source::Esphome, Source::HomeAssistant]);
        assert_eq!(
            kind(
                "hall.yaml",
                "sensor:\n  - platform: template\nmqtt:\n  broker: x\n"
            ),
            both
        );
        for (name, text) in [
            ("a.yaml", "hello: world\n"),
            ("a.conf", "user nginx;\n"),
            ("a.txt", "x\n"),
            ("a.csv", "a,b\n"),
        ] {
            assert_eq!(kind(name, text), Recognized::Unknown, "{name}");
        }
    }
}
