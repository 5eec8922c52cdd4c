//! The vault's part of `hearthkey demo`: a credential is kept, given to a service, and replaced while the service runs.

use hearthkey_api::{
    CallError, Client, ConfirmRequest, CredentialChanged, CredentialRequest, ProofKey,
    RevealRequest, Revealed, RotateRequest, RotationView, TokenCreated, TokenFile, TokenRequest,
};

use crate::context::Context;
use crate::credential::to_rest;
use crate::demo::failed;
use crate::demo_report::Report;
use crate::failure::Failure;
use crate::stopwatch::Stopwatch;
use crate::token::file_of;

/// The place of use that takes part in the rotation.
const PLACE: &str = "wall-panel";
const PATH: &str = "/api/v1/environments/home/credentials/cloud/api-key";

/// Plays the vault's part.
pub async fn play(context: &Context, client: &Client, report: &mut Report) -> Result<(), Failure> {
    keep(client, report).await?;
    let file = hand_over(client, report).await?;
    refuse_a_copy(&file, report).await?;
    replace(context, client, &file, report).await
}

async fn keep(client: &Client, report: &mut Report) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    let request = CredentialRequest {
        name: "cloud/api-key".into(),
        environment: "home".into(),
        kind: "api-key".into(),
        owner: "Demo".into(),
        purpose: "shows how it works".into(),
        tier: "high".into(),
        value: None,
        generate: true,
        location: None,
        used_by: vec![PLACE.into()],
        scopes: Vec::new(),
        expires_at: None,
        remote_id: None,
        imported_from: None,
        rotation: hearthkey_api::RotationPolicyView::default(),
        second_factor: None,
    };
    let kept: CredentialChanged = client.post("/api/v1/credentials", &request).await?;
    let c = kept.credential;
    let text = format!(
        "{} is in the vault: {} tier, owner {}",
        c.name, c.tier, c.owner
    );
    report.step("vault", &text, watch)
}

/// A token that is bound to a key of its bearer's own, good for reading one credential.
async fn hand_over(client: &Client, report: &mut Report) -> Result<TokenFile, Failure> {
    let watch = Stopwatch::start();
    let key = ProofKey::generate().map_err(|error| failed("no key could be made", &error))?;
    let request = TokenRequest {
        name: PLACE.into(),
        environments: vec!["home".into()],
        allow: vec!["cloud/api-key:read".into()],
        role: None,
        owner: None,
        purpose: None,
        ttl: "1h".into(),
        ceiling: "7d".into(),
        public_key: Some(key.public_pem()),
        bind: None,
        second_factor: None,
    };
    let made: TokenCreated = client.post("/api/v1/tokens", &request).await?;
    let file = file_of(&made, Some(&key));
    let version = read(&file).await?;
    let text = format!("{PLACE} reads version {version} over HTTPS with its own token");
    report.step("read", &text, watch)?;
    Ok(file)
}

/// Reads the credential as the service; gives its version.
async fn read(file: &TokenFile) -> Result<u32, Failure> {
    Ok(ask(file)
        .await?
        .values
        .first()
        .map_or(0, |given| given.version))
}

async fn ask(file: &TokenFile) -> Result<Revealed, CallError> {
    let client = Client::with_token(file, None, None)
        .map_err(|error| CallError::Garbled(error.to_string()))?;
    let request = RevealRequest {
        names: vec!["cloud/api-key".into()],
        r#use: "run".into(),
        reason: None,
        version: None,
        second_factor: None,
    };
    client
        .post("/api/v1/environments/home/reveal", &request)
        .await
}

async fn refuse_a_copy(file: &TokenFile, report: &mut Report) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    let thief = ProofKey::generate().map_err(|error| failed("no key could be made", &error))?;
    let mut copy = file.clone();
    copy.key = Some(thief.to_pem().to_string());
    match ask(&copy).await {
        Err(CallError::Problem(problem)) => {
            let text = format!("a copy of the token without its key: {}", problem.code);
            report.step("refuse", &text, watch)
        }
        Err(error) => Err(failed("the copy was refused for another reason", &error)),
        Ok(_) => Err(failed(
            "a copied token was accepted",
            &"this must never happen",
        )),
    }
}

async fn replace(
    context: &Context,
    client: &Client,
    file: &TokenFile,
    report: &mut Report,
) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    let rotate = RotateRequest {
        generate: true,
        ..RotateRequest::default()
    };
    let _: RotationView = client.post(&format!("{PATH}/rotate"), &rotate).await?;
    let rotation = rested(context, client, "switch").await?;
    let version = read(file).await?;
    let text = format!(
        "cloud/api-key is rotated: both versions are valid until {} has switched; it reads version {version}",
        rotation.unconfirmed.join(", ")
    );
    report.step("rotate", &text, watch)?;
    let watch = Stopwatch::start();
    let confirm = ConfirmRequest {
        dependent: PLACE.into(),
    };
    let _: RotationView = client.post(&format!("{PATH}/confirm"), &confirm).await?;
    rested(context, client, "done").await?;
    let text = format!("{PLACE} has switched, and the old version is no longer given out");
    report.step("rotate", &text, watch)
}

/// The newest rotation, at rest.
async fn rested(
    context: &Context,
    client: &Client,
    step: &'static str,
) -> Result<RotationView, Failure> {
    let newest = to_rest(context, client, PATH).await?;
    let stands = newest.as_ref().map(|rotation| rotation.step.clone());
    newest
        .filter(|rotation| rotation.step == step)
        .ok_or_else(|| {
            failed(
                "a rotation stopped at the wrong step",
                &format!("{stands:?}"),
            )
        })
}
