//! Unlock methods: which of them may be removed, and what follows.

use crate::id::InvalidId;

pub use crate::id::UnlockName;

/// Passphrases of one home at most: each attempt to unlock may have to try them all, and each costs a tenth of a second or more.
pub const PASSPHRASES_MAX: usize = 8;

/// The name of the key file among the unlock methods.
pub const KEY_FILE_NAME: &str = "key-file";
/// The name of the recovery code.
pub const RECOVERY_CODE_NAME: &str = "recovery-code";
/// The name of a recovery code that was issued and not confirmed yet.
pub const NEW_RECOVERY_CODE_NAME: &str = "new-recovery-code";
/// The name of a passphrase that was given none.
pub const PASSPHRASE_NAME: &str = "passphrase";

/// An unlock method, as far as that matters for removing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Whether it opens the home, as far as that can be seen without its words.
    pub opens: bool,
    /// Whether it is a file on the disk that it unlocks.
    pub is_key_file: bool,
}

/// What follows from a removal, and a person has to accept before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing opens the home by itself any more, and the file is deleted.
    NoKeyFile,
    /// What is left is on the disk that it unlocks.
    OnlyKeyFile,
}

impl Consequence {
    /// What a person is told.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NoKeyFile => {
                "After each start the home stays sealed until somebody unseals it. unseal.key is deleted, but an SD card or SSD \
                 can keep what was deleted, and copies of the data directory that were made before still open with it: \
                 destroy them if others can get them."
            }
            Self::OnlyKeyFile => {
                "Only the key file is left. It is on the same disk as the data: without that file nobody can open the home, and a \
                 restored copy without it is lost."
            }
        }
    }
}

/// Nothing else opens the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no other unlock method opens this home")]
pub struct LastOne;

/// What follows if one of a home's unlock methods is removed.
pub fn removal(all: &[Held], at: usize) -> Result<Vec<Consequence>, LastOne> {
    let others = all.iter().enumerate().filter(|(n, _)| *n != at);
    let left: Vec<&Held> = others.map(|(_, held)| held).filter(|h| h.opens).collect();
    if left.is_empty() {
        return Err(LastOne);
    }
    let mut consequences = Vec::new();
    if all.get(at).is_some_and(|held| held.is_key_file) {
        consequences.push(Consequence::NoKeyFile);
    }
    if left.iter().all(|held| held.is_key_file) {
        consequences.push(Consequence::OnlyKeyFile);
    }
    Ok(consequences)
}

/// The name that a person gives a passphrase: none that another kind of method has.
pub fn passphrase_name(text: &str) -> Result<UnlockName, InvalidPassphraseName> {
    match text {
        KEY_FILE_NAME | RECOVERY_CODE_NAME | NEW_RECOVERY_CODE_NAME => {
            Err(InvalidPassphraseName::Reserved(text.into()))
        }
        _ => Ok(text.parse()?),
    }
}

/// Why a text names no passphrase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPassphraseName {
    /// Not a name.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// Another kind of method has it.
    #[error("{0} is the name of another kind of unlock method: choose another name")]
    Reserved(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Held = Held {
        opens: true,
        is_key_file: false,
    };
    const FILE: Held = Held {
        opens: true,
        is_key_file: true,
    };
    const BROKEN: Held = Held {
        opens: false,
        is_key_file: false,
    };

    #[test]
    fn the_last_method_that_works_stays() {
        assert_eq!(removal(&[WORDS], 0), Err(LastOne));
        assert_eq!(removal(&[FILE, BROKEN], 0), Err(LastOne));
        assert_eq!(removal(&[WORDS, BROKEN], 1), Ok(vec![]));
        assert_eq!(removal(&[WORDS, WORDS], 0), Ok(vec![]));
    }

    #[test]
    fn what_follows_from_a_removal_is_said_before() {
        assert_eq!(removal(&[FILE, WORDS], 0), Ok(vec![Consequence::NoKeyFile]));
        assert_eq!(
            removal(&[FILE, WORDS], 1),
            Ok(vec![Consequence::OnlyKeyFile])
        );
        assert_eq!(removal(&[FILE, WORDS, WORDS], 1), Ok(vec![]));
        for consequence in [Consequence::NoKeyFile, Consequence::OnlyKeyFile] {
            assert!(consequence.sentence().ends_with('.'));
        }
    }

    #[test]
    fn a_passphrase_has_a_name_of_its_own() {
        assert_eq!(passphrase_name("anna").unwrap().as_str(), "anna");
        for taken in [
            KEY_FILE_NAME,
            RECOVERY_CODE_NAME,
            NEW_RECOVERY_CODE_NAME,
            "A b",
            "",
        ] {
            assert!(passphrase_name(taken).is_err(), "{taken}");
        }
    }
}
