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
        || is_named_place(text)
        || whole("${", "}")
        || whole("$(", ")")
        || whole("{{", "}}")
        || whole("%(", ")s")
        || whole("%env(", ")%")
        || whole("((", "))")
        || whole("`", "`")
        || whole("#{", "}")
        || whole("<%", "%>")
        || whole("$__env{", "}")
        || whole("$__file{", "}")
        // Encrypted for another program: SOPS, Jasypt.
        || whole("ENC[", "]")
        || whole("ENC(", ")")
        || text.starts_with("!secret")
        || text.starts_with("!include")
        || text.starts_with("!env_var")
        || text.starts_with("op://")
        || text.starts_with("ref+")
        || text.starts_with("arn:aws:")
        || text.starts_with("file:/")
        || text.starts_with("projects/") && text.contains("/secrets/")
        || text.starts_with("vault:")
}

/// `{FRIGATE_PASSWORD}`, `%PASSWORD%`, `@PASSWORD@`, `__PASSWORD__`, `env:PASSWORD`: a name in capitals, marked as one.
fn is_named_place(text: &str) -> bool {
    let constant = |name: &str| {
        name.len() >= 3
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let marks = [
        ("{", "}"),
        ("%", "%"),
        ("@", "@"),
        ("@@", "@@"),
        ("__", "__"),
        ("env:", ""),
    ];
    marks.iter().any(|(open, close)| {
        let name = text.strip_prefix(open);
        name.and_then(|name| name.strip_suffix(close))
            .is_some_and(constant)
    })
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
            "{FRIGATE_PASSWORD}",
            "%MQTT_PASSWORD%",
            "__MQTT_PASSWORD__",
            "env:MQTT_PASSWORD",
            "ENC[AES256_GCM,data:Ab12]",
            "((db_password))",
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
            "{hunter2}",
            "%x%Y1z2",
            "@Home@",
        ] {
            assert!(reason(text).is_none(), "{text:?}");
        }
    }
}
