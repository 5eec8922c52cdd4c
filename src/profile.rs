//! `hearthkey profile …`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use hearthkey_api::{BODY_MAX_BYTES, Named, ProfileText};

use crate::context::Context;
use crate::failure::Failure;
use crate::url_path::Name;

const PATH: &str = "/api/v1/profiles";

/// The commands about profiles.
#[derive(Debug, Subcommand)]
pub enum Profile {
    /// List the profiles.
    List,
    /// Print a profile's TOML.
    Show {
        /// Its name.
        name: Name,
    },
    /// Add a profile, or replace one of yours.
    Add {
        /// Its TOML file; `hearthkey profile show generic` prints one to start from.
        file: PathBuf,
    },
}

impl Profile {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::List => {
                let profiles: Named = client.get(PATH).await?;
                context
                    .output
                    .answer(&profiles, || profiles.names.join("\n"))
            }
            Self::Show { name } => {
                let profile: ProfileText =
                    client.get(&format!("{PATH}/{}", name.segment())).await?;
                if context.output.is_json() {
                    return context.output.json_line(&profile);
                }
                context.output.bytes(profile.toml.as_bytes())
            }
            Self::Add { file } => {
                let request = ProfileText {
                    toml: read(&file).map_err(|error| Failure::file("read", &file, &error))?,
                    built_in: false,
                };
                let added: ProfileText = client.post(PATH, &request).await?;
                context.output.answer(&added, || {
                    format!("The profile in {} is added.", file.display())
                })
            }
        }
    }
}

/// Reads a text that fits into a request.
fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let limit = BODY_MAX_BYTES as u64;
    File::open(file)?
        .take(limit + 1)
        .read_to_string(&mut text)?;
    if text.len() > BODY_MAX_BYTES {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it has more than {BODY_MAX_BYTES} bytes"),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_fits_into_no_request_is_not_read_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.toml");
        std::fs::write(&file, " ".repeat(BODY_MAX_BYTES)).unwrap();
        assert_eq!(read(&file).unwrap().len(), BODY_MAX_BYTES);
        std::fs::write(&file, " ".repeat(BODY_MAX_BYTES + 1)).unwrap();
        assert_eq!(
            read(&file).unwrap_err().to_string(),
            "it has more than 262144 bytes"
        );
    }
}
