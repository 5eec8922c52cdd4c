//! `hearthkey clock …`.

use clap::Subcommand;
use hearthkey_api::ClockView;

use crate::context::{Context, Nothing};
use crate::failure::Failure;

/// The commands about the gateway's clock.
#[derive(Debug, Subcommand)]
pub enum Clock {
    /// Say that this machine's clock shows the right time.
    Confirm,
}

impl Clock {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let Self::Confirm = self;
        let clock: ClockView = context
            .client()?
            .post("/api/v1/clock/confirm", &Nothing {})
            .await?;
        context.output.answer(&clock, || {
            let trusted = if clock.trusted { "" } else { "still not " };
            format!("The clock is {trusted}trusted; home time is {}.", clock.now)
        })
    }
}
