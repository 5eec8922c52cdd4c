//! `hearthkey credential render`: a template with places for values becomes a file for one reader.
//!
//! A place is `{{ hearthkey:bridge/key }}` or `{{ hearthkey:bridge/key | form }}`. Everything else,
//! other double braces too, stays as it is. The dialects are those of [`hearthkey_discovery::dialect`], which
//! `hearthkey credential import` reads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hearthkey_api::{Given, RevealRequest};
use hearthkey_discovery::dialect::{dotenv, quoted, shell, zigbee2mqtt};
use serde::Serialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::credential::give::obtain;
use crate::failure::{Failure, code};
use crate::out_file::OutFile;
use crate::second_factor::Showing;

/// The longest template, in bytes.
const TEMPLATE_MAX_BYTES: u64 = 1024 * 1024;

/// What is rendered.
#[derive(Debug, Args)]
pub struct Render {
    /// The template, with places like {{ hearthkey:hue/api-key | yaml }}; forms: text, yaml, json and toml in double quotes, env for a shell, dotenv for .env files of python-dotenv and Docker Compose, base64, id for what the bridge calls it (the user name of a password), and .NAME for one field of a value that is a JSON object; .network_key writes the list that Zigbee2MQTT wants, from hexadecimal digits too.
    template: PathBuf,
    /// The environment of all the credentials.
    #[arg(long, short, env = "HEARTHKEY_ENV")]
    env: String,
    /// The file to write, readable by you alone; one that is there is replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Why; it is recorded.
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    #[command(flatten)]
    showing: Showing,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form<'a> {
    /// As it is; only one line of text.
    Text,
    /// In double quotes, for YAML, JSON and TOML alike.
    Quoted,
    /// A word of the POSIX shell.
    Env,
    /// A value of a `.env` file, as python-dotenv and Docker Compose read it.
    Dotenv,
    /// Base64 (RFC 4648 §4).
    Base64,
    /// Its id at the bridge: the user name of a password.
    Id,
    /// One field of a value that is a JSON object: JSON, and so YAML too. The numbers of Zigbee2MQTT are also written from
    /// a value that is nothing but that field, in digits.
    Field(&'a str),
}

const NOT_CLOSED: &str = "a place begins with {{ hearthkey: and does not end: close it with }}";

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Place { name: &'a str, form: Form<'a> },
}

#[derive(Serialize)]
struct Rendered<'a> {
    file: &'a Path,
    credentials: Vec<&'a str>,
}

impl Render {
    /// Writes the file: whole, or not at all.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let failed = |error: &std::io::Error| Failure::file("read", &self.template, error);
        let size = std::fs::metadata(&self.template)
            .map_err(|error| failed(&error))?
            .len();
        if size > TEMPLATE_MAX_BYTES {
            return Err(Failure::content(&self.template, "it is larger than 1 MiB"));
        }
        if same_file(&self.template, &self.out) {
            return Err(Failure::usage(&format!(
                "{} is the template itself, which would be overwritten: name another file with --out",
                self.out.display()
            )));
        }
        let template = std::fs::read_to_string(&self.template).map_err(|error| failed(&error))?;
        let pieces = pieces(&template).map_err(|why| Failure::content(&self.template, &why))?;
        let mut names: Vec<&str> = Vec::new();
        for piece in &pieces {
            if let Piece::Place { name, .. } = piece
                && !names.contains(name)
            {
                names.push(name);
            }
        }
        let second_factor = match names.is_empty() {
            true => None,
            false => self.showing.second_factor()?,
        };
        // No value is given out for a file that cannot be written. To render again is what it is for: it is replaced.
        let mut file = OutFile::begin(&self.out, true)?;
        let mut values = Vec::new();
        if !names.is_empty() {
            let request = RevealRequest {
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                r#use: "render".into(),
                reason: self.reason.clone(),
                version: None,
                second_factor,
            };
            values = obtain(&context.client()?, &self.env, &request).await?;
        }
        let mut text = Zeroizing::new(Vec::with_capacity(template.len() + 128 * 1024));
        for piece in pieces {
            match piece {
                Piece::Text(part) => text.extend_from_slice(part.as_bytes()),
                Piece::Place { name, form } => {
                    let at = names
                        .iter()
                        .position(|known| *known == name)
                        .unwrap_or_default();
                    text.extend_from_slice(&filled(&values[at], form)?);
                }
            }
        }
        let written = file.writer().write_all(&text);
        written.map_err(|error| Failure::file("write", &self.out, &error))?;
        let is_stream = file.is_stream();
        file.finish()?;
        if is_stream {
            // It may be standard output: nothing else belongs there.
            return Ok(());
        }
        let rendered = Rendered {
            file: &self.out,
            credentials: names,
        };
        let shown = || told(&self.out, &rendered.credentials);
        context.output.answer(&rendered, shown)
    }
}

/// What a person reads about a file that was written.
fn told(out: &Path, credentials: &[&str]) -> String {
    match credentials {
        [] => format!(
            "{} is an unchanged copy of the template: it has no place for a value, like {{{{ hearthkey:hue/api-key }}}}.",
            out.display()
        ),
        names => format!("{} holds {} now.", out.display(), names.join(", ")),
    }
}

/// Whether both paths lead to one regular file.
fn same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => {
            one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
        }
        _ => false,
    }
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut from = 0;
    while let Some(open) = rest[from..].find("{{").map(|at| at + from) {
        let inner = &rest[open + 2..];
        let Some(close) = inner.find("}}") else {
            if inner.trim_start().starts_with("hearthkey:") {
                return Err(NOT_CLOSED.to_owned());
            }
            break;
        };
        let Some(place) = inner[..close].trim().strip_prefix("hearthkey:") else {
            from = open + 2;
            continue;
        };
        if place.contains(['{', '\n']) {
            return Err(NOT_CLOSED.to_owned());
        }
        let (name, form) = match place.split_once('|') {
            None => (place.trim(), Form::Text),
            Some((name, form)) => (name.trim(), form_of(form.trim())?),
        };
        pieces.push(Piece::Text(&rest[..open]));
        pieces.push(Piece::Place { name, form });
        rest = &inner[close + 2..];
        from = 0;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn form_of(word: &str) -> Result<Form<'_>, String> {
    if let Some(field) = word.strip_prefix('.').filter(|field| !field.is_empty()) {
        return Ok(Form::Field(field));
    }
    match word {
        "text" => Ok(Form::Text),
        "yaml" | "json" | "toml" => Ok(Form::Quoted),
        "env" => Ok(Form::Env),
        "dotenv" => Ok(Form::Dotenv),
        "base64" => Ok(Form::Base64),
        "id" => Ok(Form::Id),
        _ => Err(format!(
            "{word:?} is not a form of a value: use text, yaml, json, toml, env, dotenv, base64, id, or .NAME for a field"
        )),
    }
}

fn filled(given: &Given, form: Form<'_>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if form != Form::Id {
        return written(&given.name, form, given.value.expose());
    }
    let Some(id) = &given.remote_id else {
        return Err(Failure::local(
            code::VALUE,
            &format!("{} has no id to be written there.", given.name),
            "It has no id at a bridge.".to_owned(),
            "Leave the form out to write the value; or record the id with `hearthkey credential rotate … --remote-id ID`.",
        ));
    };
    written(&given.name, Form::Text, id.as_bytes())
}

fn written(name: &str, form: Form<'_>, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unfit = |why: &str, remedy: &str| {
        Failure::local(
            code::VALUE,
            &format!("{name} cannot be written there."),
            why.to_owned(),
            remedy,
        )
    };
    if form == Form::Base64 {
        return Ok(Zeroizing::new(STANDARD.encode(value).into_bytes()));
    }
    let Ok(text) = std::str::from_utf8(value) else {
        return Err(unfit(
            "Its value is not text.",
            "Write it as base64: {{ hearthkey:NAME | base64 }}.",
        ));
    };
    let text = match form {
        Form::Text if text.chars().any(char::is_control) => {
            return Err(unfit(
                "Its value has more than one line or other control characters.",
                "Write it in quotes: {{ hearthkey:NAME | yaml }}, without quotes around it.",
            ));
        }
        Form::Quoted => quoted::write(text),
        Form::Env | Form::Dotenv => {
            let word = match form {
                Form::Env => shell::write(text),
                _ => dotenv::write(text),
            };
            word.map_err(|refused| unfit(&format!("{}.", refused.why), refused.instead))?
        }
        Form::Field(field) => field_of(text, field).ok_or_else(|| {
            unfit(
                &format!("Its value is not a JSON object with a field {field:?}."),
                "Name a field that it has, or leave the form out to write the whole value.",
            )
        })?,
        Form::Text | Form::Base64 | Form::Id => Zeroizing::new(text.to_owned()),
    };
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

/// The text of one field. Where Zigbee2MQTT wants numbers, digits become numbers.
fn field_of(value: &str, field: &str) -> Option<Zeroizing<String>> {
    let fields: Result<BTreeMap<Cow<'_, str>, &RawValue>, _> = serde_json::from_str(value);
    let text = match &fields {
        Ok(fields) => fields.get(field)?.get(),
        Err(_) => value,
    };
    let bare = quoted::read(text);
    let numbers = bare.as_ref().map_or(text, |bare| bare.as_str());
    let numbers = match field {
        "network_key" => zigbee2mqtt::network_key(numbers),
        "ext_pan_id" => zigbee2mqtt::ext_pan_id(numbers),
        "pan_id" => zigbee2mqtt::pan_id(numbers),
        _ => None,
    };
    match numbers {
        Some(numbers) => Some(numbers),
        None => fields.is_ok().then(|| quoted::json_for_yaml(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_places_are_filled() {
        let template = "a: {{ states('x') }}\nb: \"{{hearthkey:hue/api-key}}\"\nc: {{ hearthkey:wifi/key | yaml }}}}\n{{";
        let found = pieces(template).unwrap();
        assert_eq!(
            found,
            [
                Piece::Text("a: {{ states('x') }}\nb: \""),
                Piece::Place {
                    name: "hue/api-key",
                    form: Form::Text
                },
                Piece::Text("\"\nc: "),
                Piece::Place {
                    name: "wifi/key",
                    form: Form::Quoted
                },
                Piece::Text("}}\n{{"),
            ]
        );
        for broken in [
            "{{ hearthkey:a/b | xml }}",
            "a: {{ hearthkey:a/b\n",
            "a: {{ hearthkey:a/b }\nb: {{ hearthkey:c/d }}\n",
        ] {
            assert!(pieces(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_value_cannot_break_out_of_its_place() {
        let text = |form, value: &[u8]| {
            written("a/b", form, value)
                .ok()
                .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        };
        assert_eq!(text(Form::Text, b"plain").unwrap(), "plain");
        assert_eq!(text(Form::Text, b"two\nlines"), None);
        assert_eq!(text(Form::Text, b"\xff"), None);
        assert_eq!(
            text(Form::Quoted, b"a\"b\\c\nd").unwrap(),
            r#""a\"b\\c\nd""#
        );
        assert_eq!(text(Form::Env, b"it's").unwrap(), r"'it'\''s'");
        assert_eq!(text(Form::Dotenv, b"it's").unwrap(), r"'it\'s'");
        assert_eq!(text(Form::Dotenv, b"a${b}"), None);
        assert_eq!(text(Form::Env, b"a\0b"), None);
        assert_eq!(
            text(Form::Quoted, "\u{2028}".as_bytes()).unwrap(),
            r#""\u2028""#
        );
        assert_eq!(text(Form::Base64, b"\xff\x00").unwrap(), "/wA=");
    }

    #[test]
    fn one_field_of_an_object_is_written_as_it_stands_there() {
        let network = br#"{"network_key": [7, 3, 5], "pan_id": 6754, "name": "a\"b"}"#;
        let field = |field| {
            let written = written("zigbee/network", Form::Field(field), network);
            written
                .ok()
                .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        };
        assert_eq!(field("network_key").unwrap(), "[7, 3, 5]");
        assert_eq!(field("pan_id").unwrap(), "6754");
        assert_eq!(field("name").unwrap(), r#""a\"b""#);
        assert_eq!(field("ext_pan_id"), None);
        assert!(written("a/b", Form::Field("x"), b"[1]").is_err());
        let list = "[7, 3, 5, 71, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 13]";
        let object = r#"{"network_key": "07030547090b0d0f00020406080a0c0d"}"#;
        for value in ["07030547090b0d0f00020406080a0c0d", list, object] {
            let written = written("a/b", Form::Field("network_key"), value.as_bytes()).unwrap();
            assert_eq!(std::str::from_utf8(&written).unwrap(), list, "{value}");
        }
        assert!(written("a/b", Form::Field("network_key"), b"hunter2").is_err());
        assert!(pieces("{{ hearthkey:a/b | . }}").is_err());
    }
}
