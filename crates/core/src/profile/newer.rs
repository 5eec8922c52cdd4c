//! The built-in profiles of this version, beside those that a home has.

use super::{InvalidProfile, Profile};
use crate::id::ProfileName;

/// Built-in profiles that a home does not have as this version has them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Newer<'a> {
    /// They are put, or take the place of older built-in ones.
    pub put: Vec<(ProfileName, &'a str)>,
    /// The home has profiles of its own under these names, which stay.
    pub own: Vec<ProfileName>,
}

/// Compares built-in profiles with the texts that a home keeps, and whether each of those was built in.
pub fn newer<'a>(
    built_in: &[&'a str],
    kept: &[(String, bool)],
) -> Result<Newer<'a>, InvalidProfile> {
    let mut own = Vec::new();
    for (text, _) in kept.iter().filter(|(_, built_in)| !built_in) {
        own.push(Profile::read(text)?.name);
    }
    let mut newer = Newer::default();
    for text in built_in {
        if kept.iter().any(|(known, _)| known == text) {
            continue;
        }
        let name = Profile::parse(text)?.name;
        match own.contains(&name) {
            true => newer.own.push(name),
            false => newer.put.push((name, *text)),
        }
    }
    Ok(newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, text: &str) -> String {
        text.replacen("name = \"generic\"", &format!("name = {name:?}"), 1)
    }

    #[test]
    fn a_newer_built_in_profile_replaces_a_built_in_one_and_none_of_the_homes_own() {
        let generic = super::super::built_in_texts()[0];
        let (ring, later) = (named("ring", generic), format!("{generic}\n# Later.\n"));
        let name: ProfileName = "ring".parse().unwrap();
        let kept = |built_in| [(generic.to_owned(), true), (ring.clone(), built_in)];
        let later_ring = named("ring", &later);
        let texts = [generic, later_ring.as_str()];
        let put = newer(&texts, &kept(true)).unwrap();
        assert_eq!(put.put, [(name.clone(), later_ring.as_str())]);
        assert!(put.own.is_empty());
        let stays = newer(&texts, &kept(false)).unwrap();
        assert!(stays.put.is_empty());
        assert_eq!(stays.own, std::slice::from_ref(&name));
        // One that nobody has yet is put; one that is there as it is now is neither.
        let first = newer(&texts, &kept(true)[..1]).unwrap();
        assert_eq!(first.put, [(name, later_ring.as_str())]);
        let same = newer(&[generic, ring.as_str()], &kept(false)).unwrap();
        assert_eq!(same, Newer::default());
    }
}
