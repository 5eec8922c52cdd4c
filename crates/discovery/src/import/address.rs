//! Addresses that are secrets: knowing one is enough to use it.

use crate::placeholder;

use super::form::{is_random, is_uuid};

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
const SERVICES: [(&str, &str); 24] = [
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
    ("outlook.office.com", "/webhook/"),
    ("outlook.live.com", "/owa/calendar/"),
    ("ntfy.sh", "/"),
    ("hooks.zapier.com", "/hooks/catch/"),
    ("make.com", "/"),
    ("api.day.app", "/"),
    ("", "/public-calendars/"),
    ("", "/api/push/"),
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

/// Ends of such names where more precedes: `X-Amz-Signature`, `camera_password`.
const PARAMETER_ENDS: [&str; 7] = [
    "password",
    "passwd",
    "pwd",
    "apikey",
    "secret",
    "signature",
    "token",
];

/// Names of the parts of a database's connection string that carry a secret.
const CONNECTION: [&str; 6] = [
    "password",
    "pwd",
    "accountkey",
    "sharedaccesskey",
    "sharedaccesssignature",
    "clientsecret",
];

/// The parts of an address.
struct Address<'a> {
    scheme: &'a str,
    login: Option<&'a str>,
    host: &'a str,
    path: &'a str,
    query: &'a str,
}

fn parts(value: &str) -> Option<Address<'_>> {
    let value = value.trim();
    let value = value.strip_prefix("jdbc:").unwrap_or(value);
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
        scheme,
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
    if is_connection(value) {
        return true;
    }
    let Some(address) = parts(value).filter(|_| !value.trim().contains(char::is_whitespace)) else {
        return carries_password(value) || value.split_whitespace().any(is_secret_word);
    };
    carries_password(value)
        || address.login.is_some_and(is_random)
        || is_key_of_host(&address)
        || of_a_service(&address)
        || in_parameters(address.query)
        || in_path(&address)
}

/// Whether a value says how a database is reached, with a password: `Server=db;Password=…;`, `host=db password=…`,
/// `user:…@tcp(db:3306)/name`.
fn is_connection(value: &str) -> bool {
    let pairs = |by: char| {
        let pairs: Vec<(&str, &str)> = value
            .split(by)
            .filter_map(|pair| pair.trim().split_once('='))
            .collect();
        pairs.len() > 1
            && pairs.iter().any(|(name, value)| {
                let name = name.trim().to_ascii_lowercase();
                CONNECTION.contains(&name.as_str()) && is_value(value.trim_matches(['\'', '"']))
            })
    };
    let of_go = value
        .split_once("@tcp(")
        .or_else(|| value.split_once("@unix("));
    let of_go = of_go
        .filter(|(login, _)| !login.contains(char::is_whitespace))
        .and_then(|(login, _)| login.split_once(':'))
        .is_some_and(|(_, password)| is_value(password));
    of_go
        || !value.contains("://") && !value.starts_with("--") && (pairs(';') || pairs(' '))
        || value.contains(".windows.net") && pairs(';')
}

/// Whether a key is where the host's name would, as Apprise writes it, or is the name of a camera's stream.
fn is_key_of_host(address: &Address<'_>) -> bool {
    let mut parts = address.host.split(':');
    let of_host = !address.host.contains('.') && parts.any(is_random);
    // UniFi Protect: anyone who knows the stream's name can see it.
    let (_, port) = address.host.rsplit_once(':').unwrap_or_default();
    let name = address.path.trim_start_matches('/');
    let of_stream = address.scheme.starts_with("rtsp")
        && matches!(port, "7441" | "7447")
        && name.len() >= 12
        && name.bytes().all(|b| b.is_ascii_alphanumeric());
    of_host || of_stream
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
        there && after.is_some_and(|key| *before == "/messages" || is_key(key))
    })
}

/// Whether the rest of a path may be a key, and no sample like `YOUR/WEBHOOK/URL` or `T000/B000/XXXX`.
fn is_key(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    path.len() >= 4
        && is_value(path)
        && path.contains(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && parts.next_back().is_some_and(|last| {
            is_value(last) && !last.to_ascii_lowercase().trim_matches('x').is_empty()
        })
}

/// `?pwd=…`, and `user=…_password=…` in a path, as some cameras have it.
fn in_parameters(text: &str) -> bool {
    let pairs = || {
        text.split(['&', ';', '#', '?'])
            .filter_map(|pair| pair.split_once('='))
    };
    // InfluxDB has `u` and `p`.
    let user = pairs().any(|(name, _)| name == "u");
    pairs().any(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let end = PARAMETER_ENDS
            .iter()
            .any(|end| name.ends_with(end) && name.len() > end.len() && !name.contains("page"));
        (end || PARAMETERS.contains(&name.as_str()) || user && name == "p")
            && is_value(value)
            && (name.len() > 4 || value.len() >= 4)
    })
}

fn in_path(address: &Address<'_>) -> bool {
    let source = CODE_HOSTS
        .iter()
        .any(|host| address.host == *host || address.host.ends_with(&format!(".{host}")));
    // A name that nobody else knows is the key of a hook, as n8n has it.
    let hook = ["/webhook/", "/hooks/"].iter().any(|before| {
        let after = address.path.split_once(before);
        after.is_some_and(|(_, name)| name.split('/').any(is_uuid))
    });
    hook || address.path.split('/').any(|segment| {
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
            "rtsps://192.168.1.1:7441/AbCdEf12GhIjKl34".to_owned(),
            "https://ntfy.sh/my-house-8fj3k2".to_owned(),
            "https://n8n.example/webhook/4fafc201-1fb5-459e-8fcc-c5c9c331914b".to_owned(),
            "https://cloud.example/remote.php/dav/public-calendars/AbCdEf12GhIjKl34".to_owned(),
            "https://bucket.example/f?X-Amz-Signature=0a1b2c3d4e5f6071".to_owned(),
            "http://influx:8086/write?db=ha&u=ha&p=geheim12".to_owned(),
            "jdbc:mysql://db/ha?user=ha&password=geheim12".to_owned(),
            "Server=db;User=ha;Password=geheim12;".to_owned(),
            "host=db user=ha password=geheim12".to_owned(),
            "ha:geheim12@tcp(db:3306)/ha".to_owned(),
            format!("tgram://123456789:AA{key}/12"),
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
            "https://hooks.slack.com/services/YOUR/WEBHOOK/URL",
            "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
            "https://ntfy.sh",
            "Server=db;Database=ha;Trusted_Connection=True;",
            "host=db user=ha password=$PASSWORD",
            "https://example.org/?next_page_token=abcdefgh",
            "hello",
            "http://nas:8080/x@y",
            "ask http://nas:port/ or me@example.org",
            "say http://example.org now",
        ] {
            assert!(!is_secret(address), "{address}");
        }
    }
}
