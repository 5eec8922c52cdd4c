//! What to trust, for everybody: the root, its fingerprint, the CRLs (RFC 8615).

use std::sync::Arc;

use crate::http::policy::{act, everybody};
use crate::http::route::{Route, route};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use hearthkey_api::AuthorityList;
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::role::Act;
use hearthkey_pki::CaRole;
use utoipa_axum::routes;

use crate::http::files::{bytes, crl_file};
use crate::http::gateway::Gateway;
use crate::state::failure::Failure;

type Gate = State<Arc<Gateway>>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(routes!(authorities), act(Act::HomeRead).anywhere()),
        route(routes!(trust_bundle), everybody()),
        route(routes!(trust_crl), everybody()),
        route(routes!(root_pem), everybody()),
        route(routes!(root_der), everybody()),
        route(routes!(fingerprint), everybody()),
        route(routes!(crl), everybody()),
        route(routes!(root_crl), everybody()),
        route(routes!(server_crl), everybody()),
    ]
}

/// The root, in PEM.
#[utoipa::path(get, path = "/.well-known/hearthkey/root.pem", responses((status = 200, body = String, content_type = "application/x-pem-file")))]
async fn root_pem(State(gateway): Gate) -> Result<Response, Failure> {
    let pem = gateway.home()?.trust.trust_bundle();
    Ok(bytes("application/x-pem-file", pem))
}

/// The root, in DER: the form that phones and browsers offer to install.
#[utoipa::path(get, path = "/.well-known/hearthkey/root.crt", responses((status = 200, body = Vec<u8>, content_type = "application/x-x509-ca-cert")))]
async fn root_der(State(gateway): Gate) -> Result<Response, Failure> {
    let der = gateway.home()?.ctx.root().der.clone();
    Ok(bytes("application/x-x509-ca-cert", der))
}

/// SHA-256 of the root certificate's DER, to be compared with what `hearthkey trust fingerprint` prints on the gateway.
#[utoipa::path(get, path = "/.well-known/hearthkey/fingerprint", responses((status = 200, body = String, content_type = "text/plain")))]
async fn fingerprint(State(gateway): Gate) -> Result<Response, Failure> {
    let home = gateway.home()?;
    let fingerprint = hearthkey_core::id::Fingerprint::of(&home.ctx.root().der);
    Ok(bytes("text/plain", format!("{fingerprint}\n")))
}

/// The CRL of an environment's issuing CA, in DER. With `.pem` after the name, in PEM, and with it those of the CAs before that
/// whose certificates are still about.
#[utoipa::path(get, path = "/.well-known/hearthkey/crl/{environment}", params(("environment" = String, Path)), responses((status = 200, body = Vec<u8>, content_type = "application/pkix-crl")))]
async fn crl(State(gateway): Gate, Path(environment): Path<String>) -> Result<Response, Failure> {
    let home = gateway.home()?;
    if let Some(named) = environment.strip_suffix(".pem") {
        let name: EnvironmentName = named.parse().map_err(|error| Failure::invalid(&error))?;
        let lists = home.trust.crls_in_pem(&name);
        let lists = lists.ok_or_else(|| Failure::not_found("environment", &name))?;
        return Ok(bytes("application/x-pem-file", lists));
    }
    let named = environment.strip_suffix(".crl").unwrap_or(&environment);
    let name: EnvironmentName = named.parse().map_err(|error| Failure::invalid(&error))?;
    crl_file(&home, &CaRole::Issuing(name.clone()), "environment", &name)
}

/// The root's CRL, in DER, for those who check every certificate of a chain: it covers the CAs.
#[utoipa::path(get, path = "/.well-known/hearthkey/root.crl", responses((status = 200, body = Vec<u8>, content_type = "application/pkix-crl")))]
async fn root_crl(State(gateway): Gate) -> Result<Response, Failure> {
    let home = gateway.home()?;
    crl_file(&home, &CaRole::Root, "CRL", &"root")
}

/// The server CA's CRL, in DER: it covers the gateway's own certificate.
#[utoipa::path(get, path = "/.well-known/hearthkey/server.crl", responses((status = 200, body = Vec<u8>, content_type = "application/pkix-crl")))]
async fn server_crl(State(gateway): Gate) -> Result<Response, Failure> {
    let home = gateway.home()?;
    crl_file(&home, &CaRole::Server, "CRL", &"server")
}

/// The home's CAs: those that sign, those that will, and those that did and whose certificates are still about.
#[utoipa::path(get, path = "/api/v1/trust/authorities", responses((status = 200, body = AuthorityList)))]
async fn authorities(State(gateway): Gate) -> Result<Json<AuthorityList>, Failure> {
    let known = gateway.home()?.trust.authorities();
    let authorities = known.map_err(|error| Failure::internal(&error))?;
    Ok(Json(AuthorityList { authorities }))
}

/// The roots to trust, in PEM.
#[utoipa::path(get, path = "/api/v1/trust/bundle", responses((status = 200, body = String, content_type = "application/pem-certificate-chain")))]
async fn trust_bundle(State(gateway): Gate) -> Result<Response, Failure> {
    Ok(bytes(
        "application/pem-certificate-chain",
        gateway.home()?.trust.trust_bundle().into_bytes(),
    ))
}

/// The CRL of an environment's issuing CA, in DER.
#[utoipa::path(get, path = "/api/v1/trust/crl/{environment}", params(("environment" = String, Path)), responses((status = 200, body = Vec<u8>, content_type = "application/pkix-crl")))]
async fn trust_crl(
    State(gateway): Gate,
    Path(environment): Path<String>,
) -> Result<Response, Failure> {
    let home = gateway.home()?;
    let name: EnvironmentName = environment
        .parse()
        .map_err(|error| Failure::invalid(&error))?;
    crl_file(&home, &CaRole::Issuing(name.clone()), "environment", &name)
}
