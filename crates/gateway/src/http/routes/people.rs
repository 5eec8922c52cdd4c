//! The routes about people and their sessions.

use std::sync::Arc;

use crate::http::policy::{act, here, oneself, oneself_anew, visitors};
use crate::http::route::{Route, route};
use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use hearthkey_api as api;
use hearthkey_core::role::Act;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::auth::sessions::{Opened, Visitor, forget_cookie};
use crate::home::Home;
use crate::http::gateway::Gateway;
use crate::people::invitations::Joined;
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
/// An answer that gives the browser a cookie, or takes it away.
type WithCookie<T> = Result<(HeaderMap, Json<T>), Failure>;
type Gate = State<Arc<Gateway>>;
type Who = Extension<Caller>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(routes!(begin_login), visitors()),
        route(routes!(login_by_passkey), visitors()),
        route(routes!(login_by_password), visitors()),
        route(routes!(login_by_recovery), visitors()),
        route(routes!(look), visitors()),
        route(routes!(begin_joining_by_passkey), visitors()),
        route(routes!(join_by_passkey), visitors()),
        route(routes!(begin_joining_by_password), visitors()),
        route(routes!(join_by_password), visitors()),
        route(routes!(session), oneself().before_an_end().says_who_asks()),
        route(routes!(log_out), oneself().ends_access()),
        route(routes!(begin_step_up), oneself()),
        route(routes!(step_up_by_passkey), oneself()),
        route(routes!(step_up_by_code), oneself()),
        route(routes!(sessions), oneself()),
        route(routes!(end_session), oneself().ends_access()),
        route(routes!(people), act(Act::PeopleRead).anywhere()),
        route(routes!(invite), act(Act::PeopleChange).anywhere().creates()),
        route(
            routes!(invite_again),
            act(Act::PeopleChange).judged_by_use_case(),
        ),
        route(
            routes!(change),
            act(Act::PeopleChange).judged_by_use_case().ends_access(),
        ),
        route(
            routes!(end),
            act(Act::PeopleChange).judged_by_use_case().ends_access(),
        ),
        route(routes!(setup_link), here().anywhere()),
        route(routes!(own_ways), oneself()),
        route(routes!(begin_passkey), oneself_anew()),
        route(routes!(add_passkey), oneself_anew()),
        route(routes!(end_passkey), oneself_anew().ends_access()),
        route(routes!(recovery_codes), oneself_anew()),
        route(routes!(begin_password), oneself_anew()),
        route(routes!(set_password), oneself_anew()),
    ]
}

fn cookie(value: Option<HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(value) = value {
        headers.insert(header::SET_COOKIE, value);
    }
    headers
}

fn logged_in(home: &Home, opened: Opened) -> WithCookie<api::SessionInfo> {
    let info = home.auth.info_of(&opened.visit)?;
    Ok((cookie(opened.cookie), Json(info)))
}

fn welcome(home: &Home, joined: Joined) -> WithCookie<api::Welcome> {
    let session = home.auth.info_of(&joined.opened.visit)?;
    let recovery_codes = joined.codes.iter().map(|code| code.to_string()).collect();
    Ok((
        cookie(joined.opened.cookie),
        Json(api::Welcome {
            session,
            recovery_codes,
        }),
    ))
}

/// Begins a login by a passkey.
#[utoipa::path(post, path = "/api/v1/session/passkey/options", responses((status = 200, body = api::CeremonyBegun)))]
async fn begin_login(State(gateway): Gate, visitor: Visitor) -> Answer<api::CeremonyBegun> {
    Ok(Json(gateway.home()?.auth.begin_login(&visitor)?))
}

/// Logs in by a passkey.
#[utoipa::path(post, path = "/api/v1/session/passkey", request_body = api::CeremonyAnswer, responses((status = 200, body = api::SessionInfo)))]
async fn login_by_passkey(
    State(gateway): Gate,
    visitor: Visitor,
    Json(answer): Json<api::CeremonyAnswer>,
) -> WithCookie<api::SessionInfo> {
    let home = gateway.home()?;
    let opened = home
        .auth
        .login_by_passkey(&visitor, &answer.ceremony, &answer.credential)
        .await?;
    logged_in(&home, opened)
}

/// Logs in by a password and a code.
#[utoipa::path(post, path = "/api/v1/session/password", request_body = api::PasswordLogin, responses((status = 200, body = api::SessionInfo)))]
async fn login_by_password(
    State(gateway): Gate,
    visitor: Visitor,
    Json(login): Json<api::PasswordLogin>,
) -> WithCookie<api::SessionInfo> {
    let home = gateway.home()?;
    let opened = home.auth.login_by_password(&visitor, login).await?;
    logged_in(&home, opened)
}

/// Logs in by a recovery code, once.
#[utoipa::path(post, path = "/api/v1/session/recovery", request_body = api::RecoveryLogin, responses((status = 200, body = api::SessionInfo)))]
async fn login_by_recovery(
    State(gateway): Gate,
    visitor: Visitor,
    Json(login): Json<api::RecoveryLogin>,
) -> WithCookie<api::SessionInfo> {
    let home = gateway.home()?;
    let opened = home.auth.login_by_recovery(&visitor, login).await?;
    logged_in(&home, opened)
}

/// What an invitation is for.
#[utoipa::path(post, path = "/api/v1/invitations/look", request_body = api::InvitationToken, responses((status = 200, body = api::InvitationView)))]
async fn look(
    State(gateway): Gate,
    visitor: Visitor,
    Json(request): Json<api::InvitationToken>,
) -> Answer<api::InvitationView> {
    let home = gateway.home()?;
    Ok(Json(
        home.people
            .look_at_invitation(&visitor, &request.token)
            .await?,
    ))
}

/// Begins to join with a passkey.
#[utoipa::path(post, path = "/api/v1/invitations/passkey/options", request_body = api::InvitationToken, responses((status = 200, body = api::CeremonyBegun)))]
async fn begin_joining_by_passkey(
    State(gateway): Gate,
    visitor: Visitor,
    Json(request): Json<api::InvitationToken>,
) -> Answer<api::CeremonyBegun> {
    let home = gateway.home()?;
    Ok(Json(
        home.people
            .begin_joining_by_passkey(&visitor, &request)
            .await?,
    ))
}

/// Joins with a passkey.
#[utoipa::path(post, path = "/api/v1/invitations/passkey", request_body = api::CeremonyAnswer, responses((status = 200, body = api::Welcome)))]
async fn join_by_passkey(
    State(gateway): Gate,
    visitor: Visitor,
    Json(answer): Json<api::CeremonyAnswer>,
) -> WithCookie<api::Welcome> {
    let home = gateway.home()?;
    let joined = home.people.join_by_passkey(&visitor, answer).await?;
    welcome(&home, joined)
}

/// Begins to join with a password and a code.
#[utoipa::path(post, path = "/api/v1/invitations/password", request_body = api::InvitationToken, responses((status = 200, body = api::PasswordBegun)))]
async fn begin_joining_by_password(
    State(gateway): Gate,
    visitor: Visitor,
    Json(request): Json<api::InvitationToken>,
) -> Answer<api::PasswordBegun> {
    let home = gateway.home()?;
    Ok(Json(
        home.people
            .begin_joining_by_password(&visitor, request)
            .await?,
    ))
}

/// Joins with a password and a code.
#[utoipa::path(post, path = "/api/v1/invitations/password/confirm", request_body = api::CodeAnswer, responses((status = 200, body = api::Welcome)))]
async fn join_by_password(
    State(gateway): Gate,
    visitor: Visitor,
    Json(answer): Json<api::CodeAnswer>,
) -> WithCookie<api::Welcome> {
    let home = gateway.home()?;
    let joined = home.people.join_by_password(&visitor, &answer).await?;
    welcome(&home, joined)
}

/// Who is asking, and what they may do.
#[utoipa::path(get, path = "/api/v1/session", responses((status = 200, body = api::SessionInfo)))]
async fn session(State(gateway): Gate, Extension(caller): Who) -> Answer<api::SessionInfo> {
    Ok(Json(gateway.home()?.auth.session_info(&caller)?))
}

/// Logs out.
#[utoipa::path(post, path = "/api/v1/session/end", responses((status = 200, body = api::Ended)))]
async fn log_out(State(gateway): Gate, Extension(caller): Who) -> WithCookie<api::Ended> {
    let home = gateway.home()?;
    let ended = caller.person()?.session.id.clone();
    let durable = home.auth.end_session(&caller, &ended).await?;
    let ended = api::Ended { ended, durable };
    Ok((cookie(forget_cookie()), Json(ended)))
}

/// Begins to show a passkey again.
#[utoipa::path(post, path = "/api/v1/session/step-up/options", responses((status = 200, body = api::CeremonyBegun)))]
async fn begin_step_up(State(gateway): Gate, Extension(caller): Who) -> Answer<api::CeremonyBegun> {
    Ok(Json(gateway.home()?.auth.begin_step_up(caller.person()?)?))
}

/// Shows a passkey again.
#[utoipa::path(post, path = "/api/v1/session/step-up/passkey", request_body = api::CeremonyAnswer, responses((status = 200, body = api::SessionInfo)))]
async fn step_up_by_passkey(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(answer): Json<api::CeremonyAnswer>,
) -> Answer<api::SessionInfo> {
    let home = gateway.home()?;
    Ok(Json(
        home.auth
            .step_up_by_passkey(caller.person()?, answer)
            .await?,
    ))
}

/// Shows a code.
#[utoipa::path(post, path = "/api/v1/session/step-up/code", request_body = api::CodeAnswer, responses((status = 200, body = api::SessionInfo)))]
async fn step_up_by_code(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(answer): Json<api::CodeAnswer>,
) -> Answer<api::SessionInfo> {
    let home = gateway.home()?;
    Ok(Json(match caller {
        Caller::Desktop => home.auth.step_up_at_window(&caller, answer).await?,
        _ => {
            home.auth
                .step_up_by_code(caller.person()?, &answer.code)
                .await?
        }
    }))
}

/// Lists live sessions: one's own, or everybody's for who may change people.
#[utoipa::path(get, path = "/api/v1/sessions", responses((status = 200, body = api::WebSessionList)))]
async fn sessions(State(gateway): Gate, Extension(caller): Who) -> Answer<api::WebSessionList> {
    Ok(Json(gateway.home()?.auth.web_sessions(&caller)?))
}

/// Ends a session now.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/end", params(("id" = String, Path)), responses((status = 200, body = api::Ended)))]
async fn end_session(
    State(gateway): Gate,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Answer<api::Ended> {
    let durable = gateway.home()?.auth.end_session(&caller, &id).await?;
    let ended = id;
    Ok(Json(api::Ended { ended, durable }))
}

/// Lists people.
#[utoipa::path(get, path = "/api/v1/people", responses((status = 200, body = api::PersonList)))]
async fn people(State(gateway): Gate) -> Answer<api::PersonList> {
    Ok(Json(gateway.home()?.people.people_list()?))
}

/// Invites somebody. The link is in the answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/people", request_body = api::PersonRequest, responses((status = 200, body = api::Invited)))]
async fn invite(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(request): Json<api::PersonRequest>,
) -> Answer<api::Invited> {
    Ok(Json(gateway.home()?.people.invite(&caller, request).await?))
}

/// Invites somebody again, in place of the invitation before.
#[utoipa::path(post, path = "/api/v1/people/{name}/invite", params(("name" = String, Path)), responses((status = 200, body = api::Invited)))]
async fn invite_again(
    State(gateway): Gate,
    Extension(caller): Who,
    Path(name): Path<String>,
) -> Answer<api::Invited> {
    Ok(Json(
        gateway.home()?.people.invite_again(&caller, &name).await?,
    ))
}

/// Gives somebody another role.
#[utoipa::path(post, path = "/api/v1/people/{name}/change", params(("name" = String, Path)), request_body = api::PersonChange, responses((status = 200, body = api::PersonChanged)))]
async fn change(
    State(gateway): Gate,
    Extension(caller): Who,
    Path(name): Path<String>,
    Json(request): Json<api::PersonChange>,
) -> Answer<api::PersonChanged> {
    let home = gateway.home()?;
    Ok(Json(
        home.people.change_person(&caller, &name, request).await?,
    ))
}

/// Ends somebody's access.
#[utoipa::path(post, path = "/api/v1/people/{name}/end", params(("name" = String, Path)), responses((status = 200, body = api::Ended)))]
async fn end(
    State(gateway): Gate,
    Extension(caller): Who,
    Path(name): Path<String>,
) -> Answer<api::Ended> {
    Ok(Json(
        gateway.home()?.people.end_person(&caller, &name).await?,
    ))
}

/// Gives a home without an owner another setup link, in place of the one before.
#[utoipa::path(post, path = "/api/v1/people/setup-link", responses((status = 200, body = api::Invited)))]
async fn setup_link(State(gateway): Gate, Extension(caller): Who) -> Answer<api::Invited> {
    Ok(Json(gateway.home()?.people.new_setup_link(&caller)?))
}

/// What one logs in with.
#[utoipa::path(get, path = "/api/v1/people/me", responses((status = 200, body = api::OwnWays)))]
async fn own_ways(State(gateway): Gate, Extension(caller): Who) -> Answer<api::OwnWays> {
    Ok(Json(gateway.home()?.people.own_ways(caller.person()?)?))
}

/// Begins to add a passkey.
#[utoipa::path(post, path = "/api/v1/people/me/passkeys/options", responses((status = 200, body = api::CeremonyBegun)))]
async fn begin_passkey(State(gateway): Gate, Extension(caller): Who) -> Answer<api::CeremonyBegun> {
    Ok(Json(
        gateway.home()?.people.begin_passkey(caller.person()?)?,
    ))
}

/// Adds a passkey.
#[utoipa::path(post, path = "/api/v1/people/me/passkeys", request_body = api::CeremonyAnswer, responses((status = 200, body = api::OwnWays)))]
async fn add_passkey(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(answer): Json<api::CeremonyAnswer>,
) -> Answer<api::OwnWays> {
    let home = gateway.home()?;
    Ok(Json(
        home.people.add_passkey(caller.person()?, answer).await?,
    ))
}

/// Takes a passkey away.
#[utoipa::path(post, path = "/api/v1/people/me/passkeys/{id}/end", params(("id" = String, Path)), responses((status = 200, body = api::WaysChanged)))]
async fn end_passkey(
    State(gateway): Gate,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Answer<api::WaysChanged> {
    let home = gateway.home()?;
    Ok(Json(home.people.end_passkey(caller.person()?, &id).await?))
}

/// Gives new recovery codes. They are in the answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/people/me/recovery-codes", responses((status = 200, body = api::RecoveryCodes)))]
async fn recovery_codes(
    State(gateway): Gate,
    Extension(caller): Who,
) -> Answer<api::RecoveryCodes> {
    let home = gateway.home()?;
    Ok(Json(
        home.people.new_recovery_codes(caller.person()?).await?,
    ))
}

/// Begins to set a password with a code.
#[utoipa::path(post, path = "/api/v1/people/me/password", request_body = api::PasswordRequest, responses((status = 200, body = api::PasswordBegun)))]
async fn begin_password(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(request): Json<api::PasswordRequest>,
) -> Answer<api::PasswordBegun> {
    let home = gateway.home()?;
    let password = zeroize::Zeroizing::new(request.password);
    Ok(Json(
        home.people
            .begin_password(caller.person()?, &password)
            .await?,
    ))
}

/// Sets the password, by a first code.
#[utoipa::path(post, path = "/api/v1/people/me/password/confirm", request_body = api::CodeAnswer, responses((status = 200, body = api::OwnWays)))]
async fn set_password(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(answer): Json<api::CodeAnswer>,
) -> Answer<api::OwnWays> {
    let home = gateway.home()?;
    Ok(Json(
        home.people.set_password(caller.person()?, &answer).await?,
    ))
}
