//! Files of services of Docker Compose: `environment`, as a mapping or as a list of `NAME=value`, and addresses and keys
//! wherever they are.

use crate::dialect::dotenv;
use crate::dialect::yaml::Scalar;

use super::ReadError;
use super::judge::{is_unmistakable, names_a_secret};
use super::references;
use super::settings::{Collected, Named};

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    for scalar in &collected.yaml(text)? {
        let Some((variable, value)) = setting(scalar) else {
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
        match dotenv::interpolated(value) {
            Ok(value) => collected.consider(named, &value, None)?,
            Err(why) => collected.leave(&what, scalar.line, &why.to_string())?,
        }
    }
    Ok(())
}

/// Name and value of a scalar. Of a list of variables, they are both in the element; a name alone is passed on.
fn setting(scalar: &Scalar) -> Option<(&str, &str)> {
    let element = scalar
        .path
        .last()
        .is_some_and(|key| key.parse::<usize>().is_ok());
    let variables = scalar.path.iter().any(|key| key == "environment");
    match scalar.text.split_once('=') {
        Some(pair) if element && variables => Some(pair),
        None if element && variables => None,
        _ => Some((scalar.key(), &scalar.text)),
    }
}
