//! Paths as the system has them: bytes, which need not be text.

use std::fmt;
use std::fmt::Write;
use std::path::Path;

use serde::{Serialize, Serializer};

/// A path, relative to what was scanned, with `/` between its parts.
///
/// Shown and serialized as text: bytes that are no UTF-8, control characters and backslashes are written as `\xNN`,
/// so that two different paths never look the same and none steers a terminal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(Box<[u8]>);

impl FilePath {
    /// The path made of these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The path as the system names it.
    pub fn of(path: &Path) -> Self {
        Self::from_bytes(path.as_os_str().as_encoded_bytes())
    }

    /// A path below this one.
    pub(super) fn join(&self, below: &Self) -> Self {
        Self([self.as_bytes(), b"/", below.as_bytes()].concat().into())
    }

    /// The path for the system, if these bytes may be one.
    pub(super) fn to_path(&self) -> Option<&Path> {
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            Some(Path::new(std::ffi::OsStr::from_bytes(&self.0)))
        }
        #[cfg(not(unix))]
        {
            str::from_utf8(&self.0).ok().map(Path::new)
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as a relative URI reference (RFC 3986), as SARIF has it.
    pub fn to_uri(&self) -> String {
        let mut uri = String::with_capacity(self.0.len());
        for byte in &self.0 {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    uri.push(char::from(*byte))
                }
                byte => {
                    let _ = write!(uri, "%{byte:02X}");
                }
            }
        }
        uri
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                let turned = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
                if c == '\\' || c.is_control() || turned {
                    let mut bytes = [0; 4];
                    c.encode_utf8(&mut bytes)
                        .bytes()
                        .try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
                } else {
                    f.write_char(c)?;
                }
            }
            chunk
                .invalid()
                .iter()
                .try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilePath({self})")
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How a repository itself is named.
pub(super) fn top_of(repository: Option<&FilePath>) -> FilePath {
    repository
        .cloned()
        .unwrap_or_else(|| FilePath::from_bytes(b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_shown_and_not_obeyed() {
        let path = FilePath::from_bytes(b"a\x1b[2J\n\xff\\x \xe2\x80\xae.txt");
        assert_eq!(
            path.to_string(),
            "a\\x1b[2J\\x0a\\xff\\x5cx \\xe2\\x80\\xae.txt"
        );
        assert_eq!(path.to_uri(), "a%1B%5B2J%0A%FF%5Cx%20%E2%80%AE.txt");
    }
}
