//! Telling what kind of file this is, from its name and its beginning.

use std::path::Path;

use super::Source;

/// How much of a file's beginning is looked at, in bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// The kind of a file, by its name and its first bytes, or nothing if that would be a guess.
pub fn recognize(path: &Path, head: &[u8]) -> Option<Source> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let head = String::from_utf8_lossy(&head[..head.len().min(HEAD_MAX_BYTES)]);
    let (stem, end) = name.rsplit_once('.').unwrap_or((&name, ""));
    match end {
        "yaml" | "yml" if stem == "secrets" => Some(Source::HomeAssistantSecrets),
        "yaml" | "yml" => of_yaml(&head),
        "csv" => is_table(&head).then_some(Source::Csv),
        "env" => Some(Source::Dotenv),
        _ if name.starts_with(".env") => Some(Source::Dotenv),
        _ => is_password_file(&head).then_some(Source::MosquittoPasswords),
    }
}

/// Zigbee2MQTT and ESPHome are told apart by the sections that each must have.
fn of_yaml(head: &str) -> Option<Source> {
    let has = |key: &str| {
        head.lines().any(|line| {
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(':'))
        })
    };
    if has("esphome") || has("esp8266") || has("esp32") {
        Some(Source::Esphome)
    } else if has("mqtt") && (has("serial") || has("advanced") || has("frontend") || has("devices"))
    {
        Some(Source::Zigbee2mqtt)
    } else {
        None
    }
}

fn is_table(head: &str) -> bool {
    let header = head
        .trim_start_matches('\u{feff}')
        .lines()
        .next()
        .unwrap_or_default();
    let columns: Vec<String> = header
        .split(',')
        .map(|column| column.trim().trim_matches('"').to_ascii_lowercase())
        .collect();
    ["name", "value"]
        .iter()
        .all(|needed| columns.iter().any(|column| column == needed))
}

/// Every line that is no comment is `user:$…`.
fn is_password_file(head: &str) -> bool {
    let mut lines = head
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .peekable();
    lines.peek().is_some()
        && lines.take(8).all(|line| {
            line.split_once(':')
                .is_some_and(|(user, hash)| !user.contains(' ') && hash.starts_with('$'))
        })
}
