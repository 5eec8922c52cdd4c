//! `hearthkey seal` and `hearthkey unseal`.

use hearthkey_api::{Sealing, UnsealRequest};
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
    let words = words::ask()?;
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
            true => "The gateway is sealed.",
            false => "The gateway is unsealed.",
        }
        .to_owned()
    })
}
