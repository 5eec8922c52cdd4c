//! The contract as it is published: what the handlers say, with a name for each operation and the
//! one shape of everything that goes wrong.

use hearthkey_api::Problem;
use utoipa::PartialSchema;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{
    Components, ContentBuilder, HttpMethod, OpenApi, PathItem, Ref, RefOr, Required,
    ResponseBuilder,
};

use crate::http::middleware::idempotency::{KEY, KEY_MAX_BYTES};
use crate::http::policy::{Policy, Table};

/// The name of an operation: its method, and the words of its path.
fn operation_id(method: &HttpMethod, path: &str) -> String {
    let method = match method {
        HttpMethod::Get => "get",
        HttpMethod::Post => "post",
        HttpMethod::Put => "put",
        HttpMethod::Delete => "delete",
        HttpMethod::Patch => "patch",
        HttpMethod::Head => "head",
        HttpMethod::Options => "options",
        HttpMethod::Trace => "trace",
    };
    let path = path.trim_start_matches("/api/v1");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    std::iter::once(method)
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

fn operations(item: &mut PathItem) -> [(HttpMethod, &mut Option<Operation>); 2] {
    [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Post, &mut item.post),
    ]
}

/// The headers that a request may carry whatever its handler reads.
fn headers_of(method: &HttpMethod, policy: Option<&Policy>) -> Vec<Parameter> {
    if *method != HttpMethod::Post {
        return Vec::new();
    }
    let header = |name: &str, says: &str, bytes: Option<usize>| {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(bytes)
            .build();
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(says))
            .schema(Some(text))
            .build()
    };
    let mut headers = Vec::new();
    if policy.is_some_and(|policy| policy.thing().is_some() || policy.names_in_body) {
        let says = "The `ETag` that was read; refused with 412 if the thing has changed since";
        headers.push(header("if-match", says, None));
    }
    if policy.is_some_and(|policy| policy.creates) {
        let says = "Names the request: a repeat within an hour gets the same response";
        headers.push(header(KEY.as_str(), says, Some(KEY_MAX_BYTES)));
    }
    headers
}

/// What goes wrong, by the status that says so (RFC 9110 §15), and what it is called in the contract.
#[rustfmt::skip] // A table.
const FAILURES: [(&str, &str, &str); 14] = [
    ("400", "Invalid", "The request is not valid"),
    ("401", "Unknown", "The caller is not authenticated: there is no session and no valid token"),
    ("403", "Forbidden", "The caller may not, or must use a second factor first"),
    ("404", "Missing", "There is no such thing"),
    ("408", "Slow", "The body took too long"),
    ("409", "Refused", "A rule forbids it in the current state"),
    ("412", "Changed", "It has changed since it was read"),
    ("413", "TooLong", "The body is too long"),
    ("415", "NotJson", "The body is not declared as JSON"),
    ("421", "Misdirected", "The request is for another host"),
    ("422", "Unfit", "A part of the body has the wrong form, or the Idempotency-Key belongs to another request"),
    ("429", "TooOften", "Too many requests"),
    ("502", "Bridge", "A bridge failed or could not be reached"),
    ("503", "Unavailable", "The gateway is sealed or busy, or its storage fails"),
];

/// The ways in which an operation can fail, by their statuses.
fn failures_of(method: &HttpMethod, path: &str, operation: &Operation) -> Vec<&'static str> {
    let asks = |name: &str| {
        let parameters = operation.parameters.iter().flatten();
        parameters
            .into_iter()
            .any(|one| matches!(one, RefOr::T(one) if one.name == name))
    };
    let is_write = *method == HttpMethod::Post;
    let can_be = |status: &str| match status {
        "400" => is_write || operation.parameters.is_some(),
        "404" => is_write || path.contains('{') || asks("environment"),
        "408" | "409" | "413" => is_write,
        "412" => asks("if-match"),
        "415" | "422" => operation.request_body.is_some(),
        "502" => is_write && (path.contains("/bridges") || path.contains("/credentials")),
        _ => true,
    };
    let statuses = FAILURES.iter().map(|(status, ..)| *status);
    statuses.filter(|status| can_be(status)).collect()
}

/// Finishes what the handlers say of themselves.
pub(crate) fn finished(mut contract: OpenApi, table: &Table) -> OpenApi {
    let components = contract.components.get_or_insert_with(Components::new);
    components
        .schemas
        .insert("Problem".into(), Problem::schema());
    for (_, name, says) in FAILURES {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let problem = ResponseBuilder::new()
            .description(format!("{says} (RFC 9457)"))
            .content("application/problem+json", content)
            .build();
        components.responses.insert(name.into(), RefOr::T(problem));
    }
    for (path, item) in &mut contract.paths.paths {
        for (method, operation) in operations(item) {
            let Some(operation) = operation else { continue };
            operation.operation_id = Some(operation_id(&method, path));
            let headers = headers_of(&method, table.of_operation(&method, path));
            if !headers.is_empty() {
                let parameters = operation.parameters.get_or_insert_default();
                parameters.extend(headers.into_iter().map(RefOr::T));
            }
            let can_be = failures_of(&method, path, operation);
            let named = FAILURES
                .iter()
                .filter(|(status, ..)| can_be.contains(status));
            for (status, name, _) in named {
                let failure = RefOr::Ref(Ref::from_response_name(*name));
                let responses = &mut operation.responses.responses;
                responses.insert((*status).into(), failure);
            }
        }
    }
    contract
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_operation_has_a_name_of_its_own_and_says_how_it_fails() {
        let contract = serde_json::to_value(crate::openapi()).unwrap();
        let mut names = BTreeSet::new();
        let mut operations = 0;
        for methods in contract["paths"].as_object().unwrap().values() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(["get", "post"].contains(&method.as_str()), "{method}");
                names.insert(operation["operationId"].as_str().unwrap().to_owned());
                let ways = operation["responses"].as_object().unwrap();
                assert!(
                    ways.contains_key("403") && !ways.contains_key("500"),
                    "{operation}"
                );
                assert!(!ways.contains_key("default"), "that would be any status");
                operations += 1;
            }
        }
        assert_eq!(names.len(), operations);
        assert!(contract["components"]["schemas"]["Problem"].is_object());
    }

    #[test]
    fn a_name_is_made_of_method_and_path() {
        let path = "/api/v1/devices/{id}/revoke";
        let name = operation_id(&HttpMethod::Post, path);
        assert_eq!(name, "post_devices_id_revoke");
    }
}
