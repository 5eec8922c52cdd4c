//! Reads the configurations that homes keep secrets in, so that they can move to the vault.
//!
//! Reading is pure: bytes in, a [`Reading`] out. Every entry of the file is either found or left with a reason. A
//! value lives in a [`Secret`] and is in no reason, no name and no error. Bounds: [`FILE_MAX_BYTES`],
//! [`ENTRIES_MAX`], [`LINE_MAX_BYTES`] and, for YAML, [`DEPTH_MAX`]; YAML aliases are never expanded.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

pub use hearthkey_core::credential::CredentialName;
use hearthkey_core::secret::Secret;

use crate::dialect::bytes::{self, NotText};

mod address;
mod command;
mod compose;
mod dotenv;
mod esphome;
mod form;
mod home_assistant;
mod judge;
mod mosquitto;
mod naming;
mod recognition;
mod references;
mod secrets_yaml;
mod settings;
mod table;
mod words;
mod zigbee2mqtt;

pub use hearthkey_core::credential::{Kind, Tier, check_not_own, checked_text};
pub use judge::KINDS;
pub use recognition::{Recognized, recognize};

/// The largest file, in bytes.
pub const FILE_MAX_BYTES: usize = 1024 * 1024;
/// The most entries in one file, found and left together.
pub const ENTRIES_MAX: usize = 1000;
/// The longest line of a `.env`, password or CSV file, in bytes.
pub const LINE_MAX_BYTES: usize = 64 * 1024;
pub use crate::dialect::yaml::DEPTH_MAX;

/// A kind of file that can be imported from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Home Assistant's `secrets.yaml`: one flat mapping.
    HomeAssistantSecrets,
    /// Home Assistant's `configuration.yaml`, or a package or another part of it.
    HomeAssistant,
    /// A `.env` file: `NAME=value` lines.
    Dotenv,
    /// Zigbee2MQTT's `configuration.yaml`.
    Zigbee2mqtt,
    /// Zigbee2MQTT's `secret.yaml`: one flat mapping.
    Zigbee2mqttSecrets,
    /// A device's ESPHome YAML.
    Esphome,
    /// A Mosquitto password file. Its hashes cannot be turned back into passwords and are left.
    MosquittoPasswords,
    /// Mosquitto's `mosquitto.conf`.
    MosquittoConf,
    /// A file of services of Docker Compose.
    Compose,
    /// A CSV file (RFC 4180) with a header: `name,value` and optionally `kind,owner,purpose,tier`.
    Csv,
}

impl Source {
    /// Every one there is.
    pub const ALL: &[Self] = &[
        Self::HomeAssistantSecrets,
        Self::HomeAssistant,
        Self::Dotenv,
        Self::Zigbee2mqtt,
        Self::Zigbee2mqttSecrets,
        Self::Esphome,
        Self::MosquittoPasswords,
        Self::MosquittoConf,
        Self::Compose,
        Self::Csv,
    ];

    /// The word that the command line uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HomeAssistantSecrets => "secrets-yaml",
            Self::HomeAssistant => "home-assistant",
            Self::Dotenv => "env",
            Self::Zigbee2mqtt => "zigbee2mqtt",
            Self::Zigbee2mqttSecrets => "zigbee2mqtt-secrets",
            Self::Esphome => "esphome",
            Self::MosquittoPasswords => "mosquitto",
            Self::MosquittoConf => "mosquitto-conf",
            Self::Compose => "compose",
            Self::Csv => "csv",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no kind of file: use one of secrets-yaml, home-assistant, env, zigbee2mqtt, zigbee2mqtt-secrets, esphome, mosquitto, mosquitto-conf, compose, csv"
)]
pub struct InvalidSource {
    text: String,
}

impl FromStr for Source {
    type Err = InvalidSource;
    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let named = Self::ALL.iter().find(|source| source.as_str() == text);
        named.copied().ok_or_else(|| InvalidSource {
            text: text.chars().take(80).collect(),
        })
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Reading {
    /// The secrets, in the order of the file.
    pub found: Vec<Found>,
    /// Everything else, in the order of the file.
    pub left: Vec<Left>,
}

/// A secret that can be imported.
#[derive(Debug)]
pub struct Found {
    /// A name for it; unique within the reading.
    pub suggested: CredentialName,
    /// What it is: one of [`KINDS`].
    pub kind: &'static str,
    /// The value itself.
    pub value: Secret,
    /// The line that it begins on, counted from 1.
    pub line: u32,
    /// What a person should know of how it was read.
    pub note: Option<String>,
    /// Who is responsible for it, if the file says so.
    pub owner: Option<String>,
    /// What it is for, if the file says so.
    pub purpose: Option<String>,
    /// Its tier, if the file says so. Not judged here.
    pub tier: Option<String>,
}

/// An entry that is not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The entry's name in the file, never its value.
    pub what: String,
    /// The line that it begins on, counted from 1.
    pub line: u32,
    /// Why it stays where it is.
    pub why: String,
}

/// Why a file could not be read. No message quotes the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The file is larger than any configuration.
    #[error(
        "{file} has {bytes} bytes; at most {FILE_MAX_BYTES} are read: split it, or choose another file"
    )]
    TooLarge {
        /// The file's name.
        file: String,
        /// Its size.
        bytes: usize,
    },
    /// The file is not UTF-8.
    #[error("{file}, line {line}: not UTF-8: save the file as UTF-8 and try again")]
    NotText {
        /// The file's name.
        file: String,
        /// The line with the first bad byte.
        line: u32,
    },
    /// The file does not have the form that it should have.
    #[error("{file}, line {line}: {what}")]
    Malformed {
        /// The file's name.
        file: String,
        /// The line.
        line: u32,
        /// What is wrong, and what to do.
        what: &'static str,
    },
    /// The file has more entries than are read.
    #[error("{file} has more than {ENTRIES_MAX} entries: split it into smaller files")]
    TooMany {
        /// The file's name.
        file: String,
    },
}

/// Reads a file of a known kind. `file` is its name, for messages and suggested names; `bytes` are all of it.
pub fn read(source: Source, file: &str, bytes: &[u8]) -> Result<Reading, ReadError> {
    if bytes.len() > FILE_MAX_BYTES {
        return Err(ReadError::TooLarge {
            file: file.to_owned(),
            bytes: bytes.len(),
        });
    }
    let text = bytes::text(bytes).map_err(|wrong| not_text(file, bytes, wrong))?;
    let text = text.as_str();
    let mut collected = settings::Collected::new(file);
    match source {
        Source::HomeAssistantSecrets => secrets_yaml::read(text, "home-assistant", &mut collected)?,
        Source::HomeAssistant => home_assistant::read(text, &mut collected)?,
        Source::Dotenv => dotenv::read(text, &mut collected)?,
        Source::Zigbee2mqtt => zigbee2mqtt::read(text, &mut collected)?,
        Source::Zigbee2mqttSecrets => secrets_yaml::read(text, "zigbee2mqtt", &mut collected)?,
        Source::Esphome => esphome::read(text, &mut collected)?,
        Source::MosquittoPasswords => mosquitto::read(text, &mut collected)?,
        Source::MosquittoConf => mosquitto::read_conf(text, &mut collected)?,
        Source::Compose => compose::read(text, &mut collected)?,
        Source::Csv => table::read(text, &mut collected)?,
    }
    Ok(collected.into_reading())
}

fn not_text(file: &str, bytes: &[u8], wrong: NotText) -> ReadError {
    let file = file.to_owned();
    let malformed = |what| ReadError::Malformed {
        file: file.clone(),
        line: 1,
        what,
    };
    match wrong {
        NotText::Utf8(at) => ReadError::NotText {
            line: line_at(bytes, at),
            file,
        },
        NotText::Utf16 => {
            malformed("it begins like UTF-16 and is not: save the file as UTF-8 and try again")
        }
        NotText::Unmarked => {
            malformed("it looks like UTF-16: save the file as UTF-8 and try again")
        }
    }
}

/// The line that holds the byte at an offset, counted from 1.
fn line_at(bytes: &[u8], offset: usize) -> u32 {
    let before = &bytes[..offset.min(bytes.len())];
    u32::try_from(memchr::memchr_iter(b'\n', before).count() + 1).unwrap_or(u32::MAX)
}

/// The last part of a file's name.
fn base_name(file: &str) -> &str {
    Path::new(file)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(file)
}
