//! Passphrases and recovery codes: from the terminal or the environment, never from arguments.

use std::ffi::OsString;

use zeroize::Zeroizing;

use crate::failure::{Failure, code};

/// Where a passphrase may be put for programs that have no terminal.
pub const VARIABLE: &str = "HEARTHKEY_PASSPHRASE";
/// Where a recovery code may be put for programs that have no terminal.
pub const CODE_VARIABLE: &str = "HEARTHKEY_RECOVERY_CODE";

/// The words in the environment, if there are any.
pub fn in_environment() -> Result<Option<Zeroizing<String>>, Failure> {
    from_value(VARIABLE, std::env::var_os(VARIABLE))
}

/// The words that open the home: from the environment, otherwise asked for. A home without a passphrase has its recovery code
/// only.
pub fn ask(has_passphrase: bool) -> Result<Zeroizing<String>, Failure> {
    match in_environment()? {
        Some(words) => Ok(words),
        None if has_passphrase => given(prompt(VARIABLE, "Passphrase or recovery code: ")?),
        None => given(prompt(
            VARIABLE,
            "This home has no passphrase: restart the gateway, or enter its recovery code.\nRecovery code: ",
        )?),
    }
}

/// The recovery code: from the environment, otherwise asked for. It is not shown while it is typed.
pub fn recovery_code() -> Result<Zeroizing<String>, Failure> {
    match from_value(CODE_VARIABLE, std::env::var_os(CODE_VARIABLE))? {
        Some(code) => Ok(code),
        None => given(prompt(CODE_VARIABLE, "Recovery code: ")?),
    }
}

/// A new passphrase: from the environment, otherwise asked for twice.
pub fn choose() -> Result<Zeroizing<String>, Failure> {
    if let Some(words) = in_environment()? {
        return Ok(words);
    }
    let words = given(prompt(VARIABLE, "New passphrase: ")?)?;
    let again = prompt(VARIABLE, "Repeat: ")?;
    agreed(words, &again)
}

/// What somebody types, asked for.
pub fn typed(question: &str) -> Result<Zeroizing<String>, Failure> {
    given(prompt(VARIABLE, question)?)
}

fn prompt(variable: &str, text: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(text)
        .map(Zeroizing::new)
        .map_err(|error| {
            Failure::local(
                code::NO_WORDS,
                needed(variable),
                format!("There is no terminal to prompt on: {error}."),
                &format!("Run the command in a terminal, or set {variable}."),
            )
        })
}

fn needed(variable: &str) -> &'static str {
    match variable {
        CODE_VARIABLE => "The recovery code is needed.",
        _ => "A passphrase is needed.",
    }
}

fn from_value(
    variable: &str,
    value: Option<OsString>,
) -> Result<Option<Zeroizing<String>>, Failure> {
    match value.map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) if text.is_empty() => Ok(None),
        Some(Ok(text)) => Ok(Some(Zeroizing::new(text))),
        Some(Err(_)) => Err(Failure::local(
            code::NO_WORDS,
            match variable {
                CODE_VARIABLE => "The recovery code cannot be read.",
                _ => "The passphrase cannot be read.",
            },
            format!("{variable} is not valid UTF-8."),
            "Set it again, in UTF-8.",
        )),
    }
}

fn given(words: Zeroizing<String>) -> Result<Zeroizing<String>, Failure> {
    if words.is_empty() {
        return Err(Failure::local(
            code::NO_WORDS,
            "Nothing was typed.",
            "It is needed to go on.".to_owned(),
            "Run the command again and type it.",
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
        assert!(from_value(VARIABLE, Some("".into())).unwrap().is_none());
        assert!(from_value(VARIABLE, None).unwrap().is_none());
    }

    #[test]
    fn the_variable_is_taken_with_its_spaces() {
        let words = from_value(VARIABLE, Some(" a b ".into())).unwrap().unwrap();
        assert_eq!(words.as_str(), " a b ");
    }

    #[test]
    fn a_variable_that_is_not_text_is_refused_without_being_shown() {
        let value = OsString::from_vec(b"hunter2\xff".to_vec());
        let Err(Failure::Told { problem, .. }) = from_value(VARIABLE, Some(value)) else {
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
