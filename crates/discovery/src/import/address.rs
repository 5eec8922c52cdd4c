//! Addresses that are secrets: knowing one is enough to use it.

use crate::placeholder;

use super::judge::{is_random, is_uuid};

/// Names of parameters that carry a secret.
const PARAMETERS: [&str; 22] = [
    "password",
    "passwd",
    "pass",
    "pwd",
    "pw",
    "token",
    "access_token",
    "auth_token",
    "auth",
    "key",
    "apikey",
    "api_key",
    "api-key",
    "secret",
    "client_secret",
    "sig",
    "signature",
    "psk",
    "loginpas",
    "userpwd",
    "code",
    "k",
];

/// Services whose addresses hold a key, by a part of the host and a part of the path before it.
const SERVICES: [(&str, &str); 16] = [
    ("discord.com", "/api/webhooks/"),
    ("discordapp.com", "/api/webhooks/"),
    ("hooks.slack.com", "/services/"),
    ("hooks.slack.com", "/workflows/"),
    ("hooks.slack.com", "/triggers/"),
    ("hooks.nabu.casa", "/"),
    ("webhook.office.com", "/"),
    ("maker.ifttt.com", "/use/"),
    ("maker.ifttt.com", "/key/"),
    ("api.telegram.org", "/bot"),
    ("chat.googleapis.com", "/messages"),
    ("hc-ping.com", "/"),
    ("outlook.office365.com", "/owa/calendar/"),
    ("caldav.icloud.com", "/published/"),
    ("calendar.google.com", "/private-"),
    ("", "/api/webhook/"),
];

/// Hosts of source code, whose addresses name versions by long numbers.
const CODE_HOSTS: [&str; 6] = [
    "github.com",
    "githubusercontent.com",
    "gitlab.com",
    "codeberg.org",
    "docker.io",
    "ghcr.io",
];

/// The parts of an address.
struct Address<'a> {
    login: Option<&'a str>,
    host: &'a str,
    path: &'a str,
    query: &'a str,
}

fn parts(value: &str) -> Option<Address<'_>> {
    let value = value.trim();
    let (scheme, rest) = value.split_once("://")?;
    let named = !scheme.is_empty()
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !named {
        return None;
    }
    let end_from = |at: usize| {
        let end = rest[at..].find(['/', '?', '#', ' ']);
        end.map_or(rest.len(), |end| at + end)
    };
    let mut end = end_from(0);
    // A password that was not percent-encoded: what follows the colon is no port.
    if let Some((_, port)) = rest[..end].rsplit_once(':')
        && !rest[..end].contains(['@', '['])
        && !port.bytes().all(|b| b.is_ascii_digit())
        && let Some(at) = rest.find('@').filter(|at| !rest[..*at].contains(' '))
    {
        end = end_from(at);
    }
    let (authority, rest) = rest.split_at(end);
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let (path, query) = match rest.find(['?', '#']) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, ""),
    };
    Some(Address {
        login,
        host,
        path,
        query,
    })
}

/// Whether a value is an address with a password in it: `scheme://user:password@host`.
pub(super) fn carries_password(value: &str) -> bool {
    let password = parts(value).and_then(|address| address.login?.split_once(':'));
    password.is_some_and(|(_, password)| is_value(password))
}

/// Whether a value is an address that is a secret itself: a password or a key is in it, wherever.
pub(super) fn is_secret(value: &str) -> bool {
    let Some(address) = parts(value).filter(|_| !value.trim().contains(char::is_whitespace)) else {
        return carries_password(value) || value.split_whitespace().any(is_secret_word);
    };
    carries_password(value)
        || address.login.is_some_and(is_random)
        || of_a_service(&address)
        || in_parameters(address.query)
        || in_path(&address)
}

/// Whether a word of a command or of a sentence is such an address.
fn is_secret_word(word: &str) -> bool {
    let word = word.trim_matches(['"', '\'', '(', ')', ',', ';']);
    let address = parts(word);
    carries_password(word)
        || address.is_some_and(|address| of_a_service(&address) || in_parameters(address.query))
}

/// Whether a text can be a value: no placeholder, no template.
fn is_value(text: &str) -> bool {
    let template = ["{", "}", "<", ">", "%("]
        .iter()
        .any(|mark| text.contains(mark));
    let variable = text.starts_with('$') || text.starts_with('%') && text.ends_with('%');
    placeholder::reason(text).is_none() && !template && !variable
}

fn of_a_service(address: &Address<'_>) -> bool {
    let host = address
        .host
        .split(':')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    SERVICES.iter().any(|(service, before)| {
        let there = service.is_empty()
            || host == *service
            || host.ends_with(&format!(".{service}"))
            || host.ends_with(&format!("-{service}"));
        let after = address
            .path
            .find(before)
            .map(|at| &address.path[at + before.len()..]);
        there && after.is_some_and(|key| *before == "/messages" || key.len() >= 4 && is_value(key))
    })
}

/// `?pwd=…`, and `user=…_password=…` in a path, as some cameras have it.
fn in_parameters(text: &str) -> bool {
    text.split(['&', ';', '#', '?']).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or_default();
        let name = name.to_ascii_lowercase();
        PARAMETERS.contains(&name.as_str())
            && is_value(value)
            && (name.len() > 4 || value.len() >= 4)
    })
}

fn in_path(address: &Address<'_>) -> bool {
    let source = CODE_HOSTS
        .iter()
        .any(|host| address.host == *host || address.host.ends_with(&format!(".{host}")));
    address.path.split('/').any(|segment| {
        let camera = segment.split(['_', '&', ';']).any(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or_default();
            PARAMETERS[..4].contains(&name.to_ascii_lowercase().as_str()) && is_value(value)
        });
        let digits = !source
            && segment
                .split(['-', '.', '~', ','])
                .any(|part| is_random(part) && is_value(part));
        camera || digits && !is_uuid(segment)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_key_or_a_password_in_it_is_a_secret() {
        let key = "q8Zr2mT0vX4kLp7Yc1Wd9sB3nH6jK5fG";
        for address in [
            "postgres://ha:s3cr3tpw@db/ha".to_owned(),
            "rtsp://admin:Sommer24@192.168.1.20:554/h264".to_owned(),
            format!("https://discord.com/api/webhooks/123456789012345678/{key}"),
            format!("https://hooks.slack.com/services/T02Q8/B03T0/{key}"),
            "http://192.168.1.20/snapshot.cgi?user=admin&pwd=Sommer2024".to_owned(),
            "rtsp://192.168.1.20/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp".to_owned(),
            "https://calendar.example/ical/private-0a1b2c3d4e5f60718293a4b5c6d7e8f9/basic.ics"
                .to_owned(),
            "https://p52-caldav.icloud.com/published/2/MTIzNDU2Nzg5".to_owned(),
            "https://home.example/api/webhook/garage-door".to_owned(),
            "https://hooks.nabu.casa/gAAAAABe".to_owned(),
            format!("https://{key}@example.org/feed"),
            format!("https://example.org/feed#token={key}"),
            format!("https://nas.example/s/{key}"),
            "rtsp://admin:pa#ss/wd1@192.168.1.20:554/h264".to_owned(),
            format!("curl -s 'http://admin:{}@192.168.1.5/reboot'", "Sommer24x"),
            "-rtsp_transport tcp -i rtsp://admin:Sommer24x@192.168.1.20:554/h264".to_owned(),
        ] {
            assert!(is_secret(&address), "{address}");
        }
        for address in [
            "http://192.168.1.20:8123",
            "https://example.org/a/b?page=2&size=20",
            "rtsp://{user}:{password}@192.168.1.20/",
            "http://cam/snapshot?pwd=${CAM_PWD}",
            "http://cam/snapshot?pwd=%PASSWORD%",
            "mqtt://user:$password@broker",
            "https://github.com/esphome/esphome/commit/0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
            "https://example.org/1c8ae1b0-6b2e-4a7f-9c3d-5e6f70819203/image.png",
            "https://discord.com/api/webhooks/<id>/<token>",
            "hello",
            "http://nas:8080/x@y",
            "ask http://nas:port/ or me@example.org",
            "say http://example.org now",
        ] {
            assert!(!is_secret(address), "{address}");
        }
    }
}
