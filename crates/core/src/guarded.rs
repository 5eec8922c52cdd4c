//! The attributes that guard a credential, and who may change them.
//!
//! A tier, an end or a place of use decides who reaches a value and for how long. So nobody changes them whom they
//! keep out: no token does, and where a value is critical, or becomes less well guarded, a person shows a second factor.

use std::fmt;

use crate::credential::{Credential, Tier};

/// An attribute that guards a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Who reaches the value, and when it is due.
    Tier,
    /// Who is responsible for it, and is asked about it.
    Owner,
    /// Until when it is given out.
    Expiry,
    /// When it is replaced, and how long the old value lives on.
    Schedule,
    /// Who is notified of its rotations, and confirms them.
    Places,
    /// What it may do: more is a finding.
    Scopes,
    /// Where its value lies, if that is elsewhere.
    Location,
    /// When its value was last replaced there, from which on it counts as due.
    Replacement,
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tier => "tier",
            Self::Owner => "owner",
            Self::Expiry => "end",
            Self::Schedule => "schedule",
            Self::Places => "places of use",
            Self::Scopes => "scopes",
            Self::Location => "place where it is stored",
            Self::Replacement => "last replacement",
        })
    }
}

/// Who changes a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changer {
    /// The bearer of a token, whatever that grants.
    Token,
    /// A person, and whether they showed a second factor within the last minutes.
    Person {
        /// Whether they did.
        fresh: bool,
    },
}

impl Changer {
    /// Whether it is a person who has shown a second factor within the last minutes.
    pub fn is_fresh(self) -> bool {
        self == Self::Person { fresh: true }
    }
}

/// Why an attribute stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Guarded {
    /// A token changes none.
    #[error("a token may not change the {0} of a credential")]
    FromTokens(Guard),
    /// A person shows a second factor first.
    #[error("changing the {0} of this credential needs a second factor")]
    NeedsSecondFactor(Guard),
}

/// The guarding attributes in which two descriptions differ.
fn changed(before: &Credential, after: &Credential) -> Vec<Guard> {
    let differs = [
        (before.tier != after.tier, Guard::Tier),
        (before.owner != after.owner, Guard::Owner),
        (before.expires_at != after.expires_at, Guard::Expiry),
        (before.rotation != after.rotation, Guard::Schedule),
        (before.used_by != after.used_by, Guard::Places),
        (before.scopes != after.scopes, Guard::Scopes),
        (before.location != after.location, Guard::Location),
        (before.provenance != after.provenance, Guard::Replacement),
    ];
    let changed = differs.into_iter().filter(|(differs, _)| *differs);
    changed.map(|(_, guard)| guard).collect()
}

/// Whether a tier is lower than another: less harm is said to follow from a leak.
fn is_lower(after: Tier, before: Tier) -> bool {
    let rank = |tier| Tier::ALL.iter().position(|known| *known == tier);
    rank(after) > rank(before)
}

/// The tiers below another.
pub fn lower_than(tier: Tier) -> impl Iterator<Item = Tier> {
    let all = Tier::ALL.iter().copied();
    all.filter(move |lower| is_lower(*lower, tier))
}

/// The tier by which it is judged who gets a value: one that a bridge has made opens what the authority opens by which the
/// bridge was asked, whatever tier its own credential was given.
pub fn effective_tier(own: Tier, authority: Option<Tier>, is_made_with_it: bool) -> Tier {
    match authority.filter(|authority| is_made_with_it && is_lower(own, *authority)) {
        Some(authority) => authority,
        None => own,
    }
}

/// Authorities that are followed, one behind the other. A longer chain counts as critical.
pub const AUTHORITIES_MAX: usize = 8;

/// An authority: a credential by which a bridge is asked for values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<I> {
    /// Its own tier.
    pub tier: Tier,
    /// The authority by which its own value was made; none if it was given.
    pub made_by: Option<I>,
}

/// The tier by which an authority is judged: the highest of its own and those of the authorities behind it, each of which
/// made the value of the one before. A chain that comes back to itself ends there. None if there is no such authority.
pub fn tier_of_chain<I: PartialEq, E>(
    first: I,
    mut look_up: impl FnMut(&I) -> Result<Option<Authority<I>>, E>,
) -> Result<Option<Tier>, E> {
    let (mut seen, mut next, mut highest) = (Vec::new(), Some(first), None);
    while let Some(id) = next.take().filter(|id| !seen.contains(id)) {
        if seen.len() == AUTHORITIES_MAX {
            return Ok(Some(Tier::Critical));
        }
        let Some(authority) = look_up(&id)? else {
            break;
        };
        highest = Some(effective_tier(authority.tier, highest, true));
        next = authority.made_by;
        seen.push(id);
    }
    Ok(highest)
}

/// Whether the end of a credential may go with the value that it was the end of, when that is replaced: for callers who may
/// move it anyhow. By itself, and for everybody else, it stays.
pub fn may_drop_end(changer: Changer, credential: &Credential) -> bool {
    let mut without = credential.clone();
    without.expires_at = None;
    may_change(changer, credential, &without).is_ok()
}

/// Whether a credential may be described anew like this.
pub fn may_change(
    changer: Changer,
    before: &Credential,
    after: &Credential,
) -> Result<(), Guarded> {
    let changed = changed(before, after);
    let Some(first) = changed.first().copied() else {
        return Ok(());
    };
    match changer {
        Changer::Token => Err(Guarded::FromTokens(first)),
        Changer::Person { fresh: true } => Ok(()),
        Changer::Person { fresh: false } => {
            let weaker = before.tier == Tier::Critical || is_lower(after.tier, before.tier);
            match weaker {
                true => Err(Guarded::NeedsSecondFactor(first)),
                false => Ok(()),
            }
        }
    }
}

/// Whether a credential of this tier may be added under a name whose earlier values are still kept: it could bring
/// them back, and represents what the earlier one stood for.
pub fn may_follow(changer: Changer, earlier: Tier, tier: Tier) -> Result<(), Guarded> {
    match (is_lower(tier, earlier), changer) {
        (false, _) | (true, Changer::Person { fresh: true }) => Ok(()),
        (true, Changer::Token) => Err(Guarded::FromTokens(Guard::Tier)),
        (true, Changer::Person { fresh: false }) => Err(Guarded::NeedsSecondFactor(Guard::Tier)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{Custody, Kind, Origin, Provenance, State};
    use crate::rotation::RotationPolicy;
    use crate::time::Timestamp;

    fn credential(tier: Tier) -> Credential {
        Credential {
            id: crate::credential::CredentialId {
                environment: "lab".parse().unwrap(),
                name: "hue/key".parse().unwrap(),
            },
            kind: Kind::ApiKey,
            owner: "anna".into(),
            purpose: "lights".into(),
            tier,
            custody: Custody::Vault,
            location: None,
            provenance: Provenance {
                origin: Origin::Entered,
                source: None,
                by: "uid:0".into(),
                address: None,
                at: Timestamp::from_s(0),
            },
            state: State::Active,
            rotation: RotationPolicy::default(),
            used_by: vec!["builds".into()],
            scopes: vec!["read".into()],
            expires_at: Some(Timestamp::from_s(100)),
        }
    }

    type Edit = fn(&mut Credential);
    const EDITS: [(Guard, Edit); 8] = [
        (Guard::Tier, |c| c.tier = Tier::High),
        (Guard::Owner, |c| c.owner = "eve".into()),
        (Guard::Expiry, |c| c.expires_at = None),
        (Guard::Schedule, |c| c.rotation.max_uses = Some(9)),
        (Guard::Places, |c| c.used_by.clear()),
        (Guard::Scopes, |c| c.scopes.push("admin".into())),
        (Guard::Location, |c| c.location = Some("a safe".into())),
        (Guard::Replacement, |c| {
            c.provenance.at = Timestamp::from_s(50);
        }),
    ];
    const LATE: Changer = Changer::Person { fresh: false };
    const FRESH: Changer = Changer::Person { fresh: true };

    #[test]
    fn no_token_changes_what_guards_a_credential() {
        for before in [Tier::Critical, Tier::Standard].map(credential) {
            for (guard, edit) in EDITS {
                let mut after = before.clone();
                edit(&mut after);
                let judged = may_change(Changer::Token, &before, &after);
                assert_eq!(judged, Err(Guarded::FromTokens(guard)));
                assert_eq!(may_change(FRESH, &before, &after), Ok(()));
            }
            let mut after = before.clone();
            after.purpose = "more lights".into();
            assert_eq!(may_change(Changer::Token, &before, &after), Ok(()));
        }
    }

    #[test]
    fn what_is_made_with_an_authority_is_as_critical_as_that_and_what_is_given_is_not() {
        for (own, authority, made, effective) in [
            (Tier::Standard, Some(Tier::Critical), true, Tier::Critical),
            (Tier::Standard, Some(Tier::Critical), false, Tier::Standard),
            (Tier::Critical, Some(Tier::Standard), true, Tier::Critical),
            (Tier::High, Some(Tier::Standard), true, Tier::High),
            (Tier::Standard, None, true, Tier::Standard),
        ] {
            let judged = effective_tier(own, authority, made);
            assert_eq!(judged, effective, "{own} {authority:?} {made}");
        }
    }

    /// The tier of the first of these authorities: each has a tier and the place of the one by which it was made.
    fn chained(authorities: &[(Tier, Option<usize>)]) -> Option<Tier> {
        let mut reads = 0;
        let look_up = |place: &usize| {
            reads += 1;
            let found = authorities.get(*place);
            Ok::<_, ()>(found.map(|(tier, made_by)| Authority {
                tier: *tier,
                made_by: *made_by,
            }))
        };
        let tier = tier_of_chain(0, look_up).unwrap();
        assert!(reads <= AUTHORITIES_MAX, "{reads}");
        tier
    }

    #[test]
    fn lower_tiers_are_those_of_less_harm() {
        let below = |tier| lower_than(tier).collect::<Vec<_>>();
        assert_eq!(below(Tier::Critical), [Tier::High, Tier::Standard]);
        assert_eq!(below(Tier::High), [Tier::Standard]);
        assert_eq!(below(Tier::Standard), []);
    }

    #[test]
    fn an_authority_is_as_critical_as_the_ones_by_which_it_was_made() {
        use Tier::{Critical, High, Standard};
        for (authorities, judged) in [
            (&[][..], None),
            (&[(Standard, None)], Some(Standard)),
            (&[(Standard, Some(1)), (Critical, None)], Some(Critical)),
            (
                &[(Standard, Some(1)), (Standard, Some(2)), (High, None)],
                Some(High),
            ),
            (
                &[(Standard, Some(1)), (Critical, Some(2)), (Standard, None)],
                Some(Critical),
            ),
            // The one behind it is not there any more.
            (&[(High, Some(1))], Some(High)),
            // Its value was given, not made: whatever is there besides counts for nothing.
            (&[(Standard, None), (Critical, None)], Some(Standard)),
        ] {
            assert_eq!(chained(authorities), judged, "{authorities:?}");
        }
    }

    #[test]
    fn a_chain_of_authorities_ends_where_it_comes_back_and_one_too_long_is_critical() {
        use Tier::{High, Standard};
        assert_eq!(chained(&[(Standard, Some(0))]), Some(Standard));
        let circle = [(Standard, Some(1)), (High, Some(0))];
        assert_eq!(chained(&circle), Some(High));
        for (length, judged) in [
            (AUTHORITIES_MAX, Standard),
            (AUTHORITIES_MAX + 1, Tier::Critical),
        ] {
            let mut chain: Vec<_> = (1..=length).map(|next| (Standard, Some(next))).collect();
            chain[length - 1].1 = None;
            assert_eq!(chained(&chain), Some(judged), "{length}");
        }
    }

    #[test]
    fn an_end_goes_with_its_value_for_whoever_may_move_it() {
        for (changer, tier, may) in [
            (Changer::Token, Tier::Standard, false),
            (LATE, Tier::Standard, true),
            (LATE, Tier::Critical, false),
            (FRESH, Tier::Critical, true),
        ] {
            assert_eq!(may_drop_end(changer, &credential(tier)), may, "{changer:?}");
        }
    }

    #[test]
    fn a_critical_value_or_a_lower_tier_takes_a_second_factor() {
        let critical = credential(Tier::Critical);
        for (guard, edit) in EDITS {
            let mut after = critical.clone();
            edit(&mut after);
            let judged = may_change(LATE, &critical, &after);
            assert_eq!(judged, Err(Guarded::NeedsSecondFactor(guard)));
        }
        for (from, to, judged) in [
            (Tier::Standard, Tier::Critical, Ok(())),
            (Tier::Standard, Tier::High, Ok(())),
            (
                Tier::High,
                Tier::Standard,
                Err(Guarded::NeedsSecondFactor(Guard::Tier)),
            ),
        ] {
            let (before, after) = (credential(from), credential(to));
            assert_eq!(may_change(LATE, &before, &after), judged);
            assert_eq!(may_follow(LATE, from, to), judged);
        }
        let token = may_follow(Changer::Token, Tier::Critical, Tier::Standard);
        assert_eq!(token, Err(Guarded::FromTokens(Guard::Tier)));
        assert_eq!(may_follow(FRESH, Tier::Critical, Tier::Standard), Ok(()));
    }
}
