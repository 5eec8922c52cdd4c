//! Whether a caller may ask something over HTTPS, before anything is done: what is declared of the route, against what the
//! caller has. What is not declared is refused.

use axum::http::StatusCode;
use hearthkey_api::code;
use hearthkey_core::credential::{Action, CredentialId};
use hearthkey_core::role::{Act, Mandate, Scope};
use hearthkey_core::time::Timestamp;
use hearthkey_core::token::Token;

use crate::auth::caller::Visit;
use crate::auth::forbidden::{forbidden, second_factor_needed, tokens_have_one_factor};
use crate::http::policy::{People, Policy, Services, part};
use crate::state::failure::Failure;

/// Whether a person may ask this of this path, before anything is done. Where the environment is not in the path,
/// the handler asks again.
pub(crate) fn judge(
    visit: &Visit,
    policy: &Policy,
    (pattern, path): (&str, &str),
    now: Timestamp,
) -> Result<(), Failure> {
    let needs_second_factor = match policy.people {
        People::Nobody | People::Everybody | People::Visitors => return Err(not_for_people()),
        People::Oneself => false,
        People::OneselfAnew => true,
        People::Act(act) => {
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
    policy: &Policy,
    (pattern, path): (&str, &str),
) -> Result<(), Failure> {
    let People::Act(act) = policy.people else {
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
    match part(pattern, path, "{environment}") {
        Some(environment) if !reaches(scope, environment) => {
            Err(forbidden(mandate, act, Some(environment)))
        }
        _ => Ok(()),
    }
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
        "It is for services with a token, and for people on the gateway's own machine.",
        "Use the command line there.",
    )
}

fn people_judge_this() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "Only a person can do this.",
        "It admits a device, widens permissions, or accepts something unusual. Its effect outlives a token.",
        "Do it in a browser, or on the gateway's own machine.",
    )
}

fn not_for_tokens() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "This is not open to a token with a role.",
        "It is for a person in a browser, or for a service with grants to credentials.",
        "Do it in a browser, or with a token that has grants. On the command line: `hearthkey token create … --allow`.",
    )
}

/// What a route does with the credential that its path names, and which; nothing if it names none. What is no name is for
/// the handler to refuse.
pub(crate) fn asks_of_credential(
    policy: &Policy,
    pattern: &str,
    path: &str,
) -> Option<(Action, CredentialId)> {
    let Services::Granted(Some(action)) = policy.services else {
        return None;
    };
    let named = |name| part(pattern, path, name);
    let (bridge, key) = (named("{bridge}")?, named("{key}")?);
    let id = CredentialId {
        environment: named("{environment}")?.parse().ok()?,
        name: format!("{bridge}/{key}").parse().ok()?,
    };
    Some((action, id))
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
    use std::collections::BTreeSet;

    use axum::http::Method;
    use hearthkey_core::bearer::Errand;

    use super::*;
    use crate::http::policy::{Ends, Place};
    use crate::http::router::table;

    #[test]
    fn what_is_not_declared_is_for_nobody() {
        let table = table();
        assert_eq!(table.policy(&Method::DELETE, "/api/v1/people"), None);
        assert_eq!(table.policy(&Method::POST, "/api/v1/status"), None);
        let head = table.policy(&Method::HEAD, "/api/v1/status").unwrap();
        assert_eq!(head.people, People::Act(Act::HomeRead));
    }

    /// A resource whose path names it is reached by those alone whose environment it is in, or its use case judges it.
    #[test]
    fn what_a_path_names_has_an_environment_that_is_looked_at() {
        for (method, path, policy) in table().all() {
            let names = path.contains('{');
            let is_own = !matches!(policy.people, People::Act(_) | People::Nobody);
            let by_people_nobody_limits = path.starts_with("/api/v1/log/proof/");
            assert!(
                !names || is_own || by_people_nobody_limits || policy.place != Place::Anywhere,
                "{method} {path}"
            );
            let says = path.contains("{environment}");
            let in_path = matches!(policy.place, Place::InPath);
            assert!(!in_path || says, "{method} {path}");
        }
    }

    #[test]
    fn only_few_routes_are_open_to_everybody_or_to_a_token_past_its_end() {
        let table = table();
        let open: BTreeSet<&str> = table
            .all()
            .filter(|(_, _, policy)| policy.people == People::Everybody)
            .map(|(_, path, _)| path)
            .collect();
        let trust = |path: &&str| {
            path.starts_with("/.well-known/hearthkey/") || path.starts_with("/api/v1/trust/")
        };
        let others: Vec<_> = open.iter().filter(|path| !trust(path)).collect();
        assert_eq!(others, [&"/api/v1/health"]);
        assert!(table.all().all(|(method, _, policy)| {
            policy.people != People::Everybody || *method == Method::GET
        }));
        let renew: Vec<&str> = table
            .all()
            .filter(|(_, _, policy)| policy.services == Services::Itself(Errand::Renew))
            .map(|(_, path, _)| path)
            .collect();
        assert_eq!(renew, ["/api/v1/tokens/self/renew"]);
    }

    #[test]
    fn everything_that_ends_access_has_places_of_its_own() {
        for (method, path, policy) in table().all() {
            let words = [
                "revoke",
                "suspend",
                "retire",
                "end",
                "disconnect",
                "seal",
                "narrow",
            ];
            let last = path.rsplit('/').next().unwrap_or_default();
            let ends = matches!(policy.ends, Some(Ends::Access | Ends::AtBridge));
            assert!(!words.contains(&last) || ends, "{method} {path}");
        }
    }
}
