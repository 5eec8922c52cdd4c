//! Files as people have them, each with the outcome that is expected beside it. Every value that is taken is the one
//! that PyYAML or python-dotenv reads there.
//!
//! `OUTCOMES=write` writes the outcomes anew, to be read and judged by a person.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use hearthkey_discovery::dialect::{bytes, yaml};
use hearthkey_discovery::import::{self, Reading, Recognized, Source};

use crate::readers;

fn files() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files = Vec::new();
    for directory in fs::read_dir(corpus).unwrap() {
        for file in fs::read_dir(directory.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.retain(|path| path.extension().is_none_or(|end| end != "outcome"));
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn outcome(path: &Path, bytes: &[u8]) -> String {
    let source = match import::recognize(path, bytes) {
        Recognized::One(source) => source,
        other => return format!("{other:?}\n"),
    };
    let mut text = format!("{source}\n");
    match import::read(source, name(path), bytes) {
        Ok(Reading { found, left }) => {
            for found in found {
                let value = found.value.expose_text().unwrap();
                let note = found
                    .note
                    .map(|note| format!(" ({note})"))
                    .unwrap_or_default();
                writeln!(
                    text,
                    "{} take {} {} {value:?}{note}",
                    found.line, found.suggested, found.kind
                )
                .unwrap();
            }
            for left in left {
                writeln!(text, "{} leave {}: {}", left.line, left.what, left.why).unwrap();
            }
        }
        Err(error) => writeln!(text, "{error}").unwrap(),
    }
    text
}

#[test]
fn files_as_people_have_them_are_read_as_expected() {
    let mut wrong = Vec::new();
    let files = files();
    assert!(files.len() > 20);
    for path in files {
        let now = outcome(&path, &fs::read(&path).unwrap());
        let beside = path.with_file_name(format!("{}.outcome", name(&path)));
        if std::env::var("OUTCOMES").is_ok_and(|word| word == "write") {
            fs::write(&beside, &now).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if now != expected {
            wrong.push(format!("{}:\n{now}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_yaml_file_has_the_texts_that_pyyaml_has() {
    readers::with(|readers| {
        for path in files() {
            let bytes = fs::read(&path).unwrap();
            if path.extension().is_none_or(|end| end != "yaml") {
                continue;
            }
            let text = bytes::text(&bytes).unwrap();
            let theirs = readers.yaml(&text).unwrap();
            let ours = yaml::read(&text).unwrap_or_default();
            assert!(!ours.is_empty(), "{}", path.display());
            for scalar in ours {
                if scalar.set_again.is_some() || scalar.alias || scalar.tag.is_some() {
                    continue;
                }
                match theirs.get(&scalar.name()) {
                    Some(Ok(text)) => assert_eq!(*scalar.text, *text, "{}", scalar.name()),
                    // A number, a switch or nothing: its text is as written, or it is said that it is another.
                    Some(Err(shown)) => {
                        let same = scalar.text.eq_ignore_ascii_case(shown);
                        let plain = matches!(shown.as_str(), "None" | "True" | "False" | "{}");
                        assert!(
                            same || plain || scalar.is_read_as_another(),
                            "{} {shown}",
                            scalar.name()
                        );
                    }
                    None => panic!(
                        "{}: {} is not there for PyYAML",
                        path.display(),
                        scalar.name()
                    ),
                }
            }
        }
    });
}

#[test]
fn every_dotenv_value_that_is_taken_is_the_one_of_python_dotenv() {
    readers::with(|readers| {
        for path in files() {
            if path.extension().is_none_or(|end| end != "env") {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let theirs = readers.dotenv(&bytes::text(&bytes).unwrap());
            let reading = import::read(Source::Dotenv, name(&path), &bytes).unwrap();
            assert!(!reading.found.is_empty());
            for found in reading.found {
                let value = found.value.expose_text().unwrap();
                // Only a shell reads that one.
                if found.suggested.as_str() == "shell/password" {
                    assert_eq!(value, "it's");
                    continue;
                }
                let held = theirs
                    .iter()
                    .all(|theirs| theirs.values().flatten().any(|text| text == value));
                assert!(held, "{} line {}", path.display(), found.line);
            }
        }
    });
}
