//! One look at whether a certificate is to be renewed, beside a product that holds the device's session.
//!
//! It connects under a client id of its own, which the gateway lets renew and nothing else, and never with the new
//! certificate: the first connection with that ends those of the old one, and is for the product to make.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::clock;
use crate::closed::{ClosedReason, Need};
use crate::device::{Device, DeviceConnectError, RenewError};
use crate::directory::DirectoryError;
use crate::event::Event;
use crate::explain::{Explain, Explanation};
use crate::hook;
use crate::moment::Moment;
use crate::payload::{Notice, Window};
use crate::plan::due_from;
use crate::schedule::{AfterRefusal, after_refusal};
use crate::session::{ConnectError, ExchangeError, Session};

/// The client id of connections that only renew (`docs/MQTT.md`).
pub(crate) const CLIENT_ID: &str = "hearthkey-renew";
/// A notice comes right after the subscription to it.
const NOTICE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the old certificate works beside the new one, if nobody connects with that: until then it is the product's turn.
const TURN_S: u64 = 86_400;

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Once {
    /// A new certificate is in its place, and the hook has run.
    Renewed {
        /// Its serial number.
        serial: String,
        /// End of its life.
        not_after: Moment,
        /// When it is to be renewed.
        renew_after: Moment,
    },
    /// It is too early.
    NotDue {
        /// The certificate's serial number.
        serial: String,
        /// End of its life.
        not_after: Moment,
        /// When it is to be renewed.
        renew_after: Moment,
    },
    /// The certificate was renewed a short while ago, and may not have been used yet. The gateway was not asked.
    JustRenewed {
        /// Its serial number.
        serial: String,
        /// End of its life.
        not_after: Moment,
        /// When the gateway is asked again.
        next_look: Moment,
    },
}

impl fmt::Display for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Renewed {
                serial, not_after, ..
            } => write!(
                f,
                "renewed: certificate {serial} is valid until {not_after}. Programs that use it have to reconnect within a day"
            ),
            Self::NotDue {
                serial,
                not_after,
                renew_after,
            } => write!(
                f,
                "not renewed: certificate {serial} is valid until {not_after}, and due for renewal from {renew_after}"
            ),
            Self::JustRenewed {
                serial,
                not_after,
                next_look,
            } => write!(
                f,
                "not renewed: certificate {serial} is valid until {not_after}, and new. Programs that use it have time to \
                 reconnect; the next check is possible from {next_look}. If a new key was requested since \
                 (hearthkey device rotate), add --now"
            ),
        }
    }
}

/// Why one look failed. The files hold a pair that works.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The gateway could not be reached, or one side did not accept the other.
    #[error("{cause}")]
    Connect {
        /// What happened.
        cause: DeviceConnectError,
        /// What a person has to do first; nothing if time is enough.
        remedy: Option<String>,
    },
    /// A renewal was due, and failed.
    #[error(transparent)]
    Renew(RenewError),
    /// The hook could not run, or did not end well.
    #[error("{why}")]
    Hook {
        /// Why.
        why: String,
        /// The certificate that it should have reported; nothing if none was requested.
        renewed: Option<String>,
    },
}

impl OnceError {
    /// Whether a later look may succeed without anybody's help.
    pub fn passes(&self) -> bool {
        match self {
            Self::Directory(_) | Self::Hook { .. } => false,
            Self::Connect { cause, .. } => match cause {
                DeviceConnectError::Connect(ConnectError { reason }) => reason.need() == Need::Time,
                _ => false,
            },
            Self::Renew(RenewError::Rejected(rejection)) => {
                let takes_a_person =
                    ["device_suspended", "approval_required"].contains(&rejection.code.as_str());
                after_refusal(rejection) != AfterRefusal::Stop && !takes_a_person
            }
            Self::Renew(RenewError::Exchange(ExchangeError::Closed(reason))) => {
                reason.need() == Need::Time
            }
            Self::Renew(RenewError::Exchange(_) | RenewError::Certificate(_)) => true,
            Self::Renew(RenewError::Directory(_) | RenewError::Key(_)) => false,
        }
    }
}

impl Explain for OnceError {
    fn explain(&self) -> Explanation {
        match self {
            Self::Directory(error) => error.explain(),
            Self::Connect { cause, remedy } => {
                let told = cause.explain();
                Explanation {
                    remedy: remedy.clone().unwrap_or(told.remedy),
                    ..told
                }
            }
            Self::Renew(error) => error.explain(),
            Self::Hook {
                why,
                renewed: Some(serial),
            } => Explanation::new(
                format!("Certificate {serial} is installed, but the hook failed"),
                why.clone(),
                "Make the programs that use the files reconnect within a day. The hook runs again at the next check",
            ),
            Self::Hook { why, renewed: None } => Explanation::new(
                "Nothing was checked",
                why.clone(),
                "Correct --hook, or leave it out",
            ),
        }
    }
}

impl Device {
    /// Renews if it is due, or if `now` asks the gateway for it all the same, and puts the new pair in its place. `hook` is
    /// a program to run then: whatever uses the files has to connect anew within a day. A hook that did not end well runs
    /// again with the next look.
    pub async fn renew_once(mut self, now: bool, hook: Option<&Path>) -> Result<Once, OnceError> {
        if let Some(Event::HookFailed { why }) = hook.and_then(hook::unfit) {
            return Err(OnceError::Hook { why, renewed: None });
        }
        if self.slots.next().is_some() {
            // A look before this one, or an agent, was interrupted.
            return self.hand_over(hook).await;
        }
        self.run_owed(hook).await?;
        if let Some(just) = self.just_renewed().filter(|_| !now) {
            return Ok(just);
        }
        let mut session = self.connect_beside().await?;
        let notice = self.read_notice(&mut session).await?;
        let renew_after = due_from(&self.state, notice, clock::now());
        if !now && clock::now() < renew_after {
            session.close().await;
            return Ok(Once::NotDue {
                serial: self.state.serial,
                not_after: self.state.not_after,
                renew_after,
            });
        }
        self.renew(&session).await.map_err(OnceError::Renew)?;
        session.close().await;
        self.answered(notice);
        self.hand_over(hook).await
    }

    /// What there is to say while a new certificate is left to the product.
    fn just_renewed(&self) -> Option<Once> {
        let (now, state) = (clock::now(), &self.state);
        let since = state.handed_over.filter(|since| *since <= now)?;
        let next_look = since.plus_s(TURN_S).min(state.renew_after);
        (now < next_look).then(|| Once::JustRenewed {
            serial: state.serial.clone(),
            not_after: state.not_after,
            next_look,
        })
    }

    async fn connect_beside(&self) -> Result<Session, OnceError> {
        let connected = self.connect_with(self.slots.current(), CLIENT_ID).await;
        connected.map_err(|cause| self.not_connected(cause))
    }

    fn not_connected(&self, cause: DeviceConnectError) -> OnceError {
        let remedy = match &cause {
            DeviceConnectError::Connect(ConnectError { reason }) => {
                self.what_to_do(reason, clock::now())
            }
            _ => None,
        };
        OnceError::Connect { cause, remedy }
    }

    /// What the gateway says about the renewal; nothing if it says nothing in time, or nothing that can be read.
    async fn read_notice(&self, session: &mut Session) -> Result<Option<Window>, OnceError> {
        let topic = self.topic("notice");
        let lost = |reason: ClosedReason| self.not_connected(ConnectError { reason }.into());
        match session.subscribe(&[&topic]).await {
            Ok(()) => {}
            Err(ExchangeError::Closed(reason)) => return Err(lost(reason)),
            Err(_) => return Ok(None),
        }
        match tokio::time::timeout(NOTICE_PATIENCE, session.receive()).await {
            Ok(Some(message)) => {
                let notice = serde_json::from_slice::<Notice>(&message.payload);
                Ok(notice.ok().map(|notice| notice.window))
            }
            Ok(None) => Err(lost(session.closed().await)),
            Err(_) => Ok(None),
        }
    }

    /// Makes the next pair the current one, and tells the product. That the hook is owed is on the disk before.
    async fn hand_over(mut self, hook: Option<&Path>) -> Result<Once, OnceError> {
        self.state.handed_over = Some(clock::now());
        self.state.hook_owed = hook.is_some();
        self.directory.write_state(&self.state)?;
        self.promote()?;
        self.run_owed(hook).await?;
        Ok(Once::Renewed {
            serial: self.state.serial,
            not_after: self.state.not_after,
            renew_after: self.state.renew_after,
        })
    }

    async fn run_owed(&mut self, hook: Option<&Path>) -> Result<(), OnceError> {
        let Some(program) = hook.filter(|_| self.state.hook_owed) else {
            return Ok(());
        };
        let directory = self.directory.path();
        let event = hook::run(program, directory, &self.state.device, self.state.not_after).await;
        if event.is_error() {
            return Err(OnceError::Hook {
                why: event.to_string(),
                renewed: Some(self.state.serial.clone()),
            });
        }
        self.state.hook_owed = false;
        Ok(self.directory.write_state(&self.state)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Rejection;

    fn refused(code: &str, retry_after_s: Option<u64>) -> OnceError {
        OnceError::Renew(RenewError::Rejected(Rejection {
            code: code.to_owned(),
            message: String::new(),
            remedy: String::new(),
            retry_after_s,
        }))
    }

    fn turned_away(reason: ClosedReason) -> OnceError {
        OnceError::Connect {
            cause: ConnectError { reason }.into(),
            remedy: None,
        }
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_takes_a_person() {
        assert!(refused("gateway_sealed", None).passes());
        assert!(refused("renewal_too_early", Some(9)).passes());
        for code in ["device_suspended", "approval_required", "device_revoked"] {
            assert!(!refused(code, Some(9)).passes(), "{code}");
        }
        let why = "Connection refused".to_owned();
        assert!(turned_away(ClosedReason::Lost { why }).passes());
        assert!(!turned_away(ClosedReason::Revoked).passes());
        let alert = "certificate_expired".to_owned();
        assert!(!turned_away(ClosedReason::TlsRefused { alert }).passes());
    }
}
