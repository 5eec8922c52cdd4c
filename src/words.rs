//! Passphrases and recovery codes: from the terminal or the environment, never from arguments.

use std::ffi::OsString;

use zeroize::Zeroizing;

use crate::failure::{Failure, code};

/// Where a passphrase may be put for programs that have no terminal.
pub const VARIABLE: &str = "HEARTHKEY_PASSPHRASE";

/// The words in the environment, if there are any.
pub fn in_environment() -> Result<Option<Zeroizing<String>>, Failure> {
    from_value(std::env::var_os(VARIABLE))
}

/// The words that open the home: from the environment, otherwise asked for.
pub fn ask() -> Result<Zeroizing<String>, Failure> {
    match in_environment()? {
        Some(words) => Ok(words),
        None => given(prompt("Passphrase or recovery code: ")?),
    }
}

/// A new passphrase: from the environment, otherwise asked for twice.
pub fn choose() -> Result<Zeroizing<String>, Failure> {
    if let Some(words) = in_environment()? {
        return Ok(words);
    }
    let words = given(prompt("New passphrase: ")?)?;
    let again = prompt("Repeat: ")?;
    agreed(words, &again)
}

/// What somebody types, asked for.
pub fn typed(question: &str) -> Result<Zeroizing<String>, Failure> {
    given(prompt(question)?)
}

fn prompt(text: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(text)
        .map(Zeroizing::new)
        .map_err(|error| {
            Failure::local(
                code::NO_WORDS,
                "A passphrase is needed.",
                format!("There is no terminal to prompt on: {error}."),
                &format!("Run the command in a terminal, or set {VARIABLE}."),
            )
        })
}

fn from_value(value: Option<OsString>) -> Result<Option<Zeroizing<String>>, Failure> {
    match value.map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) if text.is_empty() => Ok(None),
        Some(Ok(text)) => Ok(Some(Zeroizing::new(text))),
        Some(Err(_)) => Err(Failure::local(
            code::NO_WORDS,
            "The passphrase cannot be read.",
            format!("{VARIABLE} is not valid UTF-8."),
            "Set it again, in UTF-8.",
        )),
    }
}

fn given(words: Zeroizing<String>) -> Result<Zeroizing<String>, Failure> {
    if words.is_empty() {
        return Err(Failure::local(
            code::NO_WORDS,
            "A passphrase is needed.",
            "Nothing was typed.".to_owned(),
            "Run the command again and type the passphrase.",
        ));
    }
    Ok(words)
}

fn agreed(words: Zeroizing<String>, again: &str) -> Result<Zeroizing<String>, Failure> {
    if *words != again {
        return Err(Failure::local(
            code::NO_WORDS,
            "The passphrase was not set.",
            "The two entries differ.".to_owned(),
            "Run the command again and type the same passphrase twice.",
        ));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn an_empty_variable_is_as_good_as_none() {
        assert!(from_value(Some("".into())).unwrap().is_none());
        assert!(from_value(None).unwrap().is_none());
    }

    #[test]
    fn the_variable_is_taken_with_its_spaces() {
        let words = from_value(Some(" a b ".into())).unwrap().unwrap();
        assert_eq!(words.as_str(), " a b ");
    }

    #[test]
    fn a_variable_that_is_not_text_is_refused_without_being_shown() {
        let value = OsString::from_vec(b"hunter2\xff".to_vec());
        let Err(Failure::Told { problem, .. }) = from_value(Some(value)) else {
            panic!("it was taken");
        };
        assert_eq!(
            problem.to_string(),
            "The passphrase cannot be read. HEARTHKEY_PASSPHRASE is not valid UTF-8. Set it again, in UTF-8."
        );
    }

    #[test]
    fn two_different_passphrases_are_not_one() {
        assert!(agreed(Zeroizing::new("one".into()), "two").is_err());
        assert!(agreed(Zeroizing::new("one".into()), "one").is_ok());
        assert!(given(Zeroizing::new(String::new())).is_err());
    }
}
