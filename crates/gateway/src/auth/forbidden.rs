//! Refusals for want of a right.

use axum::http::StatusCode;
use hearthkey_api::code;
use hearthkey_core::credential::CredentialId;
use hearthkey_core::role::{Act, Mandate};
use hearthkey_core::token::Token;

use crate::state::failure::Failure;

/// For an act that a role does not permit, at all or there.
pub(crate) fn forbidden(mandate: &Mandate, act: Act, environment: Option<&str>) -> Failure {
    let role = mandate.role();
    let place = environment.map_or(String::new(), |name| format!(" in {name}"));
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "Your role does not permit this.",
        format!("The role {role} has no right {act}{place}."),
        "Ask an owner of the home to do it, or to give you another role.",
    )
}

/// For what needs a second factor, asked with a token.
pub(crate) fn tokens_have_one_factor() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::SECOND_FACTOR_NEEDED,
        "A second factor is needed.",
        "This action shows a secret or grants rights, and a token is one factor, whatever its role.",
        "Do it in a browser or on the gateway's own machine. To read one credential, use a token with a grant for it. \
         On the command line: `hearthkey token create … --allow CREDENTIAL:read`.",
    )
}

/// For a credential that the gateway would replace by itself, added by a pattern.
pub(crate) fn not_by_itself(credential: &CredentialId) -> Failure {
    let CredentialId { environment, name } = credential;
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "The token does not permit this.",
        format!(
            "A token with a pattern cannot add {name} with automatic rotation: a bridge might create its values with a critical authority."
        ),
        format!(
            "Ask an operator for a token that names it. On the command line: \
             `hearthkey token create … --env {environment} --allow {name}:write`, or leave out `--rotate-automatically`."
        ),
    )
}

/// For a service that asks what is not open to services.
pub(crate) fn not_for_services() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "This is not open to services.",
        "A token with grants may use only the credentials it was granted, and itself.",
        "Ask an operator, or use a token with a role. On the command line: `hearthkey token create … --role ROLE`.",
    )
}

/// For a token that is used outside its environment.
pub(crate) fn elsewhere(token: &Token) -> Failure {
    let environment = token
        .power
        .environments()
        .first()
        .map_or("", |name| name.as_str());
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "The token does not permit this.",
        format!("The token {} is valid only in {environment}.", token.name),
        "Ask an operator for a token of that environment. On the command line: `hearthkey token create … --env ENVIRONMENT`.",
    )
}

pub(crate) fn second_factor_needed() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::SECOND_FACTOR_NEEDED,
        "A second factor is needed.",
        "This action shows a secret or grants rights, and none was used in the last five minutes.",
        "Use a passkey or a code, then try again.",
    )
}
