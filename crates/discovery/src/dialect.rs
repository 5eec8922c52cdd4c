//! How a value is written into a file, and how it is read from one: one writer and one reader for each dialect.
//!
//! `hearthkey credential render` writes with these, and [`mod@crate::import`] reads with them. For every value that a
//! writer accepts, its reader gives the same value back; a value that a dialect cannot carry is refused with the
//! reason and with a form that can.
//!
//! | dialect | writer | read by |
//! | --- | --- | --- |
//! | [`shell`] | single quotes | POSIX shells: `sh`, `dash`, `bash` |
//! | [`dotenv`] | the first form that all readers take alike | python-dotenv and Docker Compose |
//! | [`quoted`] | double quotes, escaped | YAML 1.1 and 1.2, JSON, TOML |
//! | [`zigbee2mqtt`] | numbers and lists of numbers | Zigbee2MQTT |

use zeroize::Zeroizing;

pub mod bytes;
pub mod dotenv;
pub mod quoted;
pub mod shell;
pub mod yaml;
pub mod zigbee2mqtt;

/// Why a dialect cannot carry a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}. {instead}")]
pub struct Unwritable {
    /// What is wrong with the value there.
    pub why: &'static str,
    /// A form that can carry it.
    pub instead: &'static str,
}

/// What to use for bytes that no text format carries.
const AS_BASE64: &str = "Write it as base64: {{ hearthkey:NAME | base64 }}.";

/// Every way in which the writers of this module, and other people's, write a value, the value itself first.
///
/// For searching: a value that is kept here may stand in a file in each of these forms. Quotes around a form are part
/// of it. Forms that a dialect cannot carry are left out, and none is listed twice.
pub fn forms(value: &str) -> Vec<String> {
    let mut all = vec![value.to_owned()];
    let mut add = |form: Option<String>| {
        if let Some(form) = form
            && !all.contains(&form)
        {
            all.push(form);
        }
    };
    let text = |form: Result<Zeroizing<String>, Unwritable>| form.ok().map(|form| form.to_string());
    add(text(shell::write(value)));
    for form in shell::others(value) {
        add(Some(form.to_string()));
    }
    for form in dotenv::candidates(value) {
        add(Some(form.to_string()));
    }
    add(Some(quoted::write(value).to_string()));
    for form in quoted::others(value) {
        add(Some(form.to_string()));
    }
    // A field of a CSV file (RFC 4180 §2.7), and of SQL in single quotes.
    add(Some(format!("\"{}\"", value.replace('"', "\"\""))));
    let lists = [
        zigbee2mqtt::network_key(value),
        zigbee2mqtt::ext_pan_id(value),
    ];
    for list in lists.into_iter().flatten() {
        add(Some(list.to_string()));
        add(Some(list.replace(", ", ",")));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_value_hold_all_that_is_written_and_none_twice() {
        let forms = forms("it's \"5\"\n");
        for written in [
            "it's \"5\"\n",
            "'it'\\''s \"5\"\n'",
            "'it\\'s \"5\"\n'",
            "\"it's \\\"5\\\"\\n\"",
            "'it''s \"5\"\n'",
            "\"it's \"\"5\"\"\n\"",
        ] {
            assert!(forms.iter().any(|form| form == written), "{written}");
        }
        let mut sorted = forms.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), forms.len());
        let key = super::forms("0703054709");
        assert!(key.len() > 1);
        let key = super::forms("07030547090b0d0f00020406080a0c0d");
        assert!(
            key.iter()
                .any(|form| form == "[7, 3, 5, 71, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 13]")
        );
    }
}
