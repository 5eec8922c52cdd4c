//! What a backup file says of itself, before its parts.

use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, HomeId};
use crate::time::Timestamp;

/// The number of the container's format.
pub const FORMAT: u32 = 1;
/// The longest manifest, in bytes.
pub const MANIFEST_MAX_BYTES: usize = 64 * 1024;

/// The parts, in the order in which they lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartName {
    /// The ways into the home.
    #[serde(rename = "slots.json")]
    Slots,
    /// The database.
    #[serde(rename = "hearthkey.db")]
    Database,
    /// The revocations that are kept outside the database.
    #[serde(rename = "revocations.journal")]
    Journal,
    /// The log's newest checkpoint.
    #[serde(rename = "checkpoint.anchor")]
    Anchor,
}

impl PartName {
    /// Every one, in order.
    pub const ALL: [Self; 4] = [Self::Slots, Self::Database, Self::Journal, Self::Anchor];

    /// The longest that a part is believed to be, in bytes.
    pub fn max_bytes(self) -> u64 {
        match self {
            Self::Slots | Self::Anchor => 1024 * 1024,
            Self::Database => 64 * 1024 * 1024 * 1024,
            Self::Journal => 256 * 1024 * 1024,
        }
    }
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Which.
    pub name: PartName,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Fingerprint,
}

/// What a backup file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The home.
    pub home: HomeId,
    /// The version of the program that made it.
    pub version: String,
    /// The number of the database's last migration.
    pub schema: i64,
    /// Home time when it was made.
    pub made_at: Timestamp,
    /// How many records the log has.
    pub log_size: u64,
    /// The log's checkpoint of that size, as a signed note.
    pub checkpoint: String,
    /// The parts, in their order.
    pub parts: Vec<Part>,
}

/// Why a manifest is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidManifest {
    /// Another format.
    #[error(
        "the backup has format {0}, and this program knows format {FORMAT}. Use the version of Hearthkey that made it, or a newer one"
    )]
    Format(u32),
    /// Not a manifest.
    #[error("the backup does not say what it holds: {0}. Use another one")]
    Unreadable(String),
    /// Its parts are not those of a home.
    #[error("the backup does not list the parts of a home. Use another one")]
    Parts,
}

#[derive(Deserialize)]
struct Numbered {
    format: u32,
}

impl Manifest {
    /// Reads a manifest: first its format alone, so that a newer one is named and not called damaged.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidManifest> {
        let unreadable = |error: serde_json::Error| InvalidManifest::Unreadable(error.to_string());
        let Numbered { format } = serde_json::from_slice(text).map_err(unreadable)?;
        if format != FORMAT {
            return Err(InvalidManifest::Format(format));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(unreadable)?;
        let names = manifest.parts.iter().map(|part| part.name);
        let small = |part: &Part| part.bytes <= part.name.max_bytes();
        match names.eq(PartName::ALL) && manifest.parts.iter().all(small) {
            true => Ok(manifest),
            false => Err(InvalidManifest::Parts),
        }
    }

    /// The length of all parts together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let part = |name| Part {
            name,
            bytes: 7,
            sha256: Fingerprint([1; 32]),
        };
        Manifest {
            format: FORMAT,
            home: "attic".parse().unwrap(),
            version: "0.1.0".into(),
            schema: 15,
            made_at: Timestamp::from_s(1),
            log_size: 9,
            checkpoint: "note".into(),
            parts: PartName::ALL.map(part).into(),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let text = serde_json::to_vec(&manifest()).unwrap();
        assert_eq!(Manifest::parse(&text), Ok(manifest()));
        assert_eq!(manifest().bytes(), 28);
    }

    #[test]
    fn another_format_is_named_whatever_else_it_says() {
        let newer = br#"{"format":2,"chunks":[]}"#;
        assert_eq!(Manifest::parse(newer), Err(InvalidManifest::Format(2)));
        let unreadable = Manifest::parse(b"{}").unwrap_err().to_string();
        assert!(
            unreadable.contains("does not say what it holds"),
            "{unreadable}"
        );
    }

    #[test]
    fn parts_that_lack_repeat_or_are_too_long_are_refused() {
        let mut lacking = manifest();
        lacking.parts.pop();
        let mut twice = manifest();
        twice.parts[3] = twice.parts[2].clone();
        let mut long = manifest();
        long.parts[0].bytes = u64::MAX;
        for wrong in [lacking, twice, long] {
            let text = serde_json::to_vec(&wrong).unwrap();
            assert_eq!(Manifest::parse(&text), Err(InvalidManifest::Parts));
        }
    }
}
