//! `hearthkey seal` and `hearthkey unseal`.

use hearthkey_api::{CallError, Sealing, Status, UnsealRequest};
use zeroize::Zeroize;

use crate::context::{Context, Nothing};
use crate::failure::Failure;
use crate::words;

/// Has the gateway forget its keys.
pub async fn seal(context: &Context) -> Result<(), Failure> {
    let sealing = context.client()?.post("/api/v1/seal", &Nothing {}).await?;
    tell(context, &sealing)
}

/// Gives the gateway the words that open the home.
pub async fn unseal(context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    // Whether a gateway is there that may be unsealed comes first: nothing is typed in vain.
    if client.is_remote() {
        return Err(Failure::usage(
            "a gateway is unsealed on its own machine: leave out --gateway, --token-file and --root",
        ));
    }
    let has_passphrase = match client.get::<Status>("/api/v1/status").await {
        Ok(status) => status.slots.iter().any(|slot| slot == "passphrase"),
        Err(CallError::Problem(_)) => true,
        Err(error) => return Err(error.into()),
    };
    let words = words::ask(has_passphrase)?;
    let mut request = UnsealRequest {
        words: words.as_str().to_owned(),
    };
    let answer = client.post("/api/v1/unseal", &request).await;
    request.words.zeroize();
    tell(context, &answer?)
}

fn tell(context: &Context, sealing: &Sealing) -> Result<(), Failure> {
    context.output.answer(sealing, || {
        match sealing.sealed {
            true => {
                "The gateway is sealed: devices are disconnected until it is unsealed. Unseal it on its own machine with `hearthkey unseal`."
            }
            false => "The gateway is unsealed.",
        }
        .to_owned()
    })
}
