//! Reading a bridge's settings: one JSON object, bounded, with nothing in it that is not known.

use serde::de::DeserializeOwned;

use crate::error::SettingsError;
use crate::limits::{SETTINGS_MAX_BYTES, TIMEOUT_MAX_S};

pub(crate) fn read<T: DeserializeOwned>(settings: &str) -> Result<T, SettingsError> {
    if settings.len() > SETTINGS_MAX_BYTES {
        return Err(SettingsError::TooLong(settings.len()));
    }
    serde_json::from_str(settings).map_err(|error| {
        let text = error.to_string();
        // The place in the text is that of JSON that nobody has written.
        let why = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(why, _)| why)
            .replace("missing field ", "this setting is missing: ")
            .replace("expected a sequence", "expected a list, like [\"lamps\"]");
        SettingsError::Unreadable(crate::quote::peer(&why))
    })
}

/// What a rotation costs; none where the settings say that it costs nothing.
pub(crate) fn cost(cost: Option<&str>) -> Option<String> {
    let cost = cost?.trim();
    let plain = cost.trim_end_matches(['.', '!']).trim_end();
    let nothing = ["", "none", "no", "nothing"];
    let is_nothing = nothing.iter().any(|word| plain.eq_ignore_ascii_case(word));
    (!is_nothing).then(|| cost.to_owned())
}

pub(crate) fn timeout_s(timeout_s: Option<u64>) -> Result<Option<u64>, SettingsError> {
    match timeout_s {
        Some(s) if !(1..=TIMEOUT_MAX_S).contains(&s) => Err(SettingsError::invalid(
            "timeout_s",
            format!("is {s}: write 1 to {TIMEOUT_MAX_S}"),
        )),
        given => Ok(given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_of_nothing_is_no_cost() {
        for nothing in ["", "  ", "Nothing.", "none", "NOTHING", "No."] {
            assert_eq!(cost(Some(nothing)), None, "{nothing:?}");
        }
        assert_eq!(cost(None), None);
        for something in ["31 devices pair again.", "Nothing works for a minute."] {
            assert_eq!(cost(Some(something)).as_deref(), Some(something));
        }
    }
}
