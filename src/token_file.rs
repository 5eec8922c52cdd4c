//! Token files: read with care, written whole or not at all, readable by their owner alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hearthkey_api::TokenFile;
use zeroize::Zeroizing;

use crate::failure::{Failure, code};
use crate::out_file::OutFile;
use crate::output::Output;

/// The longest token file, in bytes: a root, a token and a key have four thousand.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// Reads a token file. One that others can read is used all the same, and said so.
pub fn read(path: &Path, output: Output) -> Result<TokenFile, Failure> {
    let failed = |error: io::Error| Failure::file("read", path, &error);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let shown = path.display();
        output.aside(&format!(
            "Others can read {shown} and use its token: `chmod 600 {shown}`."
        ));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(8192));
    let mut bounded = file.take(FILE_MAX_BYTES);
    bounded.read_to_end(&mut text).map_err(failed)?;
    // What is in the file is not repeated: it may be a token.
    serde_json::from_slice(&text).map_err(|error| {
        Failure::local(
            code::TOKEN_FILE,
            &format!("{} is not a token file.", path.display()),
            format!(
                "It cannot be read at line {}, column {}.",
                error.line(),
                error.column()
            ),
            "Create one with `hearthkey token create … --out FILE`.",
        )
        .of_usage()
    })
}

fn text(file: &TokenFile) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(8192));
    if serde_json::to_writer_pretty(&mut *text, file).is_ok() {
        text.push(b'\n');
    }
    text
}

/// A new token file that waits for its token. Without it, the file goes again.
pub struct Reserved {
    path: PathBuf,
    file: Option<File>,
}

impl Reserved {
    /// Makes the file before there is a token to lose.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Failure::there_already(
                    path,
                    "Choose another file, or remove it: it may hold a token that is in use.",
                ),
                _ => Failure::file("create", path, &error),
            })?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
        })
    }

    /// Writes the token into it.
    pub fn fill(mut self, token: &TokenFile) -> Result<(), Failure> {
        let written = match self.file.as_mut() {
            Some(file) => file.write_all(&text(token)).and_then(|()| file.sync_all()),
            None => Ok(()),
        };
        written.map_err(|error| Failure::file("write", &self.path, &error))?;
        self.file = None;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Replaces a token file as a whole: a reader sees the old one or the new one.
pub fn replace(path: &Path, token: &TokenFile) -> Result<(), Failure> {
    OutFile::write(path, &text(token), true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> TokenFile {
        TokenFile {
            gateway: Some("https://localhost:8443".into()),
            root: "R".into(),
            name: "ci".into(),
            expires_at: "2026-01-01T01:00:00Z".into(),
            renewable_until: "2026-01-08T00:00:00Z".into(),
            key_id: None,
            token: "hk1_canary".into(),
            key: Some("K".into()),
        }
    }

    #[test]
    fn a_token_file_is_its_owners_alone_and_stays_so_when_it_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ci.token");
        Reserved::new(&path).unwrap().fill(&file()).unwrap();
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        let mut renewed = file();
        renewed.expires_at = "2026-01-01T02:00:00Z".into();
        replace(&path, &renewed).unwrap();
        assert_eq!(mode(), 0o600);
        let read = read(&path, Output::new(true)).unwrap();
        assert_eq!(read.expires_at, renewed.expires_at);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_file_is_overwritten_and_none_is_left_without_a_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ci.token");
        let reserved = Reserved::new(&path).unwrap();
        assert!(Reserved::new(&path).is_err());
        drop(reserved);
        assert!(!path.exists());
    }

    #[test]
    fn what_stands_in_a_broken_file_is_not_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ci.token");
        std::fs::write(&path, r#"{"token": "hk1_canary", "root": 5}"#).unwrap();
        let Err(Failure::Told { problem, .. }) = read(&path, Output::new(true)) else {
            panic!("it was read");
        };
        assert!(!format!("{problem:?}").contains("canary"), "{problem:?}");
    }
}
