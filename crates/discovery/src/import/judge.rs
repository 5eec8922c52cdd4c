//! Is this setting a secret, and of what kind? Judged by the words of its name, then by the form of its value.

use crate::placeholder;

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

/// Words that make a setting plain, whatever else its name says, with the reason.
const PLAIN_ENDS: [(&[&str], &str); 6] = [
    (
        &["latitude", "longitude", "elevation", "lat", "lon"],
        "it is a place, not a secret",
    ),
    (
        &[
            "host", "hostname", "server", "broker", "domain", "ip", "address", "gateway", "subnet",
            "dns", "url", "uri", "endpoint",
        ],
        "it is an address, not a secret",
    ),
    (
        &["port", "timeout", "interval", "baud", "baudrate", "channel"],
        "it is a number, not a secret",
    ),
    (
        &[
            "user", "username", "login", "email", "mail", "name", "ssid", "id", "topic", "client",
        ],
        "it is a name, not a secret",
    ),
    (
        &["file", "path", "dir", "directory"],
        "it is a path, not a secret",
    ),
    (
        &[
            "zone", "timezone", "tz", "unit", "currency", "country", "language", "locale",
            "enabled", "debug", "level", "type", "version", "lifetime", "expiry", "expires",
        ],
        "it is a setting, not a secret",
    ),
];

/// Judges a setting by its name and its value.
pub(super) fn judge(name: &str, value: &str) -> Verdict {
    if let Some(why) = placeholder::reason(value) {
        return Verdict::Plain(why);
    }
    if carries_password(value) {
        return Verdict::Secret("other");
    }
    let words = words_of(name);
    if let Some(why) = plain_by_name(&words) {
        return Verdict::Plain(why);
    }
    if let Some(why) = plain_by_value(value) {
        return Verdict::Plain(why);
    }
    if let Some(kind) = kind_by_name(&words) {
        return Verdict::Secret(kind);
    }
    if is_random(value) {
        Verdict::Secret("other")
    } else {
        Verdict::Unclear
    }
}

/// Whether a name alone announces a secret.
pub(super) fn names_a_secret(name: &str) -> bool {
    let words = words_of(name);
    plain_by_name(&words).is_none() && kind_by_name(&words).is_some()
}

/// `mqttApiKey_2` → `mqtt`, `api`, `key`, `2`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut last_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && last_lower) {
            words.push(String::new());
        }
        last_lower = c.is_lowercase();
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn plain_by_name(words: &[String]) -> Option<&'static str> {
    let last = words
        .iter()
        .rev()
        .find(|word| !word.bytes().all(|b| b.is_ascii_digit()))?;
    let listed = PLAIN_ENDS
        .iter()
        .find(|(ends, _)| ends.contains(&last.as_str()));
    listed.map(|(_, why)| *why)
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
    if value.contains("://") && !value.contains(char::is_whitespace) && !value.contains(['?', '#'])
    {
        return Some("it is an address without a password");
    }
    let path = (value.starts_with('/') || value.starts_with("./") || value.starts_with("~/"))
        && value.contains('.');
    path.then_some("it is a path, not a secret")
}

fn kind_by_name(words: &[String]) -> Option<&'static str> {
    let has = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
    let joined = words.concat();
    let password = has(&[
        "password",
        "passwd",
        "pass",
        "pwd",
        "passphrase",
        "psk",
        "pw",
    ]) || joined.contains("password");
    let key = has(&["key", "keys"]) || joined.ends_with("key");
    if has(&["wifi", "wlan", "wpa", "wpa2", "wpa3"]) && (password || key) || has(&["psk"]) {
        Some("wifi-key")
    } else if (has(&["zigbee", "network", "zha", "tclk", "thread"]) && key)
        || joined.contains("networkkey")
    {
        Some("zigbee-key")
    } else if (has(&["encryption", "noise", "encrypt", "encr"]) || joined.contains("encryption"))
        && key
    {
        Some("encryption-key")
    } else if password {
        Some("password")
    } else if has(&["token", "tokens", "jwt", "bearer", "pat"]) || joined.ends_with("token") {
        Some("api-token")
    } else if has(&["apikey", "appkey"]) || key {
        Some("api-key")
    } else if has(&["pin", "code", "passcode"]) {
        Some("password")
    } else if has(&[
        "secret",
        "secrets",
        "credential",
        "credentials",
        "salt",
        "private",
    ]) || joined.ends_with("secret")
    {
        Some("other")
    } else {
        None
    }
}

/// Whether a value is an address with a password in it: `scheme://user:password@host`.
pub(super) fn carries_password(value: &str) -> bool {
    let Some((scheme, rest)) = value.trim().split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
    let password = authority
        .rsplit_once('@')
        .and_then(|(login, _)| login.split_once(':'))
        .map(|(_, password)| password);
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && password.is_some_and(|password| placeholder::reason(password).is_none())
}

/// Whether a value looks generated: one long word of letters and digits with much variety.
pub(super) fn is_random(value: &str) -> bool {
    let value = value.trim();
    let plausible = |b: u8| b.is_ascii_alphanumeric() || b"+/=_-.".contains(&b);
    if !(20..=4096).contains(&value.len()) || !value.bytes().all(plausible) {
        return false;
    }
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    digits >= 3 && letters >= 3 && bits_per_byte(value.as_bytes()) >= 3.3
}

/// The Shannon entropy of the bytes' frequencies.
fn bits_per_byte(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let total = bytes.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_judged_by_its_name_and_then_by_its_value() {
        for (name, value, verdict) in [
            (
                "wifi_password",
                "correct horse",
                Verdict::Secret("wifi-key"),
            ),
            (
                "WIFI_SSID",
                "attic",
                Verdict::Plain("it is a name, not a secret"),
            ),
            ("mqttPassword", "pw1", Verdict::Secret("password")),
            ("HUE_API_KEY", "abc123", Verdict::Secret("api-key")),
            ("ha_token", "abc", Verdict::Secret("api-token")),
            ("network_key", "01020304", Verdict::Secret("zigbee-key")),
            (
                "api_encryption_key",
                "q1w2",
                Verdict::Secret("encryption-key"),
            ),
            (
                "latitude",
                "52.5",
                Verdict::Plain("it is a place, not a secret"),
            ),
            ("alarm_code", "4711", Verdict::Secret("password")),
            (
                "token_lifetime",
                "30",
                Verdict::Plain("it is a setting, not a secret"),
            ),
            (
                "password_file",
                "x.txt",
                Verdict::Plain("it is a path, not a secret"),
            ),
            (
                "wifi_password",
                "${WIFI}",
                Verdict::Plain("it refers to a value that is kept elsewhere"),
            ),
            (
                "db_url",
                "postgres://ha:s3cr3t!@db/ha",
                Verdict::Secret("other"),
            ),
            (
                "db_url",
                "postgres://db/ha",
                Verdict::Plain("it is an address, not a secret"),
            ),
            ("blob", "q8Zr2mT0vX4kLp7Yc1Wd9", Verdict::Secret("other")),
            ("greeting", "hello", Verdict::Unclear),
            (
                "bindkey",
                "231d39c1d7cc1ab1aee224cd096db932",
                Verdict::Secret("api-key"),
            ),
        ] {
            assert_eq!(judge(name, value), verdict, "{name}={value}");
        }
    }
}
