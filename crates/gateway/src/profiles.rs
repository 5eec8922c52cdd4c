//! Profiles: those that came with the program, and a person's own.

use std::sync::{Arc, PoisonError};

use axum::http::HeaderMap;
use hearthkey_api::ProfileText;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::id::ProfileName;
use hearthkey_core::profile::Profile;
use hearthkey_store::change::{Change, Write};

use crate::home::Home;
use crate::problem::Failure;

/// Profiles in one home at most.
const PROFILES_MAX: usize = 256;

impl Home {
    /// The profiles' names, in order.
    pub(crate) fn profile_names(&self) -> Vec<String> {
        let profiles = self.profiles.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = profiles.keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    /// A profile as it was written.
    pub(crate) fn profile_text(&self, name: &str) -> Result<ProfileText, Failure> {
        let parsed: ProfileName = name.parse().map_err(|error| Failure::invalid(&error))?;
        let profiles = self.store.read(|registry| registry.profiles())?;
        profiles
            .into_iter()
            .find(|(toml, _)| Profile::parse(toml).is_ok_and(|profile| profile.name == parsed))
            .map(|(toml, built_in)| ProfileText { toml, built_in })
            .ok_or_else(|| Failure::not_found("profile", &parsed))
    }

    /// Adds a person's own profile, or replaces it, as the headers expect it; devices under it get its rights at once.
    pub(crate) async fn put_profile(
        &self,
        actor: Actor,
        toml: String,
        headers: &HeaderMap,
    ) -> Result<ProfileText, Failure> {
        let profile = Profile::parse(&toml).map_err(|error| Failure::invalid(&error))?;
        let name = profile.name.clone();
        // Its name stands in the text, not in the path.
        let expected = self.expected(&format!("profile:{name}"), headers)?;
        let names = self.profile_names();
        let built_in = self
            .profile_text(name.as_str())
            .is_ok_and(|known| known.built_in);
        if built_in {
            let why = format!("the profile {name} came with the program");
            return Err(Failure::refused(&why, "Give yours another name."));
        }
        if names.len() >= PROFILES_MAX {
            let why = format!("a home has {PROFILES_MAX} profiles at most");
            return Err(Failure::refused(&why, "Change one of those there are."));
        }
        let entry = Entry::new(self.now(), actor, "profile.put", format!("profile:{name}"));
        let write = Write::Profile {
            name: name.clone(),
            toml: toml.clone(),
            built_in: false,
        };
        let mut change = Change::record(entry).write(write);
        change.expects = expected;
        self.commit(change).await?;
        let profile = Arc::new(profile);
        self.profiles
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), Arc::clone(&profile));
        self.access_mut().set_profile(&profile);
        self.broker.recheck().await;
        Ok(ProfileText {
            toml,
            built_in: false,
        })
    }
}
