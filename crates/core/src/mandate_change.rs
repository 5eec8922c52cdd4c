//! A mandate that takes the place of another: what holds until that is on the disk.

use std::collections::BTreeSet;

use crate::role::{Mandate, Role};

/// What two mandates permit both, as far as a role says it: nothing beyond either of them. None if that is nothing.
pub fn in_between(before: &Mandate, after: &Mandate) -> Option<Mandate> {
    if before.covers(after) {
        return Some(after.clone());
    }
    if after.covers(before) {
        return Some(before.clone());
    }
    let (these, those) = (before.environments(), after.environments());
    let environments: BTreeSet<_> = match (these.is_empty(), those.is_empty()) {
        (true, _) => those.clone(),
        (_, true) => these.clone(),
        (false, false) => these & those,
    };
    // No environments at all would be all of them.
    if environments.is_empty() {
        return None;
    }
    // Of each role, an auditor may do the least.
    let least = Mandate::new(Role::Auditor, environments).ok();
    least.filter(|least| before.covers(least) && after.covers(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mandates() -> Vec<Mandate> {
        let mut all = Vec::new();
        for role in Role::ALL {
            for names in [&[][..], &["home"], &["lab"], &["lab", "shed"], &["shed"]] {
                let names = names.iter().map(|name| name.parse().unwrap()).collect();
                all.extend(Mandate::new(*role, names));
            }
        }
        all
    }

    #[test]
    fn what_holds_in_between_is_beyond_neither_mandate() {
        let all = mandates();
        assert_eq!(
            all.len(),
            14,
            "an owner, and no developer of home or of all"
        );
        for before in &all {
            for after in &all {
                let between = in_between(before, after);
                let beyond = |between: &Mandate| !before.covers(between) || !after.covers(between);
                assert!(!between.as_ref().is_some_and(beyond), "{before} {after}");
                if before.covers(after) {
                    assert_eq!(between.as_ref(), Some(after));
                }
            }
        }
    }

    #[test]
    fn roles_in_different_places_have_nothing_between_them() {
        let at = |role, name: &str| Mandate::new(role, BTreeSet::from([name.parse().unwrap()]));
        let operator = at(Role::Operator, "home").unwrap();
        let developer = at(Role::Developer, "lab").unwrap();
        assert_eq!(in_between(&operator, &developer), None);
        let everywhere = Mandate::new(Role::Operator, BTreeSet::new()).unwrap();
        let auditor = at(Role::Auditor, "lab").ok();
        assert_eq!(in_between(&everywhere, &developer), auditor);
    }
}
