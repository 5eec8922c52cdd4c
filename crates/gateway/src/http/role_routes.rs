//! What people, and tokens with a role, may ask over HTTPS: each route's act. Everything that is not here is refused.

use crate::auth::forbidden::second_factor_needed;
use axum::http::{Method, StatusCode};
use hearthkey_api::code;
use hearthkey_core::role::{Act, Mandate, Scope};

use crate::auth::caller::Visit;
use crate::auth::forbidden::forbidden;
use crate::auth::forbidden::tokens_have_one_factor;
use crate::state::failure::Failure;

/// What a route asks of whoever has a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// That their mandate permits this.
    Act(Act),
    /// That they are who they are: it concerns nobody else, and no token.
    Oneself,
    /// The same, and a second factor: it changes how they log in.
    OneselfAnew,
}

/// What strangers may ask: to log in, and to take up an invitation.
const VISITORS: [&str; 9] = [
    "/api/v1/session/passkey/options",
    "/api/v1/session/passkey",
    "/api/v1/session/password",
    "/api/v1/session/recovery",
    "/api/v1/invitations/look",
    "/api/v1/invitations/passkey/options",
    "/api/v1/invitations/passkey",
    "/api/v1/invitations/password",
    "/api/v1/invitations/password/confirm",
];

/// Whether strangers may ask this.
pub(crate) fn is_for_visitors(method: &Method, pattern: Option<&str>) -> bool {
    *method == Method::POST && pattern.is_some_and(|pattern| VISITORS.contains(&pattern))
}

/// A credential's path, and what is done with it.
macro_rules! credential {
    ($verb:literal) => {
        concat!(
            "/api/v1/environments/{environment}/credentials/{bridge}/{key}",
            $verb
        )
    };
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;

/// One line for each route.
#[rustfmt::skip]
const ROUTES: &[(Method, &str, Asks)] = &[
    (GET,  "/api/v1/session", Asks::Oneself),
    (POST, "/api/v1/session/end", Asks::Oneself),
    (POST, "/api/v1/session/step-up/options", Asks::Oneself),
    (POST, "/api/v1/session/step-up/passkey", Asks::Oneself),
    (POST, "/api/v1/session/step-up/code", Asks::Oneself),
    (GET,  "/api/v1/sessions", Asks::Oneself),
    (POST, "/api/v1/sessions/{id}/end", Asks::Oneself),
    (GET,  "/api/v1/people/me", Asks::Oneself),
    (POST, "/api/v1/people/me/passkeys/options", Asks::OneselfAnew),
    (POST, "/api/v1/people/me/passkeys", Asks::OneselfAnew),
    (POST, "/api/v1/people/me/passkeys/{id}/end", Asks::OneselfAnew),
    (POST, "/api/v1/people/me/recovery-codes", Asks::OneselfAnew),
    (POST, "/api/v1/people/me/password", Asks::OneselfAnew),
    (POST, "/api/v1/people/me/password/confirm", Asks::OneselfAnew),
    (GET,  "/api/v1/people", Asks::Act(Act::PeopleRead)),
    (POST, "/api/v1/people", Asks::Act(Act::PeopleChange)),
    (POST, "/api/v1/people/{name}/invite", Asks::Act(Act::PeopleChange)),
    (POST, "/api/v1/people/{name}/change", Asks::Act(Act::PeopleChange)),
    (POST, "/api/v1/people/{name}/end", Asks::Act(Act::PeopleChange)),

    (GET,  "/api/v1/status", Asks::Act(Act::HomeRead)),
    (GET,  "/api/v1/openapi.json", Asks::Act(Act::HomeRead)),
    (POST, "/api/v1/seal", Asks::Act(Act::HomeSeal)),
    (POST, "/api/v1/clock/confirm", Asks::Act(Act::ClockConfirm)),
    (GET,  "/api/v1/profiles", Asks::Act(Act::HomeRead)),
    (GET,  "/api/v1/profiles/{name}", Asks::Act(Act::HomeRead)),
    (POST, "/api/v1/profiles", Asks::Act(Act::ProfileChange)),
    (GET,  "/api/v1/environments", Asks::Act(Act::HomeRead)),
    (POST, "/api/v1/environments", Asks::Act(Act::EnvironmentAdd)),

    (POST, "/api/v1/claims", Asks::Act(Act::DeviceClaim)),
    (GET,  "/api/v1/devices", Asks::Act(Act::DeviceRead)),
    (GET,  "/api/v1/devices/summary", Asks::Act(Act::DeviceRead)),
    (POST, "/api/v1/devices/preview", Asks::Act(Act::DeviceChange)),
    (POST, "/api/v1/devices/bulk", Asks::Act(Act::DeviceChange)),
    (GET,  "/api/v1/devices/{id}", Asks::Act(Act::DeviceRead)),
    (GET,  "/api/v1/devices/{id}/provenance", Asks::Act(Act::DeviceRead)),
    (POST, "/api/v1/devices/{id}/suspend", Asks::Act(Act::DeviceChange)),
    (POST, "/api/v1/devices/{id}/resume", Asks::Act(Act::DeviceChange)),
    (POST, "/api/v1/devices/{id}/retire", Asks::Act(Act::DeviceChange)),
    (POST, "/api/v1/devices/{id}/rotate", Asks::Act(Act::DeviceChange)),
    (POST, "/api/v1/devices/{id}/revoke", Asks::Act(Act::DeviceChange)),
    (POST, "/api/v1/devices/{id}/approve", Asks::Act(Act::DeviceApprove)),
    (GET,  "/api/v1/devices/{id}/rights", Asks::Act(Act::DeviceRead)),
    (POST, "/api/v1/devices/{id}/narrow", Asks::Act(Act::DeviceChange)),
    (POST, "/api/v1/devices/{id}/widen", Asks::Act(Act::DeviceApprove)),

    (GET,  "/api/v1/credentials", Asks::Act(Act::CredentialRead)),
    (POST, "/api/v1/credentials", Asks::Act(Act::CredentialWrite)),
    (GET,  credential!(""), Asks::Act(Act::CredentialRead)),
    (POST, credential!("/change"), Asks::Act(Act::CredentialWrite)),
    (POST, credential!("/lease"), Asks::Act(Act::CredentialLease)),
    (POST, credential!("/rotate"), Asks::Act(Act::CredentialRotate)),
    (POST, credential!("/confirm"), Asks::Act(Act::CredentialRotate)),
    (POST, credential!("/rollback"), Asks::Act(Act::CredentialRotate)),
    (POST, credential!("/retire"), Asks::Act(Act::CredentialRetire)),
    (POST, "/api/v1/environments/{environment}/reveal", Asks::Act(Act::CredentialReveal)),
    (GET,  "/api/v1/environments/{environment}/rewrap", Asks::Act(Act::CredentialRead)),
    (POST, "/api/v1/environments/{environment}/rewrap", Asks::Act(Act::CredentialRetire)),
    (GET,  "/api/v1/leases", Asks::Act(Act::CredentialRead)),
    (POST, "/api/v1/leases/{lease}/end", Asks::Act(Act::CredentialRead)),
    (GET,  "/api/v1/bridges", Asks::Act(Act::BridgeRead)),
    (POST, "/api/v1/bridges", Asks::Act(Act::BridgeChange)),
    (POST, "/api/v1/environments/{environment}/bridges/{name}/test", Asks::Act(Act::BridgeChange)),
    (POST, "/api/v1/environments/{environment}/bridges/{name}/disconnect", Asks::Act(Act::BridgeChange)),
    (GET,  "/api/v1/tokens", Asks::Act(Act::TokenRead)),
    (POST, "/api/v1/tokens", Asks::Act(Act::TokenCreate)),
    (GET,  "/api/v1/tokens/{name}", Asks::Act(Act::TokenRead)),
    (POST, "/api/v1/tokens/{name}/renew", Asks::Act(Act::TokenCreate)),
    (POST, "/api/v1/tokens/{name}/reauthorize", Asks::Act(Act::TokenCreate)),
    (POST, "/api/v1/tokens/{name}/revoke", Asks::Act(Act::TokenEnd)),
    (GET,  "/api/v1/findings", Asks::Act(Act::FindingRead)),
    (GET,  "/api/v1/posture", Asks::Act(Act::FindingRead)),
    (POST, "/api/v1/findings/{id}/accept", Asks::Act(Act::FindingAccept)),
    (POST, "/api/v1/findings/{id}/reopen", Asks::Act(Act::FindingAccept)),
    (POST, "/api/v1/findings/{id}/resolve", Asks::Act(Act::FindingAccept)),
    (POST, "/api/v1/manifest/check", Asks::Act(Act::CredentialRead)),

    (GET,  "/api/v1/overview", Asks::Act(Act::HomeRead)),
    (GET,  "/api/v1/events", Asks::Act(Act::HomeRead)),
    (GET,  "/api/v1/log/records", Asks::Act(Act::LogRead)),
    (GET,  "/api/v1/log/search", Asks::Act(Act::LogRead)),
    (GET,  "/api/v1/log/histogram", Asks::Act(Act::LogRead)),
    (GET,  "/api/v1/log/verified", Asks::Act(Act::LogRead)),
    (GET,  "/api/v1/log/checkpoint", Asks::Act(Act::LogRead)),
    (GET,  "/api/v1/log/key", Asks::Act(Act::HomeRead)),
    (GET,  "/api/v1/log/proof/{seq}", Asks::Act(Act::LogRead)),
    (POST, "/api/v1/log/accept", Asks::Act(Act::LogAccept)),
];

/// Routes that are not for people in a browser: what programs report and ask for, and what a sealed gateway answers.
#[cfg(test)]
const NOT_FOR_PEOPLE: &[&str] = &[
    "/api/v1/credentials/marks",
    "/api/v1/findings",
    "/api/v1/people/setup-link",
    "/api/v1/projects/{place}/retire",
    "/api/v1/tokens/self",
    "/api/v1/tokens/self/renew",
    "/api/v1/unseal",
];

/// What a route asks of a person; none if it is not for people.
pub(crate) fn asked_by(method: &Method, pattern: &str) -> Option<Asks> {
    let method = if *method == Method::HEAD {
        &GET
    } else {
        method
    };
    ROUTES
        .iter()
        .find(|(listed, path, _)| listed == method && *path == pattern)
        .map(|(_, _, asks)| *asks)
}

/// Whether a person may ask this of this path, before anything is done. Where the environment is not in the path,
/// the handler asks again.
pub(crate) fn judge(
    visit: &Visit,
    asks: Option<Asks>,
    pattern: &str,
    path: &str,
    now: hearthkey_core::time::Timestamp,
) -> Result<(), Failure> {
    let needs_second_factor = match asks {
        None => return Err(not_for_people()),
        Some(Asks::Oneself) => false,
        Some(Asks::OneselfAnew) => true,
        Some(Asks::Act(act)) => {
            judge_mandate(&visit.person.mandate, act, pattern, path)?;
            act.needs_second_factor()
        }
    };
    if needs_second_factor && !visit.session.is_fresh(now) {
        return Err(second_factor_needed());
    }
    Ok(())
}

/// The same of a token with a role. What needs a second factor, or a person, is not for tokens, whatever their role.
pub(crate) fn judge_token(
    mandate: &Mandate,
    asks: Option<Asks>,
    pattern: &str,
    path: &str,
) -> Result<(), Failure> {
    let Some(Asks::Act(act)) = asks else {
        return Err(not_for_tokens());
    };
    judge_mandate(mandate, act, pattern, path)?;
    match act {
        _ if act.needs_second_factor() => Err(tokens_have_one_factor()),
        _ if act.needs_a_person() => Err(people_judge_this()),
        _ => Ok(()),
    }
}

/// Whether a mandate permits an act, in the environment that the path names if it names one.
fn judge_mandate(mandate: &Mandate, act: Act, pattern: &str, path: &str) -> Result<(), Failure> {
    let scope = mandate.scope(act);
    let scope = scope.ok_or_else(|| forbidden(mandate, act, None))?;
    match named_environment(pattern, path) {
        Some(environment) if !reaches(scope, environment) => {
            Err(forbidden(mandate, act, Some(environment)))
        }
        _ => Ok(()),
    }
}

/// The environment that a path names. The pattern is the one that the router found.
fn named_environment<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let mut segments = pattern.split('/').zip(path.split('/'));
    segments
        .find(|(name, _)| *name == "{environment}")
        .map(|(_, value)| value)
}

fn reaches(scope: Scope<'_>, environment: &str) -> bool {
    match scope {
        Scope::All => true,
        Scope::These(these) => these.iter().any(|name| name.as_str() == environment),
    }
}

fn not_for_people() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "This is not open to people in a browser.",
        "It is for services with a token, or for whoever is on the gateway's own machine.",
        "Use the command line there.",
    )
}

fn people_judge_this() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "This is for a person to judge.",
        "It lets a device in, widens what devices may do, or says that something unusual is as it should be; that outlives a token.",
        "Do it in a browser, or on the gateway's own machine.",
    )
}

fn not_for_tokens() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "This is not open to a token with a role.",
        "It concerns a person in a browser, or what a service does with credentials that it was granted.",
        "Do it in a browser, or with a token that has grants: `hearthkey token create … --allow`.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_of_the_contract_is_for_people_or_said_not_to_be() {
        let contract = serde_json::to_value(crate::openapi()).unwrap();
        let mut missing = Vec::new();
        for (path, methods) in contract["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let method: Method = method.to_uppercase().parse().unwrap();
                let public = crate::http::service_routes::open_to(&method, Some(path))
                    == crate::http::service_routes::Open::Everybody;
                let listed = asked_by(&method, path).is_some()
                    || is_for_visitors(&method, Some(path))
                    || public;
                if !listed && !NOT_FOR_PEOPLE.contains(&path.as_str()) {
                    missing.push(format!("{method} {path}"));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn each_listed_route_is_in_the_contract() {
        let contract = serde_json::to_value(crate::openapi()).unwrap();
        for (method, path, _) in ROUTES {
            let method = method.as_str().to_lowercase();
            let served =
                *path == "/api/v1/openapi.json" || contract["paths"][path][&method].is_object();
            assert!(served, "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_listed_is_for_nobody() {
        assert_eq!(asked_by(&Method::DELETE, "/api/v1/people"), None);
        assert_eq!(asked_by(&POST, "/api/v1/status"), None);
        assert_eq!(
            asked_by(&Method::HEAD, "/api/v1/status"),
            Some(Asks::Act(Act::HomeRead))
        );
        assert!(!is_for_visitors(&GET, Some("/api/v1/session/password")));
    }

    #[test]
    fn an_environment_is_read_where_the_pattern_has_it() {
        let pattern = "/api/v1/environments/{environment}/reveal";
        let path = "/api/v1/environments/lab/reveal";
        assert_eq!(named_environment(pattern, path), Some("lab"));
        assert_eq!(
            named_environment("/api/v1/devices/{id}", "/api/v1/devices/lab"),
            None
        );
    }
}
