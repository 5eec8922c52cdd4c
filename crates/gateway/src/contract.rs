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

use crate::repeats::{CREATIONS, KEY, KEY_MAX_BYTES};
use crate::versions::THINGS;

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
fn headers_of(method: &HttpMethod, path: &str) -> Vec<Parameter> {
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
    let has_version = |(root, _): &(&str, &str)| path.starts_with(&format!("{root}/"));
    if THINGS.iter().any(has_version) || path == "/api/v1/profiles" {
        let says = "The `ETag` of what was looked at; refused with 412 if it has changed since";
        headers.push(header("if-match", says, None));
    }
    if CREATIONS.contains(&path) {
        let says = "Names the request: the same one within an hour is answered as before";
        headers.push(header(KEY.as_str(), says, Some(KEY_MAX_BYTES)));
    }
    headers
}

/// Finishes what the handlers say of themselves.
pub(crate) fn finished(mut contract: OpenApi) -> OpenApi {
    let components = contract.components.get_or_insert_with(Components::new);
    components
        .schemas
        .insert("Problem".into(), Problem::schema());
    for (path, item) in &mut contract.paths.paths {
        for (method, operation) in operations(item) {
            let Some(operation) = operation else { continue };
            operation.operation_id = Some(operation_id(&method, path));
            let headers = headers_of(&method, path);
            if !headers.is_empty() {
                let parameters = operation.parameters.get_or_insert_default();
                parameters.extend(headers.into_iter().map(RefOr::T));
            }
            let content = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build();
            let problem = ResponseBuilder::new()
                .description("What went wrong, and what to do (RFC 9457)")
                .content("application/problem+json", content)
                .build();
            let responses = &mut operation.responses.responses;
            responses.insert("default".into(), RefOr::T(problem));
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
                assert!(operation["responses"]["default"].is_object());
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
