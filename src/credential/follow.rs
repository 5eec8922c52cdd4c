//! Waiting with a person for a rotation to come to rest.

use std::time::Duration;

use hearthkey_api::{Client, CredentialInFull, RotationView};

use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::stopwatch::Stopwatch;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long at most: longer than the gateway lets a bridge work on one step, whatever its settings say.
const PATIENCE: Duration = Duration::from_secs(900);

/// Shows what the bridge is doing until the newest rotation of a credential rests, and gives it.
pub async fn to_rest(
    context: &Context,
    client: &Client,
    path: &str,
) -> Result<Option<RotationView>, Failure> {
    let progress = Progress::waiting(context);
    let began = Stopwatch::start();
    loop {
        let credential: CredentialInFull = client.get(path).await?;
        let newest = credential.rotations.into_iter().next();
        let Some(rotation) =
            newest.filter(|rotation| !rotation.rests && began.elapsed() < PATIENCE)
        else {
            progress.done();
            let credential: CredentialInFull = client.get(path).await?;
            return Ok(credential.rotations.into_iter().next());
        };
        progress.now(
            rotation
                .bridge_says
                .unwrap_or_else(|| format!("next step: {}", rotation.step)),
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
