//! The vault's routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use hearthkey_api as api;
use hearthkey_core::credential::{Action, CredentialId};
use hearthkey_store::inventory::Filter;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::caller::Caller;
use crate::home::Home;
use crate::problem::Failure;
use crate::run::Gateway;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;
/// Environment, bridge and key.
type Named = Path<(String, String, String)>;

/// What the vault answers.
pub(crate) fn routes() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show))
        .routes(routes!(describe))
        .routes(routes!(reveal))
        .routes(routes!(lease))
        .routes(routes!(leases))
        .routes(routes!(end_lease))
}

fn id(
    home: &Home,
    (environment, bridge, key): (String, String, String),
) -> Result<CredentialId, Failure> {
    home.credential_id(&environment, &format!("{bridge}/{key}"))
}

#[derive(Deserialize, IntoParams)]
struct ListQuery {
    /// The cursor: `next` of the page before.
    #[serde(default)]
    after: String,
    /// Credentials on the page at most.
    #[serde(default = "page")]
    limit: u32,
    /// Of this environment.
    environment: Option<String>,
    /// With this text in their names, owners, purposes or places of use.
    q: Option<String>,
    /// Of this kind.
    kind: Option<String>,
    /// Of this tier.
    tier: Option<String>,
    /// In this state.
    state: Option<String>,
}

fn page() -> u32 {
    100
}

fn word<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: Option<&str>,
) -> Result<Option<T>, Failure> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|error: T::Err| Failure::invalid(&error))
}

/// Lists the inventory in the order of names: the vault's credentials, and the home's own keys.
#[utoipa::path(get, path = "/api/v1/credentials", params(ListQuery), responses((status = 200, body = api::CredentialPage)))]
async fn list(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ListQuery>,
) -> Answer<api::CredentialPage> {
    let home = gateway.home()?;
    let environment = query.environment.as_deref();
    let filter = Filter {
        environment: environment.map(|name| home.environment(name)).transpose()?,
        text: query.q.filter(|text| !text.is_empty()),
        kind: word(query.kind.as_deref())?,
        tier: word(query.tier.as_deref())?,
        state: word(query.state.as_deref())?,
    };
    Ok(Json(home.inventory(
        &caller,
        &filter,
        &query.after,
        query.limit,
    )?))
}

/// Adds a credential, with its value or as a record of one that lies elsewhere.
#[utoipa::path(post, path = "/api/v1/credentials", request_body = api::CredentialRequest, responses((status = 200, body = api::CredentialChanged)))]
async fn add(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::CredentialRequest>,
) -> Answer<api::CredentialChanged> {
    let home = gateway.home()?;
    let id = home.credential_id(&request.environment, &request.name)?;
    home.permitted(&caller, Action::Write, &id).await?;
    Ok(Json(home.add_credential(caller.actor(), request).await?))
}

/// Shows a credential with its versions, rotations and leases; never its value.
#[utoipa::path(get, path = "/api/v1/environments/{environment}/credentials/{bridge}/{key}", params(("environment" = String, Path), ("bridge" = String, Path), ("key" = String, Path)), responses((status = 200, body = api::CredentialInFull)))]
async fn show(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(named): Named,
) -> Answer<api::CredentialInFull> {
    let home = gateway.home()?;
    let id = id(&home, named)?;
    home.permitted(&caller, Action::List, &id).await?;
    Ok(Json(home.credential_in_full(&id)?))
}

/// Changes what people said of a credential.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/credentials/{bridge}/{key}/change", params(("environment" = String, Path), ("bridge" = String, Path), ("key" = String, Path)), request_body = api::CredentialChange, responses((status = 200, body = api::CredentialChanged)))]
async fn describe(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(named): Named,
    Json(request): Json<api::CredentialChange>,
) -> Answer<api::CredentialChanged> {
    let home = gateway.home()?;
    let id = id(&home, named)?;
    home.permitted(&caller, Action::Write, &id).await?;
    Ok(Json(
        home.describe_credential(caller.actor(), &id, request)
            .await?,
    ))
}

/// Gives out values: all of them, once the record of it is durable, or none.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/reveal", params(("environment" = String, Path)), request_body = api::RevealRequest, responses((status = 200, body = api::Revealed)))]
async fn reveal(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(environment): Path<String>,
    Json(request): Json<api::RevealRequest>,
) -> Answer<api::Revealed> {
    Ok(Json(
        gateway
            .home()?
            .reveal(&caller, &environment, request)
            .await?,
    ))
}

/// Lends a credential for a time: a child of it where the bridge can mint one.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/credentials/{bridge}/{key}/lease", params(("environment" = String, Path), ("bridge" = String, Path), ("key" = String, Path)), request_body = api::LeaseRequest, responses((status = 200, body = api::Leased)))]
async fn lease(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(named): Named,
    Json(request): Json<api::LeaseRequest>,
) -> Answer<api::Leased> {
    let home = gateway.home()?;
    let id = id(&home, named)?;
    Ok(Json(home.lend(&caller, &id, request).await?))
}

/// Lists the leases that have not ended: an operator's all, a service's own.
#[utoipa::path(get, path = "/api/v1/leases", responses((status = 200, body = api::LeaseList)))]
async fn leases(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::LeaseList> {
    Ok(Json(gateway.home()?.leases(&caller)?))
}

/// Ends a lease now.
#[utoipa::path(post, path = "/api/v1/leases/{lease}/end", params(("lease" = String, Path)), responses((status = 200, body = api::LeaseView)))]
async fn end_lease(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(lease): Path<String>,
) -> Answer<api::LeaseView> {
    Ok(Json(gateway.home()?.end_lease(&caller, &lease).await?))
}
