//! What is written is read back: by our own readers, and by the shells and parsers that it is written for.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use hearthkey_discovery::dialect::{dotenv, forms, quoted, shell, yaml, zigbee2mqtt};
use hearthkey_discovery::import::{self, Source};
use proptest::prelude::*;

use crate::readers;

/// Pieces that break careless writers and readers.
const HOSTILE: [&str; 44] = [
    "'",
    "\"",
    "\\",
    "$",
    "`",
    "#",
    " #",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "=",
    ":",
    "!",
    "{{",
    "}}",
    "${",
    "}",
    "$a",
    "$(x)",
    "%",
    "&",
    "<",
    ",",
    "[",
    "- ",
    "? ",
    "|",
    "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n",
    "🔑",
    "é",
    "\u{feff}",
    "\u{2028}",
    "\u{85}",
    "\u{a0}",
    "\u{7f}",
    "\u{1b}",
    "\u{fffe}",
    "0",
    "~",
    "null",
    "\\n",
    "\\\\'",
];

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => proptest::sample::select(&HOSTILE[..]).prop_map(str::to_owned),
        3 => proptest::collection::vec(proptest::char::range('!', '~'), 0..8).prop_map(String::from_iter),
        1 => any::<char>().prop_filter("no zero byte", |c| *c != '\0').prop_map(String::from),
    ]
}

fn value() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 1..7)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("a value has a byte", |value| !value.is_empty())
}

fn values() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(value(), 40)
}

/// What a shell makes of words, or nothing where it is not installed.
fn read_by(name: &str, words: &[String]) -> Option<Vec<String>> {
    let script = format!("printf '%s\\0' {}", words.join(" "));
    let output = Command::new(name)
        .args(["-c", &script])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.split_terminator('\0').map(str::to_owned).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_word_for_a_shell_is_the_value_to_every_shell(values in values()) {
        let words: Vec<String> = values.iter().map(|value| shell::write(value).unwrap().to_string()).collect();
        for (word, value) in words.iter().zip(&values) {
            prop_assert_eq!(&**shell::read(word).unwrap(), value);
        }
        for name in ["sh", "dash", "bash"] {
            if let Some(read) = read_by(name, &words) {
                prop_assert_eq!(&read, &values, "{}", name);
            }
        }
    }

    #[test]
    fn a_dotenv_value_is_the_value_to_its_readers_or_refused(values in values()) {
        let mut file = String::new();
        let mut written = Vec::new();
        for (number, value) in values.iter().enumerate() {
            match dotenv::write(value) {
                Ok(form) => {
                    let taken = dotenv::read(&format!("{}\nB='x'\n", *form)).unwrap();
                    prop_assert_eq!(&**taken.value, value);
                    writeln!(file, "K{number}={}", *form).unwrap();
                    written.push((format!("K{number}"), value.clone()));
                }
                Err(refused) => prop_assert!(value.contains('$') || value.contains('\\'), "{}: {}", refused, value),
            }
        }
        readers::with(|readers| {
            for read in readers.dotenv(&file) {
                for (name, value) in &written {
                    assert_eq!(read.get(name), Some(&Some(value.clone())), "{file}");
                }
                assert_eq!(read.len(), written.len());
            }
        });
    }

    #[test]
    fn a_text_in_quotes_is_the_value_to_yaml_json_and_toml(values in values()) {
        let mut file = String::new();
        for (number, value) in values.iter().enumerate() {
            let form = quoted::write(value);
            prop_assert_eq!(&**quoted::read(&form).unwrap(), value);
            prop_assert_eq!(&serde_json::from_str::<String>(&form).unwrap(), value);
            let table: toml::Table = toml::from_str(&format!("a = {}", *form)).unwrap();
            prop_assert_eq!(table["a"].as_str().unwrap(), value);
            writeln!(file, "k{number}: {}", *form).unwrap();
        }
        let read = yaml::read(&file).unwrap_or_default();
        let texts: Vec<&str> = read.iter().map(|scalar| scalar.text.as_str()).collect();
        prop_assert_eq!(&texts, &values.iter().map(String::as_str).collect::<Vec<_>>());
        readers::with(|readers| {
            let read = readers.yaml(&file).unwrap();
            for (number, value) in values.iter().enumerate() {
                assert_eq!(read[&format!("k{number}")], Ok(value.clone()));
            }
        });
    }

    #[test]
    fn what_is_taken_of_any_dotenv_text_is_what_its_readers_take(values in values()) {
        for text in values {
            let Ok(taken) = dotenv::read(&text) else {
                continue;
            };
            let word = text[..taken.end].trim_start_matches([' ', '\t']);
            if shell::read(word).is_some() && (word.contains("'\\'") || word.contains("'\"'\"'") || word.contains("''")) {
                continue;
            }
            readers::with(|readers| {
                // A file is read with its line ends made one.
                let text = text.replace("\r\n", "\n");
                if text.contains('\r') || text.trim_start().is_empty() {
                    return;
                }
                for read in readers.dotenv(&format!("A={text}\n")) {
                    let value = Some(taken.value.replace("\r\n", "\n"));
                    assert_eq!(read.get("A"), Some(&value), "{text:?}");
                }
            });
        }
    }

    #[test]
    fn a_network_key_is_the_same_as_digits_and_as_numbers(key in any::<[u8; 16]>()) {
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = zigbee2mqtt::network_key(&digits).unwrap();
        prop_assert_eq!(&**zigbee2mqtt::read_list(&list).unwrap(), &digits);
        let text = format!("advanced:\n  network_key: {}\n", *list);
        let reading = import::read(Source::Zigbee2mqtt, "configuration.yaml", text.as_bytes()).unwrap();
        prop_assert_eq!(reading.found[0].value.expose_text(), Some(&*digits));
    }
}

#[test]
fn what_no_form_can_carry_is_refused_with_one_that_can() {
    for (refused, instead) in [
        (shell::write("a\0b"), "base64"),
        (dotenv::write("a\0b"), "base64"),
        (dotenv::write("${HOME}"), "base64"),
    ] {
        let refused = refused.unwrap_err();
        assert!(refused.instead.contains(instead), "{refused}");
    }
}

#[test]
fn a_very_long_value_is_written_and_read_in_each_dialect() {
    let value = "it's \\ a \"long\" $ value #1\n".repeat(2400);
    assert!(value.len() > 60_000);
    assert_eq!(
        &**shell::read(&shell::write(&value).unwrap()).unwrap(),
        value
    );
    assert_eq!(&**quoted::read(&quoted::write(&value)).unwrap(), value);
    let form = dotenv::write(&value).unwrap();
    assert_eq!(&**dotenv::read(&form).unwrap().value, value);
    assert!(forms(&value).len() > 5);
}
