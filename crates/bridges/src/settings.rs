//! Reading a bridge's settings: one JSON object, bounded, with nothing in it that is not known.

use serde::de::DeserializeOwned;

use crate::error::SettingsError;
use crate::limits::{SETTINGS_MAX_BYTES, TIMEOUT_MAX_S};

pub(crate) fn read<T: DeserializeOwned>(settings: &str) -> Result<T, SettingsError> {
    if settings.len() > SETTINGS_MAX_BYTES {
        return Err(SettingsError::TooLong(settings.len()));
    }
    serde_json::from_str(settings)
        .map_err(|error| SettingsError::Unreadable(crate::quote::peer(&error.to_string())))
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
