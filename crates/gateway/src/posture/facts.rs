//! The facts by which a home is judged, as they stand now.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use hearthkey_core::audit::Record;
use hearthkey_core::authority::Life;
use hearthkey_core::credential::Custody;
use hearthkey_core::id::{DeviceId, ProfileName};
use hearthkey_core::person::Person;
use hearthkey_core::posture::authority::CaLife;
use hearthkey_core::posture::privilege::{HeldRight, Privileges, UNUSED_FOR};
use hearthkey_core::posture::restart::Disk;
use hearthkey_core::posture::{
    Each, Facts, KEY_AGE, NEVER_GIVEN, NEVER_SEEN, NEVER_SHOWN, Named, ending, token_never_used,
};
use hearthkey_core::profile::Profile;
use hearthkey_core::role::Act;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_core::token::Token;
use hearthkey_pki::life_of;
use hearthkey_store::authorities::KnownAuthority;
use hearthkey_store::posture::RightsUsed;
use hearthkey_store::registry::{ReadError, Registry};
use hearthkey_store::slots::SlotKind;
use hearthkey_store::turn_back::MADE_AHEAD;

use crate::posture::Posture;

/// The longest life of a leaf: what ends later need not be looked at.
const LEAF_LIFE_MAX: Span = Span::days(398);

/// The names of people whose access has ended and who have not come back under the same name.
fn departed(people: &[Person]) -> Vec<String> {
    let here = |name: &str| {
        people
            .iter()
            .any(|person| person.ended_at.is_none() && person.name.as_str() == name)
    };
    let gone = people.iter().filter(|person| person.ended_at.is_some());
    let names = gone.map(|person| person.name.to_string());
    names.filter(|name| !here(name)).collect()
}

/// When a person last changed a profile, if anybody has: what it grants since then was not held before.
fn changed_at(
    registry: &Registry<'_>,
    profile: &ProfileName,
) -> Result<Option<Timestamp>, ReadError> {
    let about = [format!("profile:{profile}")];
    let newest = registry.records_about(&about, 1)?;
    if newest.is_empty() && registry.archived_about(&about)? > 0 {
        // When is archived. It was before the first record that is here.
        return registry.first_record_time();
    }
    let record = newest
        .first()
        .map(|(_, record)| serde_json::from_slice::<Record>(record));
    Ok(record.and_then(Result::ok).map(|record| record.time))
}

/// What a device holds beyond the gateway's own topics, and when it last used it.
fn privileges(
    used: RightsUsed,
    last_seen_at: Timestamp,
    profile: &Profile,
    changed_at: Option<Timestamp>,
) -> Privileges {
    let granted = profile.rights(&used.device, &used.environment).all();
    let held = granted.into_iter().filter(|((verb, filter), is_ours)| {
        let kept = used
            .narrowing
            .as_ref()
            .is_none_or(|narrowing| narrowing.keeps(*verb, filter));
        !is_ours && kept
    });
    let held = held.map(|((verb, filter), _)| {
        let right = (verb, filter.as_str().to_owned());
        let last_used = used.used.iter().find(|(used, _)| *used == right);
        HeldRight {
            last_used_at: last_used.map(|(_, at)| *at),
            right,
        }
    });
    Privileges {
        held: held.collect(),
        since: changed_at.map_or(used.since, |at| at.max(used.since)),
        last_seen_at,
        device: used.device,
    }
}

/// Devices that never came. One that is connected has, although it may not be written down yet.
fn never_seen(
    registry: &Registry<'_>,
    connected: &HashSet<DeviceId>,
    now: Timestamp,
) -> Result<Named, ReadError> {
    let here: HashSet<&str> = connected.iter().map(DeviceId::as_str).collect();
    let mut named = Named::default();
    registry.each_never_seen(now.before(NEVER_SEEN), |name| {
        if !here.contains(name.as_str()) {
            named.add(name);
        }
    })?;
    Ok(named)
}

impl Posture {
    /// What is known of the home.
    pub(super) fn facts(&self, now: Timestamp) -> Result<Facts, ReadError> {
        let (anchor, journal) = (self.ctx.store().anchor()?, self.ctx.store().journal_gaps()?);
        let connected: HashSet<DeviceId> = self
            .ctx
            .broker()
            .sessions()
            .into_iter()
            .map(|session| session.device)
            .collect();
        let (ending, unshown) = self.tokens_at_their_ends(now);
        self.ctx.store().read(|registry| {
            let departed = departed(&registry.people()?);
            let (ungiven, orphaned) = credentials(registry, &departed, now)?;
            Ok(Facts {
                home: self.ctx.id().to_string(),
                key_file: self.ctx.store().is_unlocked_by(SlotKind::KeyFile),
                no_recovery_code: !self.ctx.store().is_unlocked_by(SlotKind::RecoveryCode),
                disk: self.disk(),
                unusable_unlock_files: self.ctx.store().unusable_unlock_files(),
                unanchored_at: self.opened.unanchored_at,
                anchor,
                journal_opened: self.opened.journal.clone(),
                journal,
                clock_doubted: self.ctx.clock().both().doubted,
                of_the_future: registry.devices_of_the_future(now.after(MADE_AHEAD))?,
                backups: crate::backups::facts(registry)?,
                shipped: self.ctx.shipped_now(),
                restored: crate::backups::restored(registry)?,
                log_problem: self.audit.log_problem(),
                authorities: authorities(registry)?,
                weak: self.weak(registry, now)?,
                unencrypted: super::weakness::unencrypted(registry)?,
                over_age: registry.devices_with_keys_from_before(now.before(KEY_AGE))?,
                over_privileged: self.over_privileged(registry, &connected, now)?,
                waiting: self.devices.waiting_names(),
                unrenewed: registry.devices_unrenewed(now, now.after(LEAF_LIFE_MAX))?,
                unseen: never_seen(registry, &connected, now)?,
                orphaned_devices: registry.devices_owned_by(&departed)?,
                orphaned_credentials: orphaned,
                orphaned_tokens: self.orphaned_tokens(&registry.people()?, &departed),
                ungiven,
                ending,
                unshown,
                shared_identities: self.devices.found_shared(now),
                overloads: self.devices.found_overloads(now),
            })
        })
    }

    /// Whether the disk took what was written last.
    fn disk(&self) -> Disk {
        match self.ctx.storage_available() {
            true => Disk::Takes,
            false => Disk::failing(self.ctx.store().free_bytes().ok()),
        }
    }

    /// Devices that hold more than they use. One that is connected is there, whenever it came.
    fn over_privileged(
        &self,
        registry: &Registry<'_>,
        connected: &HashSet<DeviceId>,
        now: Timestamp,
    ) -> Result<Each, ReadError> {
        let profiles = self
            .ctx
            .profiles()
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut changes = HashMap::new();
        for name in profiles.keys() {
            changes.insert(name.clone(), changed_at(registry, name)?);
        }
        let mut each = Each::default();
        registry.each_rights_used(now.before(UNUSED_FOR), |used| {
            let Some(profile) = profiles.get(&used.profile) else {
                return;
            };
            let seen_at = if connected.contains(&used.device) {
                Some(now)
            } else {
                used.last_seen_at
            };
            // One that never came is another finding.
            let Some(seen_at) = seen_at else {
                return;
            };
            let changed_at = changes.get(&used.profile).copied().flatten();
            if let Some(found) = privileges(used, seen_at, profile, changed_at).judge(now) {
                each.add(|| found.device.to_string(), || found.finding());
            }
        })?;
        Ok(each)
    }

    /// Tokens that belong to, or were made by, somebody who has gone, or whose role does not reach so far any more.
    fn orphaned_tokens(&self, people: &[Person], departed: &[String]) -> Named {
        let mut named = Named::default();
        let gone = |who: &str| {
            let name = who.strip_prefix("person:").unwrap_or(who);
            departed.iter().any(|gone| gone.eq_ignore_ascii_case(name))
        };
        let beyond = |token: &Token| {
            let name = token.made_by.strip_prefix("person:");
            let mut here = people.iter().filter(|person| person.ended_at.is_none());
            let maker = here.find(|person| Some(person.name.as_str()) == name);
            let mut environments = token.power.environments().into_iter();
            maker.is_some_and(|maker| {
                environments.any(|its| !maker.mandate.permits(Act::TokenCreate, its))
            })
        };
        let all = self.auth.tokens.all();
        let live = all.iter().filter(|token| token.revoked_at.is_none());
        let orphaned = |token: &Token| gone(&token.owner) || gone(&token.made_by) || beyond(token);
        for token in live.filter(|token| orphaned(token)) {
            named.add(token.name.to_string());
        }
        named
    }

    /// Tokens that can soon be renewed no more, and those that were never used.
    fn tokens_at_their_ends(&self, now: Timestamp) -> (Each, Each) {
        let (mut ends, mut unshown) = (Each::default(), Each::default());
        for token in self.auth.tokens.all() {
            let name = || token.name.to_string();
            let long_ago = token.created_at < now.before(NEVER_SHOWN);
            let unused = self.auth.tokens.used(&token.id).uses == 0;
            if token.revoked_at.is_none() && unused && long_ago {
                unshown.add(name, || token_never_used(token.name.as_str()));
            } else if let Some(finding) = ending::of_token(&token, now) {
                ends.add(name, || finding);
            }
        }
        (ends, unshown)
    }
}

/// The CAs that sign, and their lives.
fn authorities(registry: &Registry<'_>) -> Result<Vec<CaLife>, ReadError> {
    let known = registry.authorities()?;
    let signs = |name: &str| name == "root" || name == "server" || name.starts_with("issuing/");
    let signing = known.into_iter().filter(|ca| signs(&ca.name));
    let life = |ca: KnownAuthority| {
        let (begins, ends) = life_of(&ca.der)?;
        let life = Life { begins, ends };
        Some(CaLife {
            name: ca.name,
            life,
        })
    };
    Ok(signing.filter_map(life).collect())
}

/// Credentials that were made long ago and never given out, and those whose owner has gone.
fn credentials(
    registry: &Registry<'_>,
    departed: &[String],
    now: Timestamp,
) -> Result<(Named, Named), ReadError> {
    let (mut ungiven, mut orphaned) = (Named::default(), Named::default());
    registry.each_active(|known| {
        let c = &known.credential;
        let made_at = known.current.map(|(_, at)| at);
        let long_ago = made_at.is_some_and(|at| at < now.before(NEVER_GIVEN));
        if c.custody == Custody::Vault && known.uses == 0 && long_ago {
            ungiven.add(c.id.to_string());
        }
        if departed.contains(&c.owner.to_lowercase()) {
            orphaned.add(c.id.to_string());
        }
    })?;
    Ok((ungiven, orphaned))
}
