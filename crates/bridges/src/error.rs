//! Why something could not be found out or done, and what to do about it.

use std::time::Duration;

/// Why a bridge gave no usable answer. The text says what and why; [`BridgeError::remedy`] says what to do.
///
/// No text holds a secret: the text of a bridge is shortened and scrubbed before it is put here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// No connection.
    #[error("{at} cannot be reached: {why}")]
    Unreachable {
        /// Host and port, or the program.
        at: String,
        /// What the network said.
        why: String,
    },
    /// The address is one that connectors must not talk to, or not without TLS.
    #[error("connecting to {at} is not allowed: {why}")]
    Forbidden {
        /// Host and port.
        at: String,
        /// The rule.
        why: String,
    },
    /// The peer's certificate is not the expected one.
    #[error("{at} could not be verified: {why}")]
    NotTrusted {
        /// Host and port.
        at: String,
        /// What TLS said.
        why: String,
    },
    /// The time is up.
    #[error("{at} did not finish within {} s", after.as_secs_f32())]
    TimedOut {
        /// Host and port, or the program.
        at: String,
        /// How long was waited.
        after: Duration,
    },
    /// Nobody pressed the button.
    #[error("the link button of {at} was not pressed within {} s", after.as_secs())]
    NotPressed {
        /// Host and port.
        at: String,
        /// How long was waited.
        after: Duration,
    },
    /// The bridge understood and said no.
    #[error("{at} refused: {why}")]
    Refused {
        /// Host and port, or the program.
        at: String,
        /// Its reason.
        why: String,
    },
    /// The secret by which the bridge is administered is missing or does not work.
    #[error("{at} cannot be administered: {why}")]
    NoAuthority {
        /// Host and port.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// It failed while it was making a value, and may have made it.
    #[error("{at} failed, and a value may have been created: {why}")]
    Unclear {
        /// Host and port, or the program.
        at: String,
        /// What it said.
        why: String,
    },
    /// The answer cannot be read.
    #[error("the answer of {at} cannot be read: {why}")]
    Garbled {
        /// Host and port, or the program.
        at: String,
        /// What is wrong with it, never what it said.
        why: String,
    },
    /// The answer is longer than its bound.
    #[error("the answer of {at} is longer than {most_bytes} bytes")]
    TooLong {
        /// Host and port, or the program.
        at: String,
        /// The bound.
        most_bytes: usize,
    },
    /// The connection ended before the answer did.
    #[error("{at} closed the connection before it had answered")]
    ClosedEarly {
        /// Host and port, or the program.
        at: String,
    },
    /// The answer points elsewhere.
    #[error("{at} points to {to}, which is not followed")]
    Redirected {
        /// Host and port.
        at: String,
        /// The host it points to.
        to: String,
    },
    /// It said one thing, and trying showed another.
    #[error("{at} said that {said}, but {seen}")]
    Disproved {
        /// Which bridge.
        at: String,
        /// What it said.
        said: &'static str,
        /// What was seen.
        seen: String,
    },
    /// A request needs something that this credential does not have.
    #[error("the request cannot be made: {why}")]
    Incomplete {
        /// What is missing or does not fit.
        why: String,
    },
    /// The bridge has no such ability.
    #[error("{what}")]
    CannotDo {
        /// What it cannot do, as a sentence.
        what: String,
        /// What to do instead.
        instead: String,
    },
    /// This side failed: no randomness, no process.
    #[error("this machine failed: {why}")]
    Here {
        /// What the system said.
        why: String,
    },
}

impl BridgeError {
    /// Whether the bridge may have done what it was asked for all the same.
    pub fn may_have_been_done(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. }
                | Self::Unclear { .. }
                | Self::Redirected { .. }
                | Self::ClosedEarly { .. }
                | Self::Garbled { .. }
                | Self::TooLong { .. }
                | Self::Disproved { .. }
        )
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreachable { .. } => {
                "Check that it is switched on, that its address in the settings is right, and that this machine can reach it. Then try again.".into()
            }
            Self::Forbidden { .. } => {
                "Give its real address in the settings: https, or a private address with \"allow_plain\": true.".into()
            }
            Self::NotTrusted { .. } => {
                "Compare its certificate with the one it should have. If it was replaced on purpose, put the new pin or root into the settings.".into()
            }
            Self::TimedOut { .. } => "Check whether it is overloaded or stuck, then try again.".into(),
            Self::NotPressed { .. } => {
                "Start again, and press the round button on the bridge while the request waits.".into()
            }
            Self::Refused { .. } | Self::Unclear { .. } => {
                "Find the reason in its log, fix it there, then try again.".into()
            }
            Self::NoAuthority { .. } => {
                "Record the secret by which Hearthkey administers this bridge, and check that it still has the permissions.".into()
            }
            Self::Garbled { .. } => {
                "Check that the settings name the right system and a version that Hearthkey supports.".into()
            }
            Self::TooLong { .. } => {
                "Check that the settings name the right address; an answer about a credential is short.".into()
            }
            Self::ClosedEarly { .. } => "Check whether it restarted, then try again.".into(),
            Self::Redirected { .. } => {
                "If that is its real address, put it into the settings yourself.".into()
            }
            Self::Disproved { .. } => {
                "Do not rely on the answers of this bridge. Check its list of credentials, and remove by hand what should not be there.".into()
            }
            Self::Incomplete { .. } => "Complete the credential or the bridge's settings. On the command line: `hearthkey credential rotate NAME --remote-id USER --from-file FILE`, `hearthkey bridge connect --help`.".into(),
            Self::CannotDo { instead, .. } => instead.clone(),
            Self::Here { .. } => "Find the cause in the system's log, then try again.".into(),
        }
    }

    /// The same error, with each of its texts put through a scrubber.
    pub(crate) fn scrubbed(mut self, scrub: impl Fn(&str) -> String) -> Self {
        let texts: [Option<&mut String>; 2] = match &mut self {
            Self::Unreachable { at, why }
            | Self::Forbidden { at, why }
            | Self::NotTrusted { at, why }
            | Self::Refused { at, why }
            | Self::Unclear { at, why }
            | Self::NoAuthority { at, why }
            | Self::Garbled { at, why } => [Some(at), Some(why)],
            Self::TimedOut { at, .. }
            | Self::NotPressed { at, .. }
            | Self::TooLong { at, .. }
            | Self::ClosedEarly { at } => [Some(at), None],
            Self::Redirected { at, to } => [Some(at), Some(to)],
            Self::Disproved { at, seen, .. } => [Some(at), Some(seen)],
            Self::Incomplete { why } | Self::Here { why } => [Some(why), None],
            Self::CannotDo { what, instead } => [Some(what), Some(instead)],
        };
        for text in texts.into_iter().flatten() {
            *text = scrub(text);
        }
        self
    }
}

/// Why settings make no connector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Too much of it.
    #[error(
        "the settings have {0} bytes; 65536 are allowed at most: keep only what the bridge needs"
    )]
    TooLong(usize),
    /// Not the JSON object that this kind takes.
    #[error(
        "the settings cannot be read: {0}. docs/CONNECTORS.md lists the settings of each kind; one is given like --set url=https://host"
    )]
    Unreadable(String),
    /// One of them is not possible.
    #[error("setting \"{name}\" {why}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// What is wrong, and what to write.
        why: String,
    },
    /// The kind needs the secret by which it administers the bridge.
    #[error("{0} needs an authority: record the secret by which Hearthkey administers it")]
    NoAuthority(&'static str),
}

impl SettingsError {
    pub(crate) fn invalid(name: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid {
            name,
            why: why.into(),
        }
    }
}
