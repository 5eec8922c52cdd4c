//! Backups: where they are put, what they are called, when the next is due, and which are given up.
//!
//! What a backup file holds is its [`Manifest`]; how it is written and read is in the store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::HomeId;
use crate::time::{Span, Timestamp};
use crate::words::words;
pub use manifest::{FORMAT, InvalidManifest, MANIFEST_MAX_BYTES, Manifest, Part, PartName};

mod manifest;
pub mod shipped;

words! {
    /// How often a backup is made by itself.
    Every, "interval of backups", InvalidEvery {
        /// Once a day.
        Daily = "daily",
        /// Once a week.
        Weekly = "weekly",
        /// Once in 30 days.
        Monthly = "monthly",
        /// Only when a person asks for one.
        Never = "never",
    }
}

impl Every {
    /// The time between two; none if none is made by itself.
    pub fn span(self) -> Option<Span> {
        match self {
            Self::Daily => Some(Span::days(1)),
            Self::Weekly => Some(Span::days(7)),
            Self::Monthly => Some(Span::days(30)),
            Self::Never => None,
        }
    }
}

/// Backups that are kept at one place at most.
pub const KEEP_MAX: u32 = 1000;
/// Backups that are kept if nobody says how many.
pub const KEEP_USUAL: u32 = 14;
/// A backup that failed is tried again after this long.
pub const RETRY_AFTER: Span = Span::hours(1);
/// Further recipients of a home's backups at most.
pub const RECIPIENTS_MAX: usize = 8;

/// Where a home's backups go, and how many are kept there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The place.
    pub to: Place,
    /// How many are kept, from 1 to [`KEEP_MAX`].
    pub keep: u32,
    /// How often one is made by itself.
    pub every: Every,
    /// Further recipients, as age writes them: `age1…`.
    #[serde(default)]
    pub recipients: Vec<String>,
}

/// Why a plan cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// The place.
    #[error(transparent)]
    Place(#[from] InvalidPlace),
    /// The number of backups that are kept.
    #[error("{0} backups cannot be kept: keep from 1 to {KEEP_MAX}")]
    Keep(u32),
    /// Too many recipients.
    #[error("{0} further recipients are too many: name at most {RECIPIENTS_MAX}")]
    Recipients(usize),
}

impl Plan {
    /// Checks the numbers of a plan.
    pub fn check(&self) -> Result<(), InvalidPlan> {
        if !(1..=KEEP_MAX).contains(&self.keep) {
            return Err(InvalidPlan::Keep(self.keep));
        }
        match self.recipients.len() {
            few if few <= RECIPIENTS_MAX => Ok(()),
            many => Err(InvalidPlan::Recipients(many)),
        }
    }

    /// Whether a backup is due, given when the newest was made, and when one last failed.
    pub fn is_due(
        &self,
        made_at: Option<Timestamp>,
        failed_at: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let Some(every) = self.every.span() else {
            return false;
        };
        let long_ago = made_at.is_none_or(|made| now >= made.after(every));
        // What failed before the newest was made has been put right.
        let failed = failed_at.filter(|failed| made_at.is_none_or(|made| *failed > made));
        long_ago && failed.is_none_or(|failed| now >= failed.after(RETRY_AFTER))
    }
}

/// A place for backups: a directory, by its absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place(String);

/// The longest path of a place, in bytes.
pub const PLACE_MAX_BYTES: usize = 1024;

/// Why a text is no place for backups.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlace {
    /// Another kind of place.
    #[error(
        "{0}: is no place that this version can put backups at. Name a directory, like /mnt/usb/backups; a share of another machine is mounted first"
    )]
    Scheme(String),
    /// Not an absolute path.
    #[error("{0:?} is not an absolute path. Name a directory from its root, like /mnt/usb/backups")]
    Relative(String),
    /// Not a path that a directory has.
    #[error(
        "the path has more than {PLACE_MAX_BYTES} bytes, control characters, or a part `..`. Name the directory by a plain absolute path"
    )]
    Path,
}

impl Place {
    /// The directory.
    pub fn path(&self) -> &std::path::Path {
        std::path::Path::new(&self.0)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    /// Reads `/path` or `file:///path`.
    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let path = match text.split_once("://") {
            Some(("file", path)) => path,
            Some((scheme, _)) => {
                return Err(InvalidPlace::Scheme(scheme.chars().take(20).collect()));
            }
            None => text,
        };
        if !path.starts_with('/') {
            return Err(InvalidPlace::Relative(path.chars().take(80).collect()));
        }
        let has_controls = path.chars().any(char::is_control);
        if path.len() > PLACE_MAX_BYTES || has_controls || path.split('/').any(|part| part == "..")
        {
            return Err(InvalidPlace::Path);
        }
        let path = path.trim_end_matches('/');
        match path.is_empty() {
            true => Err(InvalidPlace::Path),
            false => Ok(Self(path.to_owned())),
        }
    }
}

impl TryFrom<String> for Place {
    type Error = InvalidPlace;
    fn try_from(text: String) -> Result<Self, InvalidPlace> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> String {
        place.0
    }
}

/// What the names of backup files begin and end with.
const PREFIX: &str = "hearthkey-";
const SUFFIX: &str = ".age";
/// What the name of a file that is still being written ends with.
pub const UNFINISHED_SUFFIX: &str = ".unfinished";

/// The name of a backup file: `hearthkey-attic-1a2b3c4d-20260131T120000Z.age`.
pub fn file_name(home: &HomeId, made_at: Timestamp) -> String {
    let time = made_at.whole_second().to_string();
    let time: String = time.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("{PREFIX}{home}-{time}{SUFFIX}")
}

/// When a backup of a home was made, by the name of its file; none if it is not one of this home.
pub fn made_at(home: &HomeId, name: &str) -> Option<Timestamp> {
    let time = name
        .strip_prefix(PREFIX)?
        .strip_prefix(home.as_str())?
        .strip_prefix('-')?
        .strip_suffix(SUFFIX)?;
    let digits = |from: usize, to: usize| time.get(from..to).filter(|part| is_digits(part));
    let (year, month, day) = (digits(0, 4)?, digits(4, 6)?, digits(6, 8)?);
    let (hour, minute, second) = (digits(9, 11)?, digits(11, 13)?, digits(13, 15)?);
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    let made_at: Timestamp = text.parse().ok()?;
    (file_name(home, made_at) == name).then_some(made_at)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a file is a backup of this home that was never finished.
pub fn is_unfinished(home: &HomeId, name: &str) -> bool {
    let whole = name.strip_suffix(UNFINISHED_SUFFIX);
    whole.is_some_and(|whole| made_at(home, whole).is_some())
}

/// The names of the backups that are given up so that `keep` of the home's own are left: the oldest. Other files are never
/// among them.
pub fn given_up<'a>(home: &HomeId, names: &'a [String], keep: u32) -> Vec<&'a str> {
    let dated = |name: &'a String| Some((made_at(home, name)?, name.as_str()));
    let mut own: Vec<(Timestamp, &str)> = names.iter().filter_map(dated).collect();
    own.sort_unstable();
    let surplus = own.len().saturating_sub(keep.max(1) as usize);
    own.into_iter()
        .take(surplus)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> HomeId {
        "attic-1a2b3c4d".parse().unwrap()
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_s(1_800_000_000).after(Span::hours(hours))
    }

    fn plan(every: Every) -> Plan {
        Plan {
            to: "/mnt/usb".parse().unwrap(),
            keep: 3,
            every,
            recipients: Vec::new(),
        }
    }

    #[test]
    fn a_name_says_whose_backup_it_is_and_when_it_was_made() {
        let made = Timestamp::from_ms(1_800_000_000_123);
        let name = file_name(&home(), made);
        assert_eq!(name, "hearthkey-attic-1a2b3c4d-20270115T080000Z.age");
        assert_eq!(made_at(&home(), &name), Some(made.whole_second()));
        let other: HomeId = "attic".parse().unwrap();
        assert_eq!(made_at(&other, &name), None);
        for foreign in [
            "hearthkey-attic-1a2b3c4d-20270115T080000Z.age.unfinished",
            "hearthkey-attic-1a2b3c4d-20271315T080000Z.age",
            "hearthkey-attic-1a2b3c4d-2027011ST080000Z.age",
            "hearthkey-attic-1a2b3c4d-.age",
            "hearthkey-attic-1a2b3c4d-20270115T080000Zé.age",
            "photos.age",
        ] {
            assert_eq!(made_at(&home(), foreign), None, "{foreign}");
        }
        assert!(is_unfinished(&home(), &format!("{name}.unfinished")));
        assert!(!is_unfinished(&home(), &name));
        assert!(!is_unfinished(&home(), "notes.unfinished"));
    }

    #[test]
    fn the_oldest_are_given_up_and_nothing_of_others() {
        let names: Vec<String> = [3, 1, 2]
            .map(|hours| file_name(&home(), at(hours)))
            .into_iter()
            .chain(["notes.txt".into(), file_name(&"x".parse().unwrap(), at(0))])
            .collect();
        assert_eq!(given_up(&home(), &names, 3), [""; 0]);
        assert_eq!(given_up(&home(), &names, 2), [names[1].as_str()]);
        let most = [names[1].as_str(), names[2].as_str()];
        assert_eq!(given_up(&home(), &names, 0), most, "one is always kept");
    }

    #[test]
    fn a_backup_is_due_when_its_time_has_come_and_a_failed_one_an_hour_later() {
        let daily = plan(Every::Daily);
        assert!(daily.is_due(None, None, at(0)));
        assert!(!daily.is_due(Some(at(0)), None, at(23)));
        assert!(daily.is_due(Some(at(0)), None, at(24)));
        assert!(!daily.is_due(None, Some(at(0)), at(0).after(Span::minutes(59))));
        assert!(daily.is_due(None, Some(at(0)), at(1)));
        assert!(
            daily.is_due(Some(at(1)), Some(at(0)), at(25)),
            "put right since"
        );
        assert!(!daily.is_due(Some(at(0)), Some(at(24)), at(24)));
        assert!(!plan(Every::Never).is_due(None, None, at(99)));
    }

    #[test]
    fn a_place_is_a_directory_by_its_absolute_path() {
        let place = |text: &str| text.parse::<Place>().map(String::from);
        assert_eq!(place("/mnt/usb/"), Ok("/mnt/usb".into()));
        assert_eq!(place("file:///mnt/usb"), Ok("/mnt/usb".into()));
        for (text, said) in [
            ("backups", "not an absolute path"),
            ("s3://bucket/x", "s3: is no place"),
            ("https://nas/dav", "is mounted first"),
            ("/", "plain absolute path"),
            ("/mnt/../etc", "plain absolute path"),
            ("/mnt/\n", "plain absolute path"),
        ] {
            let refused = place(text).unwrap_err().to_string();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn a_plan_keeps_at_least_one() {
        let mut plan = plan(Every::Weekly);
        assert_eq!(plan.check(), Ok(()));
        for keep in [0, KEEP_MAX + 1] {
            plan.keep = keep;
            assert_eq!(plan.check(), Err(InvalidPlan::Keep(keep)));
        }
        plan.keep = 1;
        plan.recipients = vec!["age1".into(); RECIPIENTS_MAX + 1];
        assert!(plan.check().is_err());
    }
}
