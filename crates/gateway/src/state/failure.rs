//! What goes wrong for a person, as problem details with a remedy.

use axum::http::StatusCode;
use hearthkey_api::{Problem, code};
use hearthkey_core::claim::ClaimRefusal;
use hearthkey_core::device::StateRefusal;
use hearthkey_store::CommitError;
use hearthkey_store::registry::ReadError;

/// A problem on its way to the caller.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Problem);

impl Failure {
    pub(crate) fn new(
        status: StatusCode,
        code: &str,
        title: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self(Problem {
            code: code.into(),
            status: status.as_u16(),
            title: title.into(),
            detail: detail.into(),
            remedy: remedy.into(),
        })
    }

    /// Something in the request is not as it must be.
    pub(crate) fn invalid(error: &dyn std::fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            code::INVALID,
            "The request is not valid.",
            sentence(error),
            "Correct it and try again. On the command line: `--help` shows what is expected.",
        )
    }

    /// Leave that was given was for something else, or for somewhere else.
    pub(crate) fn beyond(act: &dyn std::fmt::Display) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            code::FORBIDDEN,
            "Your role does not permit this.",
            format!("It has no right {act} there."),
            "Ask an owner of the home to do it, or to give you another role.",
        )
    }

    /// There is no such thing.
    pub(crate) fn not_found(kind: &str, name: &dyn std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            code::NOT_FOUND,
            format!("There is no {kind} {name}."),
            match kind {
                "log record" => "The log of this home is shorter.".to_owned(),
                "log checkpoint" => "The log of this home has no records.".to_owned(),
                "finding" | "session" | "lease" | "version" => {
                    format!("This home has no such {kind}.")
                }
                _ => format!("This home has no {kind} of that name."),
            },
            match kind {
                "device" | "profile" | "environment" | "credential" | "bridge" | "token" => {
                    format!("Check the name. On the command line: `hearthkey {kind} list`.")
                }
                "person" => {
                    "Check the name. On the command line: `hearthkey person list`.".to_owned()
                }
                "session" => "It may have ended. On the command line: `hearthkey person sessions`."
                    .to_owned(),
                "finding" => {
                    "It may be fixed already. On the command line: `hearthkey check`.".to_owned()
                }
                "lease" => "It may have ended. On the command line: `hearthkey credential leases`."
                    .to_owned(),
                "log record" => {
                    "Choose a smaller number. On the command line: `hearthkey log tail`.".to_owned()
                }
                _ => "Check the name or the number, and try again.".to_owned(),
            },
        )
    }

    /// Records of the log that are archived, and not here any more.
    pub(crate) fn archived(seq: u64, first: u64) -> Self {
        Self::new(
            StatusCode::GONE,
            code::ARCHIVED,
            format!("Record {seq} is archived and no longer here."),
            format!(
                "The log of this home begins here with record {first}; those before are in its archives."
            ),
            "Look into the archive file that has it. On the command line: `hearthkey log size` lists the archives, `hearthkey log verify-archive FILE` verifies one.",
        )
    }

    /// The same failure under a title that says more of it.
    pub(crate) fn titled(mut self, title: &str) -> Self {
        title.clone_into(&mut self.0.title);
        self
    }

    /// A rule forbids it in the current state.
    pub(crate) fn refused(error: &dyn std::fmt::Display, remedy: &str) -> Self {
        let title = "Not possible in the current state.";
        Self::new(
            StatusCode::CONFLICT,
            code::REFUSED,
            title,
            sentence(error),
            remedy,
        )
    }

    /// An error in the gateway itself. Details go to its messages.
    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "an internal fault");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            code::INTERNAL,
            "The gateway failed.",
            "The error is in the gateway's messages.",
            "Report it if it happens again, with those messages.",
        )
    }

    /// A stored value cannot be decrypted.
    pub(crate) fn unopened(error: &hearthkey_store::vault::UnsealError) -> Self {
        tracing::error!(%error, "a stored value cannot be decrypted");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            code::UNOPENED,
            "A stored value cannot be decrypted.",
            sentence(error),
            "Do not trust this database. Find out what changed it, then restore a backup.",
        )
    }

    /// A bridge did not do what it was asked, or could not be asked.
    pub(crate) fn bridge(error: &hearthkey_bridges::BridgeError) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            code::BRIDGE,
            "The bridge failed.",
            sentence(error),
            error.remedy(),
        )
    }

    /// A backup could not be made or read.
    pub(crate) fn backup(error: &dyn std::fmt::Display, remedy: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            code::BACKUP,
            "The backup failed.",
            sentence(error),
            remedy,
        )
    }

    pub(crate) fn sealed() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code::SEALED,
            "The gateway is sealed.",
            "Its keys are not in memory, so it only reports its status and can be unsealed.",
            "Unseal it on its own machine with a passphrase or the recovery code. A home that opens with a key file is also opened by \
             a restart of the gateway. On the command line: `hearthkey unseal`.",
        )
    }
}

/// An error's text as a sentence.
pub(crate) fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    // A path, an id with a slash or a quoted text at its beginning stays as it is written.
    let is_word = text
        .split(' ')
        .next()
        .is_some_and(|word| !word.contains('/'));
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|c| match is_word {
            true => c.to_uppercase().to_string(),
            false => c.to_string(),
        })
        .unwrap_or_default();
    let rest = characters.as_str();
    let end = if rest.ends_with(['.', '?', '!']) {
        ""
    } else {
        "."
    };
    format!("{first}{rest}{end}")
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        let (status, code, title, remedy) = match &error {
            CommitError::Sealed => return Self::sealed(),
            CommitError::Conflict => (
                StatusCode::CONFLICT,
                code::CONFLICT,
                "Something else changed this at the same time.",
                "Look at it again, then retry.",
            ),
            CommitError::Changed => (
                StatusCode::PRECONDITION_FAILED,
                code::CHANGED_MEANWHILE,
                "It has changed since you looked.",
                "Look at it again, then decide.",
            ),
            CommitError::Unknown(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                code::STORAGE,
                "The storage failed. The change may or may not be stored.",
                "Free space or repair the disk, and check whether the change is there before you try again.",
            ),
            CommitError::Unfit(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                code::INTERNAL,
                "The registry cannot store this change. Nothing was changed.",
                "Report it, with the gateway's messages.",
            ),
            CommitError::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                code::STORAGE,
                "The change could not be stored. Nothing was changed.",
                "Free space or repair the disk, and try again. No restart is needed.",
            ),
            CommitError::ReadOnly(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                code::READ_ONLY,
                "The home is read-only. Nothing was changed.",
                "Find out what happened, then accept it on the gateway's machine. On the command line: `hearthkey status`, `hearthkey log accept --reason WHY`.",
            ),
        };
        let detail = match &error {
            CommitError::Unfit(why)
            | CommitError::Unavailable(why)
            | CommitError::Unknown(why)
            | CommitError::ReadOnly(why) => sentence(why),
            _ => sentence(&error),
        };
        Self::new(status, code, title, detail, remedy)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code::STORAGE,
            "The registry could not be read.",
            sentence(&error),
            "Repair the disk, or restore a backup.",
        )
    }
}

impl From<ClaimRefusal> for Failure {
    fn from(refusal: ClaimRefusal) -> Self {
        match refusal {
            // What no state of the home would make right.
            ClaimRefusal::Lifetime | ClaimRefusal::Text(_) => Self::invalid(&refusal),
            ClaimRefusal::UnknownProfile(_) => Self::refused(
                &refusal,
                "Check the name. On the command line: `hearthkey profile list`.",
            )
            .titled("The claim was not opened."),
            ClaimRefusal::UnknownEnvironment(_) => Self::refused(
                &refusal,
                "Check the name. On the command line: `hearthkey environment list`.",
            )
            .titled("The claim was not opened."),
            ClaimRefusal::ReservedId(_)
            | ClaimRefusal::GatewaysTopics(..)
            | ClaimRefusal::OthersTopics(_) => {
                Self::refused(&refusal, "Choose another id for the device.")
                    .titled("The device cannot have this id.")
            }
            ClaimRefusal::OtherEnvironment(..)
            | ClaimRefusal::OtherProfile(..)
            | ClaimRefusal::Suspended(_) => Self::refused(
                &refusal,
                "Do that first, then open the claim. On the command line: `hearthkey device show DEVICE` shows the device as it is.",
            ),
        }
    }
}

impl From<StateRefusal> for Failure {
    fn from(refusal: StateRefusal) -> Self {
        Self::refused(&refusal, "Open a new claim if the device is to come back.")
    }
}
