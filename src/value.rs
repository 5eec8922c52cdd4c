//! Secret values on their way in: from a file, standard input or the terminal, never from arguments.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use hearthkey_api::SecretValue;
use hearthkey_discovery::dialect::bytes;
use zeroize::Zeroizing;

use crate::failure::{Failure, code};

/// The longest value, in bytes, as the gateway has it.
pub const VALUE_MAX_BYTES: usize = 64 * 1024;

/// Where a value comes from.
#[derive(Debug, Args)]
pub struct ValueSource {
    /// `-` reads the value from standard input.
    #[arg(value_name = "-")]
    stdin: Option<String>,
    /// Read the value from a file; `-` is standard input. One newline at the end of a text, and a byte-order mark at the beginning, are left out.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Keep every byte, a newline at the end and a byte-order mark at the beginning too.
    #[arg(long)]
    exact: bool,
}

impl ValueSource {
    /// The value from the source that was named.
    pub fn read(&self) -> Result<Option<SecretValue>, Failure> {
        if self.stdin.as_deref().is_some_and(|word| word != "-") {
            // What was typed is not repeated: it may well be the value.
            return Err(Failure::usage(
                "a value is never read from the command line, where every program can see it: use --from-file FILE or -. If you have just typed one, it is in your shell's history: use another value",
            ));
        }
        let bytes = match &self.from_file {
            Some(path) if path.as_os_str() != "-" => from_file(path)?,
            Some(_) => from_stdin()?,
            None if self.stdin.is_some() => from_stdin()?,
            None => return Ok(None),
        };
        checked(bytes, self.exact).map(Some)
    }

    /// The value from the source that was named, or else asked for on the terminal.
    pub fn read_or_ask(&self) -> Result<SecretValue, Failure> {
        if let Some(value) = self.read()? {
            return Ok(value);
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage(
                "no value: name its file with --from-file FILE, or give it on standard input with -",
            ));
        }
        let typed = rpassword::prompt_password("Value (not shown): ")
            .map_err(|error| Failure::system("read the value from the terminal", &error))?;
        checked(Zeroizing::new(typed.into_bytes()), true)
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let file = std::fs::File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    bounded(file).map_err(|error| Failure::file("read", path, &error))
}

fn from_stdin() -> Result<Zeroizing<Vec<u8>>, Failure> {
    bounded(std::io::stdin().lock()).map_err(|error| Failure::system("read standard input", &error))
}

/// Reads a little more than a value may have, and no more.
fn bounded(source: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // UTF-16 takes two bytes where UTF-8 takes one.
    let most = 2 * VALUE_MAX_BYTES + 8;
    // With room for all of it, no earlier copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    source.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn checked(mut bytes: Zeroizing<Vec<u8>>, exact: bool) -> Result<SecretValue, Failure> {
    if !exact {
        bytes = unmarked(bytes)?;
    }
    if !exact && std::str::from_utf8(&bytes).is_ok() && bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    let refused = |detail: String, remedy: &str| {
        Err(Failure::local(
            code::VALUE,
            "The value cannot be stored.",
            detail,
            remedy,
        ))
    };
    match bytes.len() {
        0 => refused("It is empty.".into(), "Check its source."),
        n if n > VALUE_MAX_BYTES => refused(
            format!("It has more than {VALUE_MAX_BYTES} bytes."),
            "The vault is for keys, passwords and tokens. Encrypt a file with a key that is stored here.",
        ),
        _ => Ok(SecretValue::new(bytes)),
    }
}

/// The text without the mark that Windows puts before it; UTF-16 as UTF-8. What may be a mark, or bytes of a key, is
/// refused.
fn unmarked(bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mark = |mark: &[u8]| bytes.starts_with(mark);
    let refused = |detail: &str| {
        Err(Failure::local(
            code::VALUE,
            "The value cannot be stored.",
            detail.to_owned(),
            "Save the file as UTF-8 and try again; if it is no text, add --exact to keep every byte.",
        ))
    };
    if mark(b"\xef\xbb\xbf") {
        return Ok(match std::str::from_utf8(&bytes) {
            Ok(_) => Zeroizing::new(bytes[3..].to_vec()),
            Err(_) => bytes,
        });
    }
    if mark(b"\xff\xfe") || mark(b"\xfe\xff") {
        return match bytes::text(&bytes) {
            Ok(text) if text.chars().all(is_of_a_key) => {
                Ok(Zeroizing::new(text.as_bytes().to_vec()))
            }
            Ok(_) => refused(
                "It begins with the byte order mark of UTF-16, and may be text from Windows or no text.",
            ),
            Err(_) => Ok(bytes),
        };
    }
    match bytes::is_unmarked_utf16(&bytes) {
        true => refused("Every other byte of it is zero: it may be UTF-16 text from Windows."),
        false => Ok(bytes),
    }
}

/// Characters of which keys and passwords are: a UTF-16 value of only these is text, and not random bytes.
fn is_of_a_key(c: char) -> bool {
    matches!(c, '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{17f}' | '\n' | '\r' | '\t' | '€')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8], exact: bool) -> Option<Vec<u8>> {
        let value = checked(Zeroizing::new(bytes.to_vec()), exact);
        value.ok().map(|value| value.expose().to_vec())
    }

    #[test]
    fn one_newline_at_the_end_of_a_text_is_left_out_unless_every_byte_counts() {
        assert_eq!(value(b"key\n", false).unwrap(), b"key");
        assert_eq!(value(b"key\r\n", false).unwrap(), b"key");
        assert_eq!(value(b"key\n\n", false).unwrap(), b"key\n");
        assert_eq!(value(b"key\n", true).unwrap(), b"key\n");
        assert_eq!(value(b"\xff\n", false).unwrap(), b"\xff\n");
    }

    #[test]
    fn a_mark_of_windows_is_left_out_and_a_doubtful_one_is_refused() {
        assert_eq!(value(b"\xef\xbb\xbfkey\r\n", false).unwrap(), b"key");
        assert_eq!(
            value(b"\xff\xfek\0\xe9\0\r\0\n\0", false).unwrap(),
            "ké".as_bytes()
        );
        assert_eq!(value(b"\xfe\xff\0k", false).unwrap(), b"k");
        assert_eq!(value(b"\xef\xbb\xbfkey", true).unwrap(), b"\xef\xbb\xbfkey");
        assert_eq!(value(b"\xff\xfe\x01\x02", false), None);
        assert_eq!(value(b"k\0e\0", false), None);
        // Bytes of a key that only begin like a mark.
        assert_eq!(value(b"\xff\xfe\x01", false).unwrap(), b"\xff\xfe\x01");
        assert_eq!(
            value(b"\xff\xfe\x01\x02", true).unwrap(),
            b"\xff\xfe\x01\x02"
        );
        assert_eq!(value(b"\xef\xbb\xbf\n", false), None);
    }

    #[test]
    fn an_empty_and_an_endless_value_are_refused() {
        assert_eq!(value(b"", false), None);
        assert_eq!(value(b"\n", false), None);
        assert_eq!(value(&vec![b'x'; VALUE_MAX_BYTES + 1], false), None);
        assert!(value(&vec![b'x'; VALUE_MAX_BYTES], false).is_some());
        let read = bounded(std::io::repeat(b'x')).unwrap();
        assert_eq!(read.len(), 2 * VALUE_MAX_BYTES + 8);
    }
}
