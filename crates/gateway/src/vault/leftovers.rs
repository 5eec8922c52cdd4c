//! Findings about values that may work on at a bridge.

use hearthkey_core::credential::CredentialId;
use hearthkey_core::finding::{Finding, FindingKind, Severity};

use crate::vault::credentials::object;

/// The finding that a bridge may have made a value whose answer was lost, and will not end it by itself.
/// The value that is known is named by its id: later it may be ended itself, and another one be the newest.
pub(super) fn lost(id: &CredentialId, version: u32, label: &str, known: Option<&str>) -> Finding {
    let mark = format!("lost {version}");
    let end = match known {
        Some(known) => format!(
            "If the bridge has values named {label:?} with other ids than {known:?}, end them there by hand."
        ),
        None => format!(
            "If the bridge has more than one value named {label:?}, end all but the newest there by hand."
        ),
    };
    Finding::new(FindingKind::Leftover, Severity::High, object(id), &mark).saying(
        "Its bridge may have created a value whose response was lost.",
        end,
    )
}

/// The finding that a bridge may have made a value for a rotation that is over, whose answer was lost. Another rotation may
/// give its own value the same name.
pub(super) fn unheard(id: &CredentialId, rotation: i64, label: &str) -> Finding {
    let mark = format!("lost by rotation {rotation}");
    Finding::new(FindingKind::Leftover, Severity::High, object(id), &mark).saying(
        "Its bridge may have created a value whose response was lost.",
        format!(
            "If the bridge has values named {label:?} other than the one in use, end them there by hand."
        ),
    )
}

/// The finding that a bridge still takes a value that is out of use here.
pub(super) fn leftover(id: &CredentialId, version: u32, what: &str) -> Finding {
    let mark = version.to_string();
    Finding::new(FindingKind::Leftover, Severity::High, object(id), &mark).saying(
        format!("Version {mark} is retired, but may still work."),
        what,
    )
}
