//! Places for work that waits for bridges: no bridge holds all of its environment's, and no environment holds all, so that
//! one that hangs keeps nothing waiting elsewhere.

use std::sync::Arc;

use hearthkey_core::id::EnvironmentName;

use crate::state::shares::{Share, Shares};

/// Places for one kind of work of the gateway's own.
const OWN_MAX: usize = 64;
/// Of the places for one kind of work, those of one bridge.
pub(super) const OF_BRIDGE_MAX: usize = 4;

pub(crate) struct BridgePlaces {
    environments: Arc<Shares>,
    bridges: Arc<Shares>,
}

impl Default for BridgePlaces {
    fn default() -> Self {
        Self::new(OWN_MAX)
    }
}

impl BridgePlaces {
    /// So many places in all, half of them for the bridges of one environment.
    pub(super) fn new(in_all_max: usize) -> Self {
        Self {
            environments: Shares::new(in_all_max, in_all_max / 2),
            bridges: Shares::new(in_all_max, OF_BRIDGE_MAX),
        }
    }

    /// A place for work at a bridge, until it is dropped; none if the bridge has no more, or its environment.
    pub(super) fn enter(&self, environment: &EnvironmentName, bridge: &str) -> Option<[Share; 2]> {
        let of_environment = self.environments.enter(environment.to_string())?;
        let of_bridge = self.bridges.enter(format!("{environment}/{bridge}"))?;
        Some([of_environment, of_bridge])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_that_hang_take_no_place_of_others_nor_of_another_environment() {
        let [lab, home]: [EnvironmentName; 2] = ["lab", "home"].map(|name| name.parse().unwrap());
        let places = BridgePlaces::default();
        let hanging: Vec<_> = (0..OWN_MAX)
            .map_while(|_| places.enter(&lab, "hue"))
            .collect();
        assert_eq!(hanging.len(), OF_BRIDGE_MAX);
        let all: Vec<_> = (0..OWN_MAX)
            .filter_map(|number| places.enter(&lab, &format!("bridge-{number}")))
            .collect();
        assert_eq!(hanging.len() + all.len(), OWN_MAX / 2);
        assert!(places.enter(&home, "hue").is_some());
        drop(hanging);
        assert!(places.enter(&lab, "hue").is_some());
    }
}
