//! What the name of a setting says: its words, and whether they announce a secret.

/// Words that make a setting plain when its name ends with one, with the reason.
const PLAIN_ENDS: [(&[&str], &str); 10] = [
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
        &[
            "port", "timeout", "interval", "baud", "baudrate", "channel", "length", "count",
        ],
        "it is a number, not a secret",
    ),
    (
        &[
            "user", "username", "login", "email", "mail", "name", "ssid", "id", "topic", "client",
            "entity", "uuid", "bssid", "mac",
        ],
        "it is a name, not a secret",
    ),
    (
        &["file", "path", "dir", "directory"],
        "it is a path, not a secret",
    ),
    (
        &[
            "zone",
            "timezone",
            "tz",
            "unit",
            "currency",
            "country",
            "language",
            "locale",
            "enabled",
            "debug",
            "level",
            "type",
            "version",
            "lifetime",
            "expiry",
            "expires",
            "required",
            "arm",
            "disarm",
            "format",
            "algorithm",
            "template",
            "label",
            "title",
            "text",
            "description",
            "header",
            "algorithms",
            "prefix",
            "suffix",
            "size",
            "hint",
            "icon",
            "battery",
            "state",
            "status",
            "mode",
            "max",
            "min",
            "len",
            "age",
            "ttl",
        ],
        "it is a setting, not a secret",
    ),
    (
        &[
            "packet", "packets", "command", "commands", "pronto", "raw", "protocol",
        ],
        "it is a code for a remote control, not a secret",
    ),
    (
        &[
            "sha", "md", "checksum", "commit", "digest", "revision", "etag",
        ],
        "it is a checksum or a version, not a secret",
    ),
    (&["pubkey", "public", "fingerprint"], "it is public"),
    (
        &["certificate", "cert", "crt", "ca"],
        "it is a certificate or its path, and public",
    ),
];

/// Ends of one word that make it a password.
const PASSWORD_ENDS: [&str; 10] = [
    "password",
    "passwd",
    "passwort",
    "kennwort",
    "passphrase",
    "passcode",
    "passw",
    "pass",
    "pwd",
    "psk",
];
/// Words that only look like one.
const NO_PASSWORD: [&str; 7] = [
    "bypass",
    "compass",
    "trespass",
    "overpass",
    "underpass",
    "surpass",
    "encompass",
];
const NO_KEY: [&str; 7] = [
    "monkey", "turkey", "hotkey", "donkey", "whiskey", "hockey", "jockey",
];
/// Ends of one word that make it a password in other languages.
const FOREIGN_PASSWORDS: [&str; 22] = [
    "contraseña",
    "contrasena",
    "contrasenya",
    "motdepasse",
    "wachtwoord",
    "senha",
    "hasło",
    "haslo",
    "heslo",
    "lösenord",
    "losenord",
    "passord",
    "adgangskode",
    "salasana",
    "parola",
    "jelszó",
    "jelszo",
    "lozinka",
    "şifre",
    "пароль",
    "密码",
    "パスワード",
];
/// Ends of one word that make it a key in other languages.
const FOREIGN_KEYS: [&str; 6] = [
    "schlüssel",
    "schluessel",
    "sleutel",
    "clave",
    "chiave",
    "nyckel",
];
/// What precedes `code` where it is none that opens something.
const PLAIN_CODES: [&str; 26] = [
    "country", "zip", "postal", "area", "language", "lang", "currency", "error", "status", "exit",
    "color", "colour", "remote", "ir", "rf", "key", "scan", "product", "model", "region", "dial",
    "http", "source", "qr", "device", "function",
];
/// What precedes `pin` where it is one of a chip.
const CHIP_PINS: [&str; 33] = [
    "tx",
    "rx",
    "data",
    "clock",
    "clk",
    "cs",
    "ce",
    "reset",
    "busy",
    "sda",
    "scl",
    "led",
    "gpio",
    "relay",
    "button",
    "interrupt",
    "irq",
    "dc",
    "miso",
    "mosi",
    "trigger",
    "echo",
    "power",
    "enable",
    "status",
    "input",
    "output",
    "rts",
    "cts",
    "din",
    "dout",
    "bclk",
    "lrclk",
];

/// Codes that open something, or log somebody in.
const OPENING_CODES: [&str; 12] = [
    "pin",
    "pincode",
    "puk",
    "code",
    "codes",
    "otp",
    "totp",
    "alarmcode",
    "doorcode",
    "accesscode",
    "zugangscode",
    "toegangscode",
];

/// With these words a pre-shared key is none of a wireless network.
const NETWORK_PSK: [&str; 8] = [
    "bridge",
    "tls",
    "mqtt",
    "peer",
    "wireguard",
    "wg",
    "ipsec",
    "vpn",
];

/// Whether a name alone announces a secret.
pub(super) fn names_a_secret(name: &str) -> bool {
    let words = words_of(name);
    plain(&words).is_none() && kind(&words).is_some()
}

/// `mqttApiKey_2` → `mqtt`, `api`, `key`, `2`.
pub(super) fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut last_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && last_lower) {
            words.push(String::new());
        }
        last_lower = c.is_lowercase() || c.is_ascii_digit() && last_lower;
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    // `pass2` is the second `pass`, and `2` by itself says nothing.
    for word in &mut words {
        let stem = word.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        word.truncate(stem);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Why a setting with such a name is plain, if it is.
pub(super) fn plain(words: &[String]) -> Option<&'static str> {
    let last = words.last()?.as_str();
    let before = words.len().checked_sub(2).and_then(|at| words.get(at));
    let before = before.map_or("", String::as_str);
    if is_webhook(words) || (before, last) == ("secret", "id") {
        return None;
    }
    if words.iter().any(|word| word == "public") {
        return Some("it is public");
    }
    if last == "code" && PLAIN_CODES.contains(&before)
        || before == "code" && matches!(last, "on" | "off")
    {
        return Some("it is a code of another kind, not a secret");
    }
    if last == "pin" && CHIP_PINS.contains(&before) {
        return Some("it is a pin of a chip, not a secret");
    }
    let joined = PASSWORD_ENDS
        .iter()
        .chain(&["key", "token", "secret"])
        .any(|word| {
            ["file", "path"].iter().any(|end| {
                last.strip_suffix(end)
                    .is_some_and(|last| last.ends_with(word))
            })
        });
    if joined {
        return Some("it is a path, not a secret");
    }
    if last == "hash" && kind(words).is_none() {
        return Some("it is a hash, not a secret");
    }
    let listed = PLAIN_ENDS.iter().find(|(ends, _)| ends.contains(&last));
    listed.map(|(_, why)| *why)
}

/// Knowing the id of a webhook is enough to call it.
fn is_webhook(words: &[String]) -> bool {
    let last = words.last().map_or("", String::as_str);
    words.iter().any(|word| word.starts_with("webhook"))
        && (last == "id" || last.starts_with("webhook"))
}

/// The kind of secret that a name announces.
pub(super) fn kind(words: &[String]) -> Option<&'static str> {
    let has = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
    let starts = |any: &[&str]| {
        any.iter()
            .any(|start| words.iter().any(|word| word.starts_with(start)))
    };
    let ends = |end: &str| words.iter().any(|word| word.ends_with(end));
    let joined = words.concat();
    let password = words.iter().any(|word| is_password(word))
        || joined.contains("password")
        || joined.contains("motdepasse")
        || joined.ends_with("basicauth");
    let key = has(&["key", "keys"])
        || joined.ends_with("key") && !NO_KEY.iter().any(|word| joined.ends_with(word))
        || words
            .iter()
            .any(|word| word.ends_with("key") && !NO_KEY.contains(&word.as_str()))
        || FOREIGN_KEYS.iter().any(|end| ends(end));
    if starts(&["wifi", "wlan", "wpa"]) && (password || key) || ends("psk") && !has(&NETWORK_PSK) {
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
    } else if has(&["jwt", "bearer", "pat", "authorization"]) || ends("token") || ends("tokens") {
        Some("api-token")
    } else if key {
        Some("api-key")
    } else if has(&OPENING_CODES) {
        Some("password")
    } else if has(&[
        "credential",
        "credentials",
        "salt",
        "private",
        "tlv",
        "pskc",
        "irk",
        "geheimnis",
        "geheim",
    ]) || ends("secret")
        || ends("secrets")
        || is_webhook(words)
    {
        Some("other")
    } else {
        None
    }
}

fn is_password(word: &str) -> bool {
    let ends = PASSWORD_ENDS
        .iter()
        .chain(&FOREIGN_PASSWORDS)
        .chain(&["pw"]);
    let listed = ends.into_iter().any(|end| word.ends_with(end));
    (listed || matches!(word, "passwords" | "passwds")) && !NO_PASSWORD.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_digits_and_in_one_word() {
        for (name, expected) in [
            ("MQTT_PASS2", Some("password")),
            ("NASPASS", Some("password")),
            ("DBPASSWD1", Some("password")),
            ("nasPw", Some("password")),
            ("dbpw", Some("password")),
            ("PLEXPW", Some("password")),
            ("contraseña", Some("password")),
            ("MOT_DE_PASSE", Some("password")),
            ("mqttWachtwoord", Some("password")),
            ("WLAN_SCHLUESSEL", Some("wifi-key")),
            ("password_hash", Some("password")),
            ("WIFIPSK", Some("wifi-key")),
            ("wlanPasswort", Some("wifi-key")),
            ("apikey2", Some("api-key")),
            ("hueApiKey", Some("api-key")),
            ("HATOKEN", Some("api-token")),
            ("s3_secret2", Some("other")),
            ("vault_secret_id", Some("other")),
            ("garage_webhook_id", Some("other")),
            ("alarm_code", Some("password")),
            ("sim_pin", Some("password")),
            ("bridge_psk", Some("password")),
            ("Authorization", Some("api-token")),
            ("hotkey", None),
            ("bypass", None),
            ("keyboard", None),
        ] {
            let words = words_of(name);
            assert_eq!((kind(&words), plain(&words)), (expected, None), "{name}");
        }
        for name in [
            "tx_pin",
            "country_code",
            "code_on",
            "password_file",
            "PASSWORDFILE",
            "SSL_KEY_PATH",
            "public_key",
            "client_id",
            "WIFI_SSID",
            "token_lifetime",
            "mqtt_topic",
            "code_arm_required",
            "key_label",
            "key_battery",
            "unique_id",
            "IMAGE_SHA256",
            "git_commit",
            "commit_hash",
            "API_KEY_HEADER",
        ] {
            assert!(plain(&words_of(name)).is_some(), "{name}");
        }
    }
}
