//! What a reader has collected so far, within its bounds.

use hearthkey_core::credential::CredentialName;
use hearthkey_core::secret::{InvalidValue, Secret};

use crate::dialect::yaml::{self, Scalar};

use super::judge::{self, Verdict};
use super::naming::Names;
use super::{ENTRIES_MAX, Found, Left, ReadError, Reading};

/// The longest name of an entry that is shown, in characters.
const WHAT_MAX_CHARS: usize = 120;

/// How a setting is called in the file and in the vault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    /// Its name in the file.
    pub what: &'a str,
    /// The bridge that it would belong to.
    pub bridge: &'a str,
    /// Its name within the bridge.
    pub key: &'a str,
    /// The line, counted from 1.
    pub line: u32,
}

impl<'a> Named<'a> {
    /// A setting of a YAML file.
    pub(super) fn of(scalar: &Scalar, what: &'a str, bridge: &'a str, key: &'a str) -> Self {
        Self {
            what,
            bridge,
            key,
            line: scalar.line,
        }
    }
}

/// A reading in the making.
#[derive(Debug)]
pub(super) struct Collected {
    file: String,
    names: Names,
    reading: Reading,
}

impl Collected {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            names: Names::default(),
            reading: Reading::default(),
        }
    }

    pub(super) fn into_reading(self) -> Reading {
        self.reading
    }

    /// The file's name, for messages and suggested names.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// The scalars of a YAML file.
    pub(super) fn yaml(&self, text: &str) -> Result<Vec<Scalar>, ReadError> {
        yaml::read(text).map_err(|wrong| self.malformed(wrong.line, wrong.what))
    }

    pub(super) fn malformed(&self, line: u32, what: &'static str) -> ReadError {
        ReadError::Malformed {
            file: self.file.clone(),
            line,
            what,
        }
    }

    /// Judges a setting, and takes or leaves it. What is unclear is taken only if `when_unclear` says so.
    pub(super) fn consider(
        &mut self,
        named: Named<'_>,
        value: &str,
        when_unclear: Option<&'static str>,
    ) -> Result<(), ReadError> {
        match (judge::judge(named.what, value), when_unclear) {
            (Verdict::Secret(kind), _) | (Verdict::Unclear, Some(kind)) => {
                self.find(named, kind, value)
            }
            (Verdict::Plain(why), _) => self.leave(named.what, named.line, why),
            (Verdict::Unclear, None) => {
                self.leave(named.what, named.line, "it does not look like a secret")
            }
        }
    }

    /// Takes a secret.
    pub(super) fn find(
        &mut self,
        named: Named<'_>,
        kind: &'static str,
        value: &str,
    ) -> Result<(), ReadError> {
        let suggested = match Secret::text(value) {
            Ok(value) => {
                let suggested = self.names.give(named.bridge, named.key);
                Found {
                    suggested,
                    kind,
                    value,
                    line: named.line,
                    note: None,
                    owner: None,
                    purpose: None,
                    tier: None,
                }
            }
            Err(error) => return self.leave(named.what, named.line, unfit(error)),
        };
        self.push(suggested)
    }

    /// Judges a scalar by its own key, then by its place and its value, and takes or leaves it. What other readers take
    /// for another text is taken as it is written, and said.
    pub(super) fn consider_scalar(
        &mut self,
        named: Named<'_>,
        scalar: &Scalar,
        when_unclear: Option<&'static str>,
    ) -> Result<(), ReadError> {
        let before = self.taken();
        match (judge::judge(scalar.key(), &scalar.text), when_unclear) {
            (Verdict::Secret(kind), _) => {
                let kind = match judge::judge(named.what, &scalar.text) {
                    Verdict::Secret(by_place) if kind != "other" => by_place,
                    _ => kind,
                };
                self.find(named, kind, &scalar.text)?;
            }
            (Verdict::Unclear, Some(kind)) => self.find(named, kind, &scalar.text)?,
            (Verdict::Plain(why), _) => self.leave(named.what, named.line, why)?,
            (Verdict::Unclear, None) => {
                self.leave(named.what, named.line, "it does not look like a secret")?;
            }
        }
        self.note_number(before, scalar);
        Ok(())
    }

    /// How many secrets were taken so far.
    pub(super) fn taken(&self) -> usize {
        self.reading.found.len()
    }

    /// Says of what was taken since then that readers of YAML take its text for another number, if they do.
    pub(super) fn note_number(&mut self, since: usize, scalar: &Scalar) {
        if let Some(found) = self.reading.found.get_mut(since)
            && scalar.is_read_as_another()
        {
            found.note = Some(
                "taken as it is written; without quotes, readers of YAML 1.1 take it for another number".to_owned(),
            );
        }
    }

    /// The name that the file gives, or the nearest valid one that is free.
    pub(super) fn name(&mut self, text: &str) -> CredentialName {
        self.names.keep(text)
    }

    /// Takes a secret about which the file says everything.
    pub(super) fn push(&mut self, found: Found) -> Result<(), ReadError> {
        self.reading.found.push(found);
        self.within_bounds()
    }

    /// Leaves an entry where it is.
    pub(super) fn leave(&mut self, what: &str, line: u32, why: &str) -> Result<(), ReadError> {
        let what = what.chars().take(WHAT_MAX_CHARS).collect();
        self.reading.left.push(Left {
            what,
            line,
            why: why.to_owned(),
        });
        self.within_bounds()
    }

    fn within_bounds(&self) -> Result<(), ReadError> {
        if self.reading.found.len() + self.reading.left.len() > ENTRIES_MAX {
            return Err(ReadError::TooMany {
                file: self.file.clone(),
            });
        }
        Ok(())
    }
}

/// Why a value cannot be held by the vault.
pub(super) fn unfit(error: InvalidValue) -> &'static str {
    match error {
        InvalidValue::Empty => "it is empty",
        InvalidValue::TooLong(_) => "it is longer than 64 KiB: the vault holds no files",
    }
}
