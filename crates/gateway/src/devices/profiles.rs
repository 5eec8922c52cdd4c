//! Profiles: those that came with the program, and a person's own.

use crate::auth::permit::Permit;
use hearthkey_core::role::Act;
use hearthkey_store::change::Expected;
use std::sync::{Arc, PoisonError};

use hearthkey_api::ProfileText;
use hearthkey_core::audit::Entry;
use hearthkey_core::device::{Device, DeviceState};
use hearthkey_core::id::{DeviceId, EnvironmentName, ProfileName};
use hearthkey_core::profile::Profile;
use hearthkey_core::tree::{Named, Taken, taken};
use hearthkey_store::change::{Change, Write};

use crate::devices::Devices;
use crate::state::aside::aside;
use crate::state::failure::Failure;
use crate::trust::server_tls::RSA_LEAF;

/// Profiles in one home at most.
const PROFILES_MAX: usize = 256;

/// Devices that are looked at at a time.
const DEVICES_AT_A_TIME: u32 = 1000;

/// What a device takes by its name from each of these profiles.
fn takes_from(
    device: &Device,
    profiles: &[Arc<Profile>],
    environments: &[EnvironmentName],
) -> Vec<Taken> {
    let Some(own) = profiles.iter().find(|one| one.name == device.profile) else {
        return Vec::new();
    };
    let named = Named {
        device: &device.id,
        environment: &device.environment,
        profile: own,
    };
    let from = profiles.iter();
    from.filter_map(|from| taken(named, from, environments.iter()))
        .collect()
}

impl Devices {
    /// What some device would take by its name if these were the profiles and environments, and does not take today.
    pub(crate) fn newly_taken(
        &self,
        profiles: &[Arc<Profile>],
        environments: &[EnvironmentName],
    ) -> Result<Option<Taken>, Failure> {
        // Every device is compared with every profile.
        aside(|| self.find_newly_taken(profiles, environments))
    }

    fn find_newly_taken(
        &self,
        profiles: &[Arc<Profile>],
        environments: &[EnvironmentName],
    ) -> Result<Option<Taken>, Failure> {
        let (today, places) = (self.ctx.all_profiles(), self.environment_names());
        let mut after = String::new();
        loop {
            let page = self
                .ctx
                .store()
                .read(|registry| registry.devices(&after, DEVICES_AT_A_TIME))?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            after = last.device.id.to_string();
            let live = page.iter().map(|known| &known.device).filter(|device| {
                !matches!(device.state, DeviceState::Revoked | DeviceState::Retired)
            });
            for device in live {
                let then = takes_from(device, profiles, environments);
                if then.is_empty() {
                    continue;
                }
                let now = takes_from(device, &today, &places);
                // What a home has lived with stays possible, and can be mended step by step.
                let is_new = |taken: &Taken| now.iter().all(|old| old.profile != taken.profile);
                if let Some(taken) = then.into_iter().find(is_new) {
                    return Ok(Some(taken));
                }
            }
        }
    }

    /// The profiles' names, in order.
    pub(crate) fn profile_names(&self) -> Vec<String> {
        let profiles = self
            .ctx
            .profiles()
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = profiles.keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    /// A profile as it was written.
    pub(crate) fn profile_text(&self, name: &str) -> Result<ProfileText, Failure> {
        let parsed: ProfileName = name.parse().map_err(|error| Failure::invalid(&error))?;
        let profiles = self.ctx.store().read(|registry| registry.profiles())?;
        profiles
            .into_iter()
            .find(|(toml, _)| {
                Profile::parse_kept(toml).is_ok_and(|(known, _)| known.name == parsed)
            })
            .map(|(toml, built_in)| ProfileText { toml, built_in })
            .ok_or_else(|| Failure::not_found("profile", &parsed))
    }

    /// Adds a person's own profile, or replaces it, as it is expected; devices under it get its rights at once.
    pub(crate) async fn put_profile(
        &self,
        permit: &Permit,
        toml: String,
        expects: impl FnOnce(&str) -> Result<Option<Expected>, Failure>,
    ) -> Result<ProfileText, Failure> {
        let actor = permit.actor_at_home(Act::ProfileChange)?.clone();
        let profile = Profile::parse(&toml).map_err(|error| {
            let mut failure = Failure::invalid(&error);
            failure.0.remedy = "Correct it and try again. On the command line: `hearthkey profile show generic` prints a complete profile to start from.".into();
            failure
        })?;
        let name = profile.name.clone();
        // Its name is in the text, not in the path.
        let expected = expects(&format!("profile:{name}"))?;
        let _trees = self.trees.write().await;
        let names = self.profile_names();
        let built_in = self
            .profile_text(name.as_str())
            .is_ok_and(|known| known.built_in);
        if built_in {
            let why = format!("the profile {name} came with the program");
            return Err(Failure::refused(&why, "Give yours another name."));
        }
        if names.len() >= PROFILES_MAX && !names.contains(&name.to_string()) {
            let why = format!("a home has {PROFILES_MAX} profiles at most");
            return Err(Failure::refused(&why, "Change an existing one."));
        }
        let mut with_it = self.ctx.all_profiles();
        with_it.retain(|known| known.name != name);
        with_it.push(Arc::new(profile.clone()));
        if let Some(taken) = self.newly_taken(&with_it, &self.environment_names())? {
            return Err(Failure::refused(
                &taken,
                "Give the profile's topics another level, or retire that device and enroll it under another id.",
            ));
        }
        let entry = Entry::new(
            self.ctx.now(),
            actor,
            "profile.put",
            format!("profile:{name}"),
        );
        let write = Write::Profile {
            name: name.clone(),
            toml: toml.clone(),
            built_in: false,
        };
        let mut change = Change::record(entry).write(write);
        change.expects = expected;
        self.ctx.commit(change).await?;
        let profile = Arc::new(profile);
        self.ctx
            .profiles()
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), Arc::clone(&profile));
        self.ctx.access_mut().set_profile(&profile);
        self.ctx.broker().recheck().await;
        self.forget_unfounded_retained().await;
        self.renew_tls_for_profiles().await;
        Ok(ProfileText {
            toml,
            built_in: false,
        })
    }

    /// Forgets what devices have retained where they may not publish any more: where their name stood for something else, or
    /// before they were retired. Whose topics those are now takes it for its own.
    pub(crate) async fn forget_unfounded_retained(&self) {
        let may_publish = |device: &DeviceId, topic: &str| {
            let access = self.ctx.access();
            let known = access.device(device).filter(|its| !its.state.is_over());
            known.is_some_and(|known| {
                // What was taken can be given back.
                let granted = match known.narrowing {
                    None => known.rights(device),
                    Some(_) => Arc::new(known.profile.rights(device, &known.environment)),
                };
                granted.publish_place(topic).is_some()
            })
        };
        self.ctx.broker().forget_unfounded(may_publish).await;
    }

    /// Makes or forgets the RSA server certificate when what the profiles ask for has changed. What does not work out
    /// now is tried again within the hour; the profile is stored nevertheless.
    async fn renew_tls_for_profiles(&self) {
        let needed = self
            .ctx
            .all_profiles()
            .iter()
            .any(|profile| profile.needs_rsa_server());
        let known = self
            .ctx
            .store()
            .read(|registry| registry.authority(RSA_LEAF));
        // No certificate is made by a clock that is not believed; one may end.
        let (_, trusted) = self.ctx.clock().now_and_trust();
        let is_settled = known.is_ok_and(|known| known.is_some() == needed);
        if is_settled || needed && !trusted {
            return;
        }
        if let Err(error) = self.trust.renew_tls().await {
            tracing::error!(%error, "the server certificate could not be made for the profiles");
        }
    }
}
