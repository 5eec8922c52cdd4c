//! Answers that are files.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use hearthkey_pki::CaRole;

use crate::home::Home;
use crate::state::failure::Failure;

pub(crate) fn bytes(kind: &'static str, body: impl Into<Vec<u8>>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

/// A CA's CRL as a file (RFC 2585 §3), or what is not there.
pub(crate) fn crl_file(
    home: &Home,
    ca: &CaRole,
    what: &str,
    name: &dyn std::fmt::Display,
) -> Result<Response, Failure> {
    let der = home.trust.crl_of(ca);
    let der = der.ok_or_else(|| Failure::not_found(what, name))?;
    Ok(bytes("application/pkix-crl", der))
}
