//! `hearthkey clock …`, and the one clock of this program.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use hearthkey_api::{ClockView, Status};
use hearthkey_discovery::Timestamp;

use crate::context::{Context, Nothing};
use crate::failure::Failure;
use crate::table::facts;

/// The gateway's clock: without a command, what it shows.
#[derive(Debug, Args)]
pub struct Clock {
    #[command(subcommand)]
    act: Option<ClockAct>,
}

/// The commands about the gateway's clock.
#[derive(Debug, Subcommand)]
enum ClockAct {
    /// Confirm that this machine's clock is right: home time is set to it, forward or back.
    Confirm,
}

impl Clock {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        if self.act.is_none() {
            let status: Status = client.get("/api/v1/status").await?;
            return context.output.answer(&status.clock, || text(&status.clock));
        }
        let clock: ClockView = client.post("/api/v1/clock/confirm", &Nothing {}).await?;
        context.output.answer(&clock, || {
            let trusted = if clock.trusted { "" } else { "still not " };
            format!("The clock is {trusted}trusted; home time is {}.", clock.now)
        })
    }
}

/// Both clocks, for people.
fn text(clock: &ClockView) -> String {
    let synchronized = match clock.synchronized {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    };
    let mut text = facts(&[
        ("home time", Some(clock.now.clone())),
        ("system clock", clock.machine.clone()),
        ("synchronized", Some(synchronized.to_owned())),
        (
            "trusted",
            Some(if clock.trusted { "yes" } else { "no" }.to_owned()),
        ),
    ]);
    if let Some(doubt) = why(clock) {
        text.push_str("\n\n");
        text.push_str(&doubt);
    }
    text
}

/// Why the machine's clock is not trusted, and what to do; none if it is, or if the gateway does not say.
pub fn why(clock: &ClockView) -> Option<String> {
    let doubt = clock.doubt.as_ref()?;
    Some(format!(
        "{} Not trusted since {}: nothing is issued, rotated or destroyed.\nSet the system clock, or, if it is right: `hearthkey clock confirm`",
        doubt.says, doubt.since
    ))
}

/// This machine's time, for what has nothing to do with a home.
#[allow(clippy::disallowed_methods)] // The one reading.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_s(i64::try_from(since.as_secs()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use hearthkey_api::ClockDoubt;

    use super::*;

    #[test]
    fn both_clocks_are_shown_and_why_one_is_not_trusted() {
        let mut clock = ClockView {
            trusted: true,
            now: "2026-01-02T03:04:05Z".into(),
            machine: Some("2026-01-02T03:04:05Z".into()),
            synchronized: None,
            doubt: None,
        };
        assert_eq!(
            text(&clock),
            "home time     2026-01-02T03:04:05Z\nsystem clock  2026-01-02T03:04:05Z\nsynchronized  not known\ntrusted       yes"
        );
        clock.trusted = false;
        clock.doubt = Some(ClockDoubt {
            since: "2026-01-01T00:00:00Z".into(),
            code: "far-ahead".into(),
            says: "The system clock is more than a day ahead of home time.".into(),
        });
        let told = text(&clock);
        assert!(told.contains("trusted       no"), "{told}");
        assert!(told.ends_with(
            "The system clock is more than a day ahead of home time. Not trusted since 2026-01-01T00:00:00Z: nothing is \
             issued, rotated or destroyed.\nSet the system clock, or, if it is right: `hearthkey clock confirm`"
        ));
    }
}
