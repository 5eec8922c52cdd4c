//! Text that has the form of a secret and is code, a template or a sample.
//!
//! Three questions are asked of what a rule matched. Is it a place for a value: `${X}`, `{password}`, `%PASSWORD%`,
//! `<token>`, `$password`? Is it an expression: `process.env.X`, `self.password1`, `get_password(user)`? Is it a sample:
//! `changeme123`, `test1234`? Within quotes only the first and the third are asked, so that `$ecret123!` and `p{a}ss`
//! are found there.

use std::sync::LazyLock;

use regex::Regex;

/// What surrounds a match.
pub(super) struct Context<'a> {
    /// From the beginning of the rule's match to the secret.
    pub before: &'a [u8],
    /// From the secret's end to the end of what was looked at.
    pub after: &'a [u8],
    /// Whether the rule matches a setting by its name only; otherwise the secret has a form of its own, and what follows
    /// it says nothing.
    pub setting: bool,
}

/// How a match is quoted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
    /// A literal of Python, JavaScript or C# into which `{…}` or `${…}` is put when the program runs.
    Formatted,
    /// A part of an address, or of a database's connection string.
    Address,
}

impl Context<'_> {
    fn quote(&self) -> Quote {
        let before = self.before;
        match before {
            [.., b'f' | b'F' | b'$', b'"' | b'\''] if !is_word_before(before) => Quote::Formatted,
            [.., b'`'] => Quote::Formatted,
            [.., b'\''] => Quote::Single,
            [.., b'"'] => Quote::Double,
            [b';', ..] => Quote::Address,
            _ if before.windows(3).any(|three| three == b"://") => Quote::Address,
            _ => Quote::None,
        }
    }
}

/// Whether the letter before the quote ends a word, and is no prefix of the literal.
fn is_word_before(before: &[u8]) -> bool {
    let letter = before.len().checked_sub(3).map(|at| before[at]);
    letter.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Built once; a test builds each.
macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new($text).unwrap_or_else(|error| unreachable!("a test builds it: {error}"))
        });
    };
}

// A whole value that a program puts another value for.
pattern!(
    PLACE,
    r"(?x)^(?:
        (?:\$?\{{1,3}[^{}]*\}{1,3}|\#\{[^{}]*\}|\$\([^()]*\)|%\([^()]*\)[sd]|<[^<>]*>|\[[A-Za-z_\ -]*\])+
        | %[A-Za-z_][A-Za-z0-9_]*% | %[A-Za-z]+\d* | @[A-Za-z_][A-Za-z0-9_.]*@
        | __[A-Za-z0-9_]+__ | \{\{.* | \$\{.*
        | :[a-z_]+ | \?
    )$"
);
// A part that a program puts another value for, by its spelling alone.
pattern!(
    PART,
    r"(?i)\$\{[a-z_][^{}]*\}|\{\{[^{}]*\}\}|\$\([a-z_][^()]*\)|#\{[^{}]*\}|\{[a-z_.]*(?:pass|pwd|secret|token|key|psk)[a-z0-9_.]*\}"
);
pattern!(FORMATTED, r"\{[^{}]*\}");
pattern!(
    VARIABLE,
    r"^\$\$?[A-Za-z_][A-Za-z0-9_]*$|^\$\{?[A-Za-z_]|^\$this->"
);
pattern!(WHOLE_VARIABLE, r"^\$\$?[A-Za-z_][A-Za-z0-9_]*$");
// A call, an index, a generic type, a member by an arrow.
pattern!(
    EXPRESSION,
    r"(?x)^(?:await\ |new\ |\*|&|!)?[A-Za-z_$][A-Za-z0-9_$]*(?:(?:\?\.|\.|::|->)[A-Za-z_$][A-Za-z0-9_$]*)*
      (?:\(.*|\[.*|<[A-Za-z_\ ,<>:\[\]0-9]*>?|->.*|::.*)$"
);
pattern!(
    MEMBER,
    r"^[A-Za-z_$][A-Za-z0-9_$]*(?:(?:\?\.|\.|::|->)[A-Za-z_$][A-Za-z0-9_$]*)+$"
);
pattern!(
    ROOT,
    r"(?x)^(?:self|this|cls|super|process|os|sys|env|environ|config|configs|conf|cfg|settings|setting|args|argv|opts|
      options|params|param|props|state|ctx|context|app|request|req|response|res|body|data|input|inputs|form|user|account|
      credentials|creds|secrets|secret|vault|vars|var|local|each|module|window|document|import|std|crate|builtins|
      System|Environment|ENV|Config|Settings|constants|const|defaults|values|Values|entry|device|client|session|conn|
      hass|obj|object|item|it|me|test|fixture|faker|random|string|crypto|uuid|json|yaml|matrix|steps|github|runner)\b"
);
// A name of a variable: several words, one of which says what it holds.
pattern!(
    NAMED,
    r"(?xi)^(?:
        (?:[a-z][a-z0-9]*_)+ (?:pass(?:word|wd|phrase)?|pwd|psk|secret|token|key|credential)s?[0-9]{0,3}(?:_[a-z0-9]+)*
        | (?:pass(?:word|wd|phrase)?|pwd|psk|secret|token|key|credential)s?(?:_[a-z0-9]+)+
    )$"
);
pattern!(
    NAMED_JOINED,
    r"^[a-z]+[a-z0-9]*(?:Pass(?:word|wd|phrase)?|Pwd|Psk|Secret|Token|Key)[A-Z0-9]?[A-Za-z0-9]{0,12}$"
);
pattern!(
    PLAIN_PASSWORD,
    r"(?i)^(?:pass(?:word|wd)?|pwd|secret|token|key)[0-9]*$"
);
pattern!(
    SAMPLE,
    r"(?x)(?i)^(?:(?:my|the|some|any|your|our|a|an|test|testing|dummy|fake|mock|sample|example|demo|default|new|old|
      super|insecure|invalid|wrong|bad|not|change|replace|insert|enter|put|foo|bar|baz|foobar|
      password|passwd|pass|pwd|pw|secret|token|key|api|access|auth|value|string|text|user|username|here|this|me|it|
      changeme|changeit|placeholder|redacted|hidden|removed|masked|to|be|is|set|with|for)[\W_]*)+[0-9]{0,4}[\W_]*$"
);
pattern!(
    PATH,
    r"^(?:~|\.{1,2})?/(?:run|etc|var|home|opt|usr|mnt|srv|tmp|root|dev|config|data|secrets?)/|^(?:~|\.{1,2})/|^[A-Za-z]:\\"
);
// An expression that matches passwords.
pattern!(
    REGULAR,
    r"\\[wdsSWD]|\(\?|\[\^|\[[a-zA-Z0-9]-|\{\d+,\d*\}|\.\*|\.\+"
);
pattern!(ADDRESS, r"^[a-z][a-z0-9+.-]*://");

/// Whether a match is no value that somebody wrote down: a place for one, an expression, or a sample.
pub(super) fn is_no_literal(text: &str, context: &Context<'_>) -> bool {
    let quote = context.quote();
    if PLACE.is_match(text) || PART.is_match(text) || is_sample(text) {
        return true;
    }
    match quote {
        Quote::Formatted => FORMATTED.is_match(text) || is_wording(text),
        Quote::Address => {
            WHOLE_VARIABLE.is_match(text) || VARIABLE.is_match(text) && text.contains("->")
        }
        Quote::Double => WHOLE_VARIABLE.is_match(text) || is_wording(text),
        Quote::Single => is_wording(text),
        Quote::None => is_expression(text, context) || is_wording(text),
    }
}

/// Whether it only represents a value: `changeme123`, `test_password_1`. A bare `password1` is somebody's password,
/// `PASSWORD1` is not.
fn is_sample(text: &str) -> bool {
    let lower = text.bytes().any(|byte| byte.is_ascii_lowercase());
    let digit = text.bytes().any(|byte| byte.is_ascii_digit());
    SAMPLE.is_match(text) && !(PLAIN_PASSWORD.is_match(text) && lower && digit)
}

/// Whether it is an expression of a program.
fn is_expression(text: &str, context: &Context<'_>) -> bool {
    let ended = context.setting
        && context
            .after
            .first()
            .is_some_and(|byte| matches!(byte, b',' | b';' | b')'));
    let named = |text: &str| NAMED.is_match(text) || NAMED_JOINED.is_match(text);
    let last = text.rsplit(['.', ':', '>']).next().unwrap_or(text);
    let first = text.split(['.', ':', '-']).next().unwrap_or(text);
    let of_object = context.setting
        && [&b"self."[..], b"this."]
            .iter()
            .any(|root| context.before.trim_ascii_start().starts_with(root));
    ended
        || of_object
        || WHOLE_VARIABLE.is_match(text)
        || EXPRESSION.is_match(text)
        || MEMBER.is_match(text)
            && (ROOT.is_match(text) || named(first) || named(last) || PLAIN_PASSWORD.is_match(last))
        || named(text) && !PLAIN_PASSWORD.is_match(text)
}

/// Whether it is text for people, a path, an address or a pattern.
fn is_wording(text: &str) -> bool {
    let words = text.split(' ').filter(|word| word.len() >= 3);
    let letters = words.filter(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic()));
    letters.count() >= 2 || PATH.is_match(text) || REGULAR.is_match(text) || ADDRESS.is_match(text)
}

/// Whether it is made of words, as names of things are: `grafana-admin-credentials-2`.
pub(super) fn is_name(text: &str) -> bool {
    let parts = || text.split(['-', '_', '.', '/', ':', ' ']);
    let word = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let number = |part: &str| part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    let version = |part: &str| {
        part.strip_prefix(['v', 'V'])
            .is_some_and(|rest| !rest.is_empty() && number(rest))
    };
    parts().count() >= 2
        && parts().all(|part| word(part) || number(part) || version(part))
        && parts().any(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_code(before: &str, text: &str, after: &str) -> bool {
        let context = Context {
            before: before.as_bytes(),
            after: after.as_bytes(),
            setting: true,
        };
        is_no_literal(text, &context)
    }

    #[test]
    fn places_for_values_and_expressions_are_no_secrets() {
        for text in [
            "{password}",
            "${MQTT_PASSWORD2}",
            "{{ token_1 }}",
            "%PASSWORD1%",
            "<your-token-1>",
            "$(get_password1)",
            "%(password1)s",
            "prefix-${TOKEN1}",
            "changeme123",
            "test_password_1",
        ] {
            for before in ["password=", "password='", "password: \"", "mqtt://lamp:"] {
                assert!(is_code(before, text, "\n"), "{before}{text}");
            }
        }
        for text in [
            "process.env.MQTT_PASSWORD1",
            "self.password1",
            "settings.MQTT_PASSWORD_V2",
            "os.environ['X1']",
            "getpass(1)",
            "config.get(user2)",
            "mqtt_password1",
            "mqttPassword2",
            "Option<Psk2>",
            "$password1",
            "/run/secrets/db1",
        ] {
            assert!(is_code("password = ", text, "\n"), "{text}");
        }
        assert!(is_code("password=", "hunter2hunter2", ",\n"));
        assert!(is_code("password = f'", "p{a}ss1234", "'"));
    }

    #[test]
    fn a_secret_with_a_form_of_its_own_is_none_of_a_program_for_what_follows_it() {
        for after in [", please", ");", ";\n"] {
            let context = Context {
                before: b"",
                after: after.as_bytes(),
                setting: false,
            };
            assert!(!is_no_literal("q8Zr2mT0vX4kLp7Yc1Wd", &context), "{after}");
        }
    }

    #[test]
    fn a_password_that_looks_like_code_is_a_secret_in_quotes() {
        for text in [
            "$ecret123!",
            "p{a}ss1234",
            "self.password1",
            "Summer(2026)",
            "a.b.c.d.1",
        ] {
            for before in ["password='", "password: \""] {
                assert!(!is_code(before, text, "\n"), "{before}{text}");
            }
        }
        for text in [
            "$ecret123!",
            "p{a}ss1234",
            "hunter2hunter2",
            "Password123",
            "x1.y2.z3",
        ] {
            assert!(!is_code("password: ", text, "\n"), "{text}");
        }
        assert!(!is_code("password: '", "$ecret123", "'"));
    }

    #[test]
    fn names_of_things_are_not_random() {
        assert!(is_name("grafana-admin-credentials-2"));
        assert!(!is_name("q8Zr2mT0vX4kLp7Yc1Wd"));
        assert!(!is_name("4f0a3b7c-2d1e-485f-9a0b-1c2d3e4f5a6b"));
    }
}
