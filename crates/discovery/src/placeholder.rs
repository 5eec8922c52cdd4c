//! Texts that stand where a secret should be.

/// Words that people and templates write instead of a value. Compared without case.
const WORDS: [&str; 30] = [
    "changeme",
    "change_me",
    "change-me",
    "changeit",
    "placeholder",
    "example",
    "secret",
    "password",
    "passwd",
    "token",
    "todo",
    "tbd",
    "none",
    "null",
    "nil",
    "empty",
    "redacted",
    "removed",
    "hidden",
    "yourpassword",
    "your_password",
    "your-password",
    "yourtoken",
    "your_token",
    "yourkey",
    "your_api_key",
    "insert",
    "generate",
    "replace_me",
    "replaceme",
];

/// Beginnings that give a template away. Compared without case.
const STARTS: [&str; 10] = [
    "your_",
    "your-",
    "your ",
    "my_secret",
    "change_this",
    "changethis",
    "change this",
    "enter ",
    "insert ",
    "insert_",
];

/// Why a text is not a value but a place for one, or nothing if it may be a value.
pub(crate) fn reason(text: &str) -> Option<&'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Some("it is empty");
    }
    if is_reference(text) {
        return Some("it refers to a value that is kept elsewhere");
    }
    let lower = text.to_ascii_lowercase();
    let plain = lower.trim_matches(|c| matches!(c, '<' | '>' | '[' | ']' | '*' | '"' | '\''));
    let bracketed = text.starts_with('<') && text.ends_with('>');
    let one_letter = text
        .chars()
        .all(|c| matches!(c, 'x' | 'X' | '*' | '.' | '-' | '_' | '0' | '#' | '?'));
    let known = WORDS.contains(&plain) || STARTS.iter().any(|start| plain.starts_with(start));
    (bracketed || one_letter || known).then_some("it is a placeholder, not a value")
}

/// Whether a text only names where its value is.
fn is_reference(text: &str) -> bool {
    let whole = |open: &str, close: &str| text.starts_with(open) && text.ends_with(close);
    let variable = text.strip_prefix('$').is_some_and(|name| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.bytes().all(|b| !b.is_ascii_lowercase())
    });
    variable
        || whole("${", "}")
        || whole("$(", ")")
        || whole("{{", "}}")
        || whole("%(", ")s")
        || text.starts_with("!secret")
        || text.starts_with("!include")
        || text.starts_with("!env_var")
        || text.starts_with("op://")
        || text.starts_with("vault:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_stands_for_a_value_is_known_by_its_form() {
        for text in [
            "",
            " ",
            "CHANGEME",
            "<your token>",
            "${MQTT_PASSWORD}",
            "$TOKEN",
            "{{ token }}",
            "xxxxxxxx",
            "********",
            "!secret wifi",
            "your_api_key_here",
            "op://home/hue/key",
            "00000000",
        ] {
            assert!(reason(text).is_some(), "{text:?}");
        }
        for text in [
            "hunter2",
            "$6$salt$hash",
            "correct horse battery",
            "$ecret",
            "x9x",
            "Password1!",
        ] {
            assert!(reason(text).is_none(), "{text:?}");
        }
    }
}
