//! Places where a value should be and a reference to one is, by the rules of each format.

use crate::dialect::dotenv;
use crate::dialect::yaml::Scalar;

const ELSEWHERE: &str = "it refers to a value that is kept elsewhere";

/// Why a scalar holds no value of its own, if so: what every YAML format has in common.
pub(super) fn elsewhere(scalar: &Scalar) -> Option<String> {
    let why = match scalar.tag.as_deref() {
        _ if scalar.alias => "it is a YAML alias: import the place that it points to",
        Some("secret") => "it refers to secrets.yaml: import that file",
        Some("env_var") => "it refers to a variable of the environment",
        Some("input") => "it refers to an input of a blueprint",
        Some(tag) if tag.starts_with("include") => "it refers to another file: import that file",
        Some("lambda") => "it is code, not a value",
        Some("vault") => "it is encrypted by Ansible: decrypt it, then import it",
        // Of ESPHome: the text as it is.
        Some("literal") => return in_force(scalar),
        Some(_) => "it has a tag that is not known here: write the value without it",
        None if !scalar.quoted
            && matches!(scalar.text.as_str(), "" | "~" | "null" | "Null" | "NULL") =>
        {
            "it is empty"
        }
        None => return in_force(scalar),
    };
    Some(why.to_owned())
}

fn in_force(scalar: &Scalar) -> Option<String> {
    let line = scalar.set_again?;
    Some(format!("it is set again in line {line}, which is in force"))
}

/// Home Assistant: templates.
pub(super) fn of_home_assistant(text: &str) -> Option<&'static str> {
    let template = text.contains("{{") || text.contains("{%");
    template.then_some("it is a template, not a value")
}

/// Zigbee2MQTT: `!secret key` and `!file key`, as a text.
pub(super) fn of_zigbee2mqtt(text: &str) -> Option<&'static str> {
    let file = text
        .trim()
        .strip_prefix('!')
        .is_some_and(|rest| rest.contains(' '));
    file.then_some("it refers to secret.yaml or another file: import that file")
}

/// Docker Compose: `$name` and `${…}` in a file of services.
pub(super) fn of_compose(text: &str) -> Option<&'static str> {
    dotenv::interpolated(text).is_err().then_some(ELSEWHERE)
}

/// ESPHome's substitutions: the names that a file declares.
pub(super) struct Substitutions<'a> {
    declared: Vec<&'a str>,
    /// Whether other files take part, which may declare more.
    open: bool,
}

impl<'a> Substitutions<'a> {
    pub(super) fn of(scalars: &'a [Scalar]) -> Self {
        let declared = scalars
            .iter()
            .filter(|scalar| scalar.section() == "substitutions")
            .filter_map(|scalar| scalar.path.get(1).map(String::as_str))
            .collect();
        let open = scalars.iter().any(|scalar| {
            matches!(scalar.section(), "packages" | "<<")
                || scalar.path.get(1).is_some_and(|key| key == "<<")
                || scalar.section() == "substitutions"
                    && scalar.tag.is_some()
                    && scalar.path.len() == 1
        });
        Self { declared, open }
    }

    /// `$name` and `${name}`, and expressions in `${…}`. A `$` with no name behind it is a character like any other,
    /// and so is one with a name that nothing declares; but a text that is nothing else is meant as a reference.
    pub(super) fn why(&self, text: &str) -> Option<&'static str> {
        for (at, _) in text.match_indices('$') {
            let rest = &text[at + 1..];
            if rest.starts_with('{') && rest.contains('}') {
                return Some(ELSEWHERE);
            }
            let name_end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let name = &rest[..name_end.unwrap_or(rest.len())];
            if name.is_empty() {
                continue;
            }
            let whole = at == 0
                && name.len() == rest.len()
                && !name.starts_with(|c: char| c.is_ascii_digit());
            if whole || self.declared.contains(&name) {
                return Some(ELSEWHERE);
            }
            if self.open {
                return Some(
                    "it has a $ and a name that another file of this device may replace: import it by hand",
                );
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_references_of_its_own() {
        let closed = Substitutions {
            declared: vec!["key"],
            open: false,
        };
        let open = Substitutions {
            declared: vec![],
            open: true,
        };
        for text in [
            "$wifi_password",
            "${wifi_password}",
            "a$key",
            "a${1 + 1}",
            "$$key",
        ] {
            assert!(closed.why(text).is_some(), "{text}");
        }
        for text in ["pa$sword", "$$", "5$", "a$ b", "${open"] {
            assert!(closed.why(text).is_none(), "{text}");
        }
        assert!(open.why("pa$sword").is_some());
        assert!(of_zigbee2mqtt("!secret password").is_some());
        assert!(of_zigbee2mqtt("!bang").is_none());
        assert!(of_compose("a${X:-b}").is_some() && of_compose("$$5").is_none());
        assert!(of_home_assistant("{{ states('x') }}").is_some());
    }
}
