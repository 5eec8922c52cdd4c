//! Names for what was found: valid, readable, unique.

use std::collections::HashSet;

use hearthkey_core::credential::{CredentialName, OWN_BRIDGES};

/// The longest part that is suggested; the rest of the 63 is for a number that makes it unique.
const PART_MAX_BYTES: usize = 48;

/// A text as one part of a credential's name.
pub(super) fn part(text: &str) -> String {
    let mut made = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => made.push(c),
            _ if made.is_empty() || made.ends_with('-') => {}
            _ => made.push('-'),
        }
        if made.len() == PART_MAX_BYTES {
            break;
        }
    }
    made.truncate(made.trim_end_matches('-').len());
    if made.is_empty() {
        "unnamed".to_owned()
    } else {
        made
    }
}

/// The names that a reading has given so far.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<CredentialName>);

impl Names {
    /// A name that was not given before. A second one of the same text gets `-2`.
    pub(super) fn give(&mut self, bridge: &str, key: &str) -> CredentialName {
        let (bridge, key) = (part(bridge), part(key));
        // Some bridges are the gateway's own, and nobody else may have a name there.
        match OWN_BRIDGES.contains(&bridge.as_str()) {
            true => self.first_free(format!("imported/{bridge}-{key}")),
            false => self.first_free(format!("{bridge}/{key}")),
        }
    }

    /// A name that the file itself gives, or the nearest valid one.
    pub(super) fn keep(&mut self, text: &str) -> CredentialName {
        match text.parse::<CredentialName>() {
            Ok(name) if self.0.insert(name.clone()) => name,
            _ => {
                let (bridge, key) = text.split_once('/').unwrap_or(("imported", text));
                self.give(bridge, key)
            }
        }
    }

    fn first_free(&mut self, base: String) -> CredentialName {
        let mut text = base.clone();
        for number in 2u32.. {
            if let Ok(name) = text.parse::<CredentialName>()
                && self.0.insert(name.clone())
            {
                return name;
            }
            text = format!("{base}-{number}");
        }
        unreachable!("a reading has at most a thousand names")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_valid_name_and_no_name_is_given_twice() {
        let mut names = Names::default();
        let long = "x".repeat(300);
        for text in [
            "",
            "Küche Lampe!",
            "../../etc",
            long.as_str(),
            long.as_str(),
            "--",
            "A__B",
            "a-b",
            "日本",
        ] {
            let name = names.give(text, text);
            assert!(name.as_str().parse::<CredentialName>().is_ok(), "{name}");
        }
        assert_eq!(names.give("Hue", "API_Key").as_str(), "hue/api-key");
        assert_eq!(names.give("hue", "api key").as_str(), "hue/api-key-2");
        assert_eq!(names.keep("hue/api_key").as_str(), "hue/api_key");
        assert_eq!(names.keep("hue/api_key").as_str(), "hue/api-key-3");
        assert_eq!(
            names.give("SERVER", "PASSWORD").as_str(),
            "imported/server-password"
        );
        assert_eq!(names.keep("one").as_str(), "imported/one");
    }
}
