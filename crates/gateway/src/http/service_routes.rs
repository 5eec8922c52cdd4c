//! What services may ask over HTTPS, with what they were granted. Everything that is not here is refused there.

use axum::http::Method;
use hearthkey_core::bearer::Errand;
use hearthkey_core::credential::{Action, CredentialId};
use hearthkey_core::token::Token;

/// Who may ask over a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// Everybody.
    Everybody,
    /// The bearer of a token, on this errand.
    Service(Errand),
    /// Operators, who are on the socket.
    Nobody,
}

/// What everybody may ask: that the gateway is there, and what to trust. Nothing here is a secret.
const PUBLIC: [&str; 9] = [
    "/api/v1/health",
    "/api/v1/trust/bundle",
    "/api/v1/trust/crl/{environment}",
    "/.well-known/hearthkey/root.pem",
    "/.well-known/hearthkey/root.crt",
    "/.well-known/hearthkey/fingerprint",
    "/.well-known/hearthkey/crl/{environment}",
    "/.well-known/hearthkey/root.crl",
    "/.well-known/hearthkey/server.crl",
];

/// The token that asks, as it sees itself.
const SELF: &str = "/api/v1/tokens/self";
/// The renewal of the token that asks: the one thing that it may do after its end.
const RENEW: &str = "/api/v1/tokens/self/renew";

/// A credential's path, and what is done with it.
macro_rules! concat_path {
    ($verb:literal) => {
        concat!(
            "/api/v1/environments/{environment}/credentials/{bridge}/{key}",
            $verb
        )
    };
}

const CREDENTIAL: &str = concat_path!("");

/// What services may ask. Each handler asks `Caller::may` for itself besides.
const SERVICE: [(Method, &str); 17] = [
    (Method::GET, SELF),
    (Method::POST, RENEW),
    (Method::GET, "/api/v1/credentials"),
    (Method::POST, "/api/v1/credentials"),
    (Method::POST, "/api/v1/credentials/marks"),
    (Method::GET, CREDENTIAL),
    (Method::POST, concat_path!("/change")),
    (Method::POST, concat_path!("/lease")),
    (Method::POST, concat_path!("/rotate")),
    (Method::POST, concat_path!("/confirm")),
    (Method::POST, concat_path!("/rollback")),
    (Method::POST, "/api/v1/environments/{environment}/reveal"),
    (Method::GET, "/api/v1/leases"),
    (Method::POST, "/api/v1/leases/{lease}/end"),
    (Method::POST, "/api/v1/manifest/check"),
    (Method::GET, "/api/v1/findings"),
    (Method::POST, "/api/v1/findings"),
];

/// What a route does with the credential that its path names, and which; nothing if it names none. What is none of
/// these, and what is no name, is for the handler to refuse.
pub(crate) fn asks_of_credential(
    method: &Method,
    pattern: &str,
    path: &str,
) -> Option<(Action, CredentialId)> {
    let verb = pattern.strip_prefix(CREDENTIAL)?;
    let action = match (method, verb) {
        (&Method::GET | &Method::HEAD, "") => Action::List,
        (&Method::POST, "/change") => Action::Write,
        (&Method::POST, "/lease") => Action::Lease,
        (&Method::POST, "/rotate" | "/confirm" | "/rollback") => Action::Rotate,
        _ => return None,
    };
    let mut named = pattern
        .split('/')
        .zip(path.split('/'))
        .filter(|(name, _)| name.starts_with('{'))
        .map(|(_, value)| value);
    let (environment, bridge, key) = (named.next()?, named.next()?, named.next()?);
    Some((
        action,
        CredentialId {
            environment: environment.parse().ok()?,
            name: format!("{bridge}/{key}").parse().ok()?,
        },
    ))
}

/// Who may ask this over HTTPS. The pattern is the one that the router found, so that no spelling
/// of a path means one thing here and another there; none is a path that nobody serves.
pub(crate) fn open_to(method: &Method, pattern: Option<&str>) -> Open {
    // The answer to HEAD is that to GET without its body.
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let Some(pattern) = pattern else {
        return Open::Nobody;
    };
    if *method == Method::GET && PUBLIC.contains(&pattern) {
        return Open::Everybody;
    }
    let listed = SERVICE
        .iter()
        .any(|(listed, path)| listed == method && *path == pattern);
    match listed {
        true if pattern == RENEW => Open::Service(Errand::Renew),
        true => Open::Service(Errand::Use),
        false => Open::Nobody,
    }
}

/// Whether it concerns the token that asks, and nothing else: whatever a token may do, it may do this.
pub(crate) fn is_about_itself(pattern: &str) -> bool {
    [SELF, RENEW].contains(&pattern)
}

/// Whether a path that names an environment names the token's.
pub(crate) fn is_in_environment(pattern: &str, path: &str, token: &Token) -> bool {
    let mut segments = pattern.split('/').zip(path.split('/'));
    let named = token.power.environments();
    let ours = |value: &str| named.iter().any(|name| name.as_str() == value);
    segments.all(|(name, value)| name != "{environment}" || ours(value))
}

#[cfg(test)]
mod tests {
    use hearthkey_core::grant::Grant;
    use hearthkey_core::id::{Fingerprint, TokenId};
    use hearthkey_core::power::Power;
    use hearthkey_core::time::{Span, Timestamp};
    use hearthkey_core::token::{Binding, TokenRequest};

    use super::*;

    #[test]
    fn what_is_not_listed_is_open_to_nobody() {
        use Open::{Everybody, Nobody, Service};
        let (get, post) = (&Method::GET, &Method::POST);
        for (method, pattern, open) in [
            (get, Some("/api/v1/health"), Everybody),
            (&Method::HEAD, Some("/api/v1/health"), Everybody),
            (post, Some("/api/v1/health"), Nobody),
            (get, Some("/api/v1/tokens/self"), Service(Errand::Use)),
            (
                post,
                Some("/api/v1/tokens/self/renew"),
                Service(Errand::Renew),
            ),
            (post, Some("/api/v1/tokens/{name}/renew"), Nobody),
            (get, Some("/api/v1/tokens"), Nobody),
            (&Method::DELETE, Some("/api/v1/credentials"), Nobody),
            (post, Some("/api/v1/seal"), Nobody),
            (get, None, Nobody),
        ] {
            assert_eq!(open_to(method, pattern), open, "{method} {pattern:?}");
        }
    }

    #[test]
    fn each_route_about_a_credential_asks_for_an_action_on_it() {
        let asks = |method: &Method, verb: &str, name: &str| {
            let pattern = format!("{CREDENTIAL}{verb}");
            let path = format!("/api/v1/environments/lab/credentials/{name}{verb}");
            asks_of_credential(method, &pattern, &path)
        };
        for (method, path) in SERVICE {
            let Some(verb) = path.strip_prefix(CREDENTIAL) else {
                continue;
            };
            let (_, id) = asks(&method, verb, "hue/key").expect(path);
            assert_eq!(id.to_string(), "lab/hue/key");
            assert_eq!(asks(&method, verb, "hue/k%65y"), None);
        }
        let own = asks(&Method::POST, "/rollback", "hue/key").map(|(action, _)| action);
        assert_eq!(own, Some(Action::Rotate));
        assert_eq!(asks(&Method::POST, "/retire", "hue/key"), None);
    }

    #[test]
    fn a_path_in_another_environment_is_not_the_tokens() {
        let grant: Grant = "*:read".parse().unwrap();
        let request = TokenRequest {
            name: "ci".parse().unwrap(),
            power: Power::Grants {
                environment: "lab".parse().unwrap(),
                grants: vec![grant].try_into().unwrap(),
            },
            owner: "anna".into(),
            purpose: "tests".into(),
            made_by: "uid:0".into(),
            binding: Binding::Device("lamp".parse().unwrap()),
            ttl: Span::hours(1),
            ceiling: Span::days(1),
        };
        let id = TokenId::from_random([1; 8]);
        let token = request.grant(id, Fingerprint([2; 32]), Timestamp::from_s(0));
        let token = token.unwrap();
        let pattern = "/api/v1/environments/{environment}/reveal";
        for (environment, ours) in [
            ("lab", true),
            ("home", false),
            ("%6cab", false),
            ("", false),
        ] {
            let path = format!("/api/v1/environments/{environment}/reveal");
            assert_eq!(is_in_environment(pattern, &path, &token), ours, "{path}");
        }
        assert!(is_in_environment(
            "/api/v1/credentials",
            "/api/v1/credentials",
            &token
        ));
    }
}
