//! A handler, and what is declared of its route.

use std::sync::Arc;

use axum::http::Method;
use axum::routing::MethodRouter;
use utoipa::openapi::path::Paths;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{PathItem, RefOr};

use crate::http::gateway::Gateway;
use crate::http::policy::Policy;

/// A handler as `utoipa_axum::routes!` gives it: schemas, paths, router.
type Handler = (
    Vec<(String, RefOr<Schema>)>,
    Paths,
    MethodRouter<Arc<Gateway>>,
);

/// A handler, and what is declared of its route.
pub(crate) struct Route {
    pub(crate) handler: Handler,
    pub(crate) policy: Policy,
}

/// Declares the route of a handler. Its method and path are those of the handler.
pub(crate) fn route(handler: Handler, policy: Policy) -> Route {
    Route { handler, policy }
}

impl Route {
    /// Its method and path.
    pub(crate) fn methods(&self) -> Vec<(Method, String)> {
        let paths = self.handler.1.paths.iter();
        let of = |(path, item): (&String, &PathItem)| {
            let served = [
                (Method::GET, item.get.is_some()),
                (Method::POST, item.post.is_some()),
            ];
            let served = served.into_iter().filter(|(_, is_served)| *is_served);
            served
                .map(|(method, _)| (method, path.clone()))
                .collect::<Vec<_>>()
        };
        paths.flat_map(of).collect()
    }
}
