//! Files of services of Docker Compose: `environment`, build arguments and labels, as a mapping or as a list of
//! `NAME=value`; commands, as a text or as a list of words; and addresses and keys wherever they are.

use crate::dialect::dotenv;
use crate::dialect::yaml::Scalar;

use super::ReadError;
use super::command;
use super::judge::is_unmistakable;
use super::references;
use super::settings::{Collected, Named};
use super::words::names_a_secret;

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    let scalars = collected.yaml(text)?;
    for (at, scalar) in scalars.iter().enumerate() {
        let Some((variable, value)) = option_of(&scalars, at)
            .map(|option| (option, scalar.text.as_str()))
            .or_else(|| setting(scalar))
        else {
            continue;
        };
        if !(names_a_secret(variable) || is_unmistakable(value)) {
            continue;
        }
        let why = references::elsewhere(scalar)
            .or_else(|| references::of_compose(value).map(str::to_owned));
        let what = match scalar.path.as_slice() {
            [_, service, ..] => format!("{service}.{variable}"),
            _ => variable.to_owned(),
        };
        if let Some(why) = why {
            collected.leave(&what, scalar.line, &why)?;
            continue;
        }
        let bridge = scalar.path.get(1).map_or("compose", String::as_str);
        let named = Named {
            what: variable,
            bridge,
            key: variable,
            line: scalar.line,
        };
        let taken = collected.taken();
        match dotenv::interpolated(value) {
            Ok(value) => collected.consider(named, &value, None)?,
            Err(why) => collected.leave(&what, scalar.line, &why.to_string())?,
        }
        collected.note_number(taken, scalar);
    }
    Ok(())
}

fn is_element(scalar: &Scalar) -> bool {
    let last = scalar.path.last();
    last.is_some_and(|key| key.parse::<usize>().is_ok())
}

/// The words of a command that are looked at before one of them.
const WORDS_BEFORE: usize = 24;

/// The name of what a word is given to, in a list of words: `["--requirepass", "…"]`, `["curl", "-u", "…"]`.
fn option_of(scalars: &[Scalar], at: usize) -> Option<&str> {
    let list = |scalar: &Scalar| scalar.path[..scalar.path.len() - 1].to_vec();
    if !is_element(&scalars[at]) {
        return None;
    }
    let first = at.saturating_sub(WORDS_BEFORE);
    let own = list(&scalars[at]);
    let others = scalars[first..at].iter().rev();
    let others = others.take_while(|other| is_element(other) && list(other) == own);
    let first = at - others.count();
    let words: Vec<&str> = scalars[first..=at]
        .iter()
        .map(|scalar| scalar.text.as_str())
        .collect();
    command::given_to(&words)
}

/// Name and value of a scalar. Of a list of variables, they are both in the element; a name alone is passed on.
fn setting(scalar: &Scalar) -> Option<(&str, &str)> {
    let element = is_element(scalar);
    let variables = scalar
        .path
        .iter()
        .any(|key| matches!(key.as_str(), "environment" | "args" | "labels"));
    match scalar.text.split_once('=') {
        Some(pair) if element && variables => Some(pair),
        None if element && variables => None,
        _ => Some((scalar.key(), &scalar.text)),
    }
}
