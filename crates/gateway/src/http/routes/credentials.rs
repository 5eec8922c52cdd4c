//! The vault's routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use hearthkey_api::{self as api};
use hearthkey_core::credential::{Action, CredentialId, OWN_BRIDGES};
use hearthkey_core::role::Act;
use hearthkey_store::inventory::Filter;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::http::gateway::Gateway;
use crate::http::policy::{Thing, act, here, services};
use crate::http::route::{Route, route};
use crate::state::failure::Failure;
use crate::vault::credentials::{named, parsed};
use crate::vault::out_of_use::judge_grace;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;
/// Environment, bridge and key.
type Named = Path<(String, String, String)>;

/// What the vault answers.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(
            routes!(list),
            act(Act::CredentialRead).anywhere().for_services(),
        ),
        route(
            routes!(add),
            act(Act::CredentialWrite)
                .anywhere()
                .for_services()
                .creates(),
        ),
        route(
            routes!(show),
            act(Act::CredentialRead)
                .of(Thing::Credential)
                .granted(Action::List),
        ),
        route(
            routes!(describe),
            act(Act::CredentialWrite)
                .of(Thing::Credential)
                .granted(Action::Write),
        ),
        route(
            routes!(reveal),
            act(Act::CredentialReveal).in_environment().for_services(),
        ),
        route(
            routes!(rotate),
            act(Act::CredentialRotate)
                .of(Thing::Credential)
                .granted(Action::Rotate),
        ),
        route(
            routes!(confirm),
            act(Act::CredentialRotate)
                .of(Thing::Credential)
                .granted(Action::Rotate),
        ),
        route(
            routes!(rollback),
            act(Act::CredentialRotate)
                .of(Thing::Credential)
                .granted(Action::Rotate),
        ),
        route(
            routes!(retire),
            act(Act::CredentialRetire)
                .of(Thing::Credential)
                .ends_at_bridge(),
        ),
        route(
            routes!(retire_project),
            here().judged_by_use_case().ends_at_bridge(),
        ),
        route(routes!(rewrap), act(Act::CredentialRetire).in_environment()),
        route(
            routes!(rewrapped),
            act(Act::CredentialRead).in_environment(),
        ),
        route(routes!(marks), services().anywhere()),
    ]
}

/// The credential that a path names, whether there is one or not: that is for who may to know.
pub(super) fn id(
    (environment, bridge, key): (String, String, String),
) -> Result<CredentialId, Failure> {
    named(&environment, &format!("{bridge}/{key}"))
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
    let environment = environment.map(|name| match caller.may_everywhere(Act::CredentialRead) {
        true => home.vault.environment(name),
        // Callers limited to some environments do not learn whether there is one: nothing of theirs is in it.
        false => parsed(name),
    });
    let filter = Filter {
        environment: environment.transpose()?,
        text: query.q.filter(|text| !text.is_empty()),
        kind: word(query.kind.as_deref())?,
        tier: word(query.tier.as_deref())?,
        state: word(query.state.as_deref())?,
    };
    Ok(Json(home.vault.inventory(
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
    let id = named(&request.environment, &request.name)?;
    home.vault.permitted(&caller, Action::Write, &id).await?;
    Ok(Json(home.vault.add_credential(&caller, request).await?))
}

/// Shows a credential with its versions, rotations and leases; never its value. The environment of what belongs to the
/// whole home is `-`.
#[utoipa::path(get, path = "/api/v1/environments/{environment}/credentials/{bridge}/{key}", params(("environment" = String, Path), ("bridge" = String, Path), ("key" = String, Path)), responses((status = 200, body = api::CredentialInFull)))]
async fn show(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
) -> Answer<api::CredentialInFull> {
    let home = gateway.home()?;
    let (environment, bridge, key) = &path;
    if OWN_BRIDGES.contains(&bridge.as_str()) {
        return Ok(Json(home.vault.own_in_full(
            &caller,
            environment,
            bridge,
            key,
        )?));
    }
    let id = id(path)?;
    home.vault.permitted(&caller, Action::List, &id).await?;
    Ok(Json(home.vault.credential_in_full(&caller, &id)?))
}

/// Changes what people said of a credential.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/credentials/{bridge}/{key}/change", params(("environment" = String, Path), ("bridge" = String, Path), ("key" = String, Path)), request_body = api::CredentialChange, responses((status = 200, body = api::CredentialChanged)))]
async fn describe(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    Json(request): Json<api::CredentialChange>,
) -> Answer<api::CredentialChanged> {
    let home = gateway.home()?;
    let id = id(path)?;
    home.vault.permitted(&caller, Action::Write, &id).await?;
    Ok(Json(
        home.vault
            .describe_credential(&caller, &id, request)
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
            .vault
            .reveal(&caller, &environment, request)
            .await?,
    ))
}

/// Begins a rotation, or goes on with one that waits for a person.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/credentials/{bridge}/{key}/rotate", params(("environment" = String, Path), ("bridge" = String, Path), ("key" = String, Path)), request_body = api::RotateRequest, responses((status = 200, body = api::RotationView)))]
async fn rotate(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    Json(request): Json<api::RotateRequest>,
) -> Answer<api::RotationView> {
    let home = gateway.home()?;
    let id = id(path)?;
    home.vault.permitted(&caller, Action::Rotate, &id).await?;
    if request.value.is_some() || request.generate || request.remote_id.is_some() {
        // Saying which value it is to be is more than asking for a new one.
        home.vault.permitted(&caller, Action::Write, &id).await?;
    }
    Ok(Json(
        home.vault.rotate_credential(&caller, &id, request).await?,
    ))
}

/// Says that a place of use has switched to the new value.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/credentials/{bridge}/{key}/confirm", params(("environment" = String, Path), ("bridge" = String, Path), ("key" = String, Path)), request_body = api::ConfirmRequest, responses((status = 200, body = api::RotationView)))]
async fn confirm(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    Json(request): Json<api::ConfirmRequest>,
) -> Answer<api::RotationView> {
    let home = gateway.home()?;
    let id = id(path)?;
    let permit = home.vault.permitted(&caller, Action::Rotate, &id).await?;
    Ok(Json(
        home.vault
            .confirm_rotation(&permit, &id, &request.dependent)
            .await?,
    ))
}

/// Goes back to the value before.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/credentials/{bridge}/{key}/rollback", params(("environment" = String, Path), ("bridge" = String, Path), ("key" = String, Path)), responses((status = 200, body = api::RotationView)))]
async fn rollback(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
) -> Answer<api::RotationView> {
    let home = gateway.home()?;
    let id = id(path)?;
    home.vault.permitted(&caller, Action::Rotate, &id).await?;
    Ok(Json(home.vault.roll_back(&caller, &id).await?))
}

/// Takes a credential out of use: leases and remote values are ended, data keys destroyed after a grace.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/credentials/{bridge}/{key}/retire", params(("environment" = String, Path), ("bridge" = String, Path), ("key" = String, Path)), request_body = api::RetireRequest, responses((status = 200, body = api::Retired)))]
async fn retire(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    Json(request): Json<api::RetireRequest>,
) -> Answer<api::Retired> {
    let home = gateway.home()?;
    let id = id(path)?;
    caller.permit(Act::CredentialRetire, &id.environment)?;
    judge_grace(&caller, &request)?;
    let permit = caller.permitted(Act::CredentialRetire)?;
    home.vault
        .credential_id(id.environment.as_str(), id.name.as_str())?;
    Ok(Json(
        home.vault.retire_credential(&permit, &id, &request).await?,
    ))
}

/// Gives an environment a new key-encryption key; its values are sealed anew in the background.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/rewrap", params(("environment" = String, Path)), responses((status = 200, body = api::RewrapView)))]
async fn rewrap(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(environment): Path<String>,
) -> Answer<api::RewrapView> {
    let home = gateway.home()?;
    Ok(Json(
        home.vault
            .rewrap(&caller.permitted(Act::CredentialRetire)?, &environment)
            .await?,
    ))
}

/// How many of an environment's values lie under its newest key-encryption key.
#[utoipa::path(get, path = "/api/v1/environments/{environment}/rewrap", params(("environment" = String, Path)), responses((status = 200, body = api::RewrapView)))]
async fn rewrapped(
    State(gateway): Gate,
    Path(environment): Path<String>,
) -> Answer<api::RewrapView> {
    Ok(Json(gateway.home()?.vault.rewrap_progress(&environment)?))
}

/// Retires what is used in one place only, and takes the place out of everything else.
#[utoipa::path(post, path = "/api/v1/projects/{place}/retire", params(("place" = String, Path)), request_body = api::RetireRequest, responses((status = 200, body = Vec<api::Retired>)))]
async fn retire_project(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(place): Path<String>,
    Json(request): Json<api::RetireRequest>,
) -> Answer<Vec<api::Retired>> {
    let home = gateway.home()?;
    Ok(Json(
        home.vault.retire_project(&caller, &place, request).await?,
    ))
}

/// Marks by which a scanner finds the vault's own values in files, without learning them.
#[utoipa::path(post, path = "/api/v1/credentials/marks", responses((status = 200, body = api::MarksView)))]
async fn marks(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::MarksView> {
    Ok(Json(gateway.home()?.vault.marks(&caller).await?))
}
