//! OpenSSL, as a second opinion where it is installed.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `openssl` in a directory; nothing where there is no openssl.
pub fn openssl(directory: &Path, arguments: &[&str]) -> Option<Output> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output();
    match output {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("without openssl ({error}): no second opinion");
            None
        }
    }
}

pub fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}
