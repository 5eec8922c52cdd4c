//! What is to become of each secret of a file: judged once, for the dry run and for the other.

use std::collections::HashSet;

use hearthkey_discovery::import::{CredentialName, Found, Kind, Tier, check_not_own, checked_text};

use crate::failure::Failure;

use super::Import;
use super::vault::{Held, Vault};

/// What is to become of one secret.
#[derive(Debug)]
pub(super) enum Fate {
    /// It was not asked for.
    NotAsked,
    /// It is taken; with what is still missing, of a dry run.
    Take(Option<String>),
    /// It takes the place of the vault's value.
    Replace(String),
    /// The vault has this value.
    Here(String),
    /// The vault has another value.
    Differs(String),
    /// It cannot be taken.
    Refused(String),
}

/// A secret of the file, and what is to become of it under which name.
#[derive(Debug)]
pub(super) struct Planned<'a> {
    pub(super) found: &'a Found,
    pub(super) name: String,
    pub(super) fate: Fate,
}

/// Plans an import. Without the vault, nothing is compared.
pub(super) async fn plan<'a>(
    import: &Import,
    found: &'a [Found],
    vault: Option<&Vault>,
) -> Result<Vec<Planned<'a>>, Failure> {
    let mut planned = Vec::new();
    let mut names = HashSet::new();
    for found in found {
        let name = import.name_of(found)?;
        let fate = if !import.wants(found) {
            Fate::NotAsked
        } else if !names.insert(name.clone()) {
            Fate::Refused(
                "another entry of this file has that name: choose another with --rename".to_owned(),
            )
        } else if let Some(why) = unfit(import, found, &name) {
            Fate::Refused(why)
        } else {
            fate(import, found, &name, vault).await?
        };
        planned.push(Planned { found, name, fate });
    }
    let known =
        |name: &String| name.is_empty() || planned.iter().any(|planned| planned.name == *name);
    match import.replace.iter().find(|name| !known(name)) {
        Some(unknown) => Err(Failure::usage(&format!(
            "{unknown} is not one of the names of {}: run without --take to see them",
            import.file.display()
        ))),
        None => Ok(planned),
    }
}

async fn fate(
    import: &Import,
    found: &Found,
    name: &str,
    vault: Option<&Vault>,
) -> Result<Fate, Failure> {
    let held = match vault {
        Some(vault) => {
            let file = import.file.display().to_string();
            vault.held(name, found.value.expose(), &file).await?
        }
        None => Held::Nothing,
    };
    let replaces = import
        .replace
        .iter()
        .any(|wanted| wanted.is_empty() || wanted == name);
    Ok(match held {
        Held::Nothing => Fate::Take(import.missing(found)),
        Held::Same(as_name) if as_name == name => Fate::Here("the vault has this value".to_owned()),
        Held::Same(as_name) => Fate::Here(format!("the vault has this value as {as_name}")),
        Held::NoValue(why) => Fate::Refused(why.to_owned()),
        Held::Earlier(_) if !replaces => Fate::Here(
            "the vault has a newer value: write it into the file with `hearthkey credential render`".to_owned(),
        ),
        Held::Other(version) if !replaces => Fate::Differs(format!(
            "the vault has another value, version {version}: --replace={name} replaces it with this one"
        )),
        Held::Other(_) | Held::Earlier(_) => Fate::Replace("the vault has another value".to_owned()),
    })
}

/// Why the gateway would not take an entry, whatever it holds.
fn unfit(import: &Import, found: &Found, name: &str) -> Option<String> {
    let Ok(name) = name.parse::<CredentialName>() else {
        return Some(format!(
            "{name:?} is not a name for a credential: write bridge/key in small letters, digits and dashes"
        ));
    };
    let own = found
        .kind
        .parse::<Kind>()
        .map(|kind| check_not_own(&name, kind));
    if let Ok(Err(error)) = own {
        return Some(format!("{error}: choose another name with --rename"));
    }
    let tier = found.tier.as_deref().unwrap_or(&import.tier);
    if let Err(error) = tier.parse::<Tier>() {
        return Some(error.to_string());
    }
    let notes = [
        ("owner", found.owner.as_ref().or(import.owner.as_ref())),
        (
            "purpose",
            found.purpose.as_ref().or(import.purpose.as_ref()),
        ),
    ];
    for (what, note) in notes {
        let Some(note) = note else { continue };
        if let Err(error) = checked_text(what, note) {
            return Some(error.to_string());
        }
    }
    None
}
