//! WebKit passes the locale's language to JavaScript as it is. `C` is no language tag (RFC 5646), and a page that
//! formats a date in it breaks before it has shown anything.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The variable that outranks all others of its kind (POSIX.1-2024 §8.2).
const OUTRANKS_ALL: &str = "LC_ALL";

/// The locale to run in, if the present one names no language.
pub fn instead_of(variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let named = [OUTRANKS_ALL, "LC_MESSAGES", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty());
    let language = named.as_deref().unwrap_or("C");
    let language = language.split(['.', '@']).next().unwrap_or_default();
    matches!(language, "C" | "POSIX").then_some("en_US.UTF-8")
}

/// Replaces this process by itself in another locale. Returns only if that fails.
pub fn begin_again_in(locale: &str) -> ExitCode {
    let program = std::env::current_exe();
    let error = match program {
        Ok(program) => Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(OUTRANKS_ALL, locale)
            .env_remove("LANGUAGE")
            .exec(),
        Err(error) => error,
    };
    eprintln!(
        "This program cannot be started in a locale with a language: {error}. \
         Set LANG to one, like en_US.UTF-8, and start it again."
    );
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instead(variables: &[(&str, &str)]) -> Option<&'static str> {
        instead_of(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_locale_with_a_language_is_kept() {
        assert_eq!(instead(&[("LANG", "de_CH.UTF-8")]), None);
        assert_eq!(instead(&[("LANG", "C"), ("LC_ALL", "en_GB")]), None);
        assert_eq!(instead(&[("LANG", "sr_RS@latin"), ("LC_ALL", "")]), None);
    }

    #[test]
    fn one_without_a_language_is_replaced() {
        for locale in ["C", "POSIX", "C.UTF-8"] {
            assert_eq!(instead(&[("LANG", locale)]), Some("en_US.UTF-8"));
        }
        assert_eq!(instead(&[]), Some("en_US.UTF-8"));
        assert_eq!(
            instead(&[("LANG", "de_CH.UTF-8"), ("LC_ALL", "C")]),
            Some("en_US.UTF-8")
        );
    }

    #[test]
    fn what_replaces_it_is_not_replaced_again() {
        assert_eq!(instead(&[(OUTRANKS_ALL, "en_US.UTF-8")]), None);
    }
}
