//! `hearthkey clock …`, and the one clock of this program.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use hearthkey_api::ClockView;
use hearthkey_discovery::Timestamp;

use crate::context::{Context, Nothing};
use crate::failure::Failure;

/// The commands about the gateway's clock.
#[derive(Debug, Subcommand)]
pub enum Clock {
    /// Confirm that this machine's clock is right.
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

/// This machine's time, for what has nothing to do with a home.
#[allow(clippy::disallowed_methods)] // The one reading.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_s(i64::try_from(since.as_secs()).unwrap_or_default())
}
