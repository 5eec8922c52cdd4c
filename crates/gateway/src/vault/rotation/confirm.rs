//! A place of use confirms that it has the new value.

use hearthkey_api::RotationView;
use hearthkey_core::audit::Entry;
use hearthkey_core::credential::CredentialId;
use hearthkey_core::role::Act;
use hearthkey_core::rotation::Step;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;

use crate::auth::permit::Permit;
use crate::state::failure::Failure;
use crate::vault::credentials::object;
use crate::vault::{Vault, views};

impl Vault {
    /// A dependent says that it uses the new value.
    pub(crate) async fn confirm_rotation(
        &self,
        permit: &Permit,
        id: &CredentialId,
        dependent: &str,
    ) -> Result<RotationView, Failure> {
        let actor = permit
            .actor_in(Act::CredentialRotate, &id.environment)?
            .clone();
        let _turn = self.credential_turns.of(id).await;
        let Some(mut rotation) = self.ctx.store().read(|registry| registry.rotation(id))? else {
            return Err(Failure::refused(
                &format!("no rotation of {} is in progress", id.name),
                "Nothing needs to be done.",
            ));
        };
        if rotation.step != Step::Switch {
            let why = format!(
                "the rotation of {} is at the step {}, and its new value is not given out",
                id.name,
                rotation.step.as_str()
            );
            return Err(Failure::refused(
                &why,
                "Confirm it while both values are valid.",
            ));
        }
        if !rotation.dependents.iter().any(|known| known == dependent) {
            let known = rotation.dependents.join(", ");
            let why = format!("{dependent:?} is not a place of use of {}", id.name);
            let remedy = match known.as_str() {
                "" => {
                    "It has no places of use to confirm. The rotation ends at its deadline.".into()
                }
                _ => format!("They are: {known}."),
            };
            return Err(Failure::refused(&why, &remedy));
        }
        if !rotation.confirmed.iter().any(|known| known == dependent) {
            rotation.confirmed.push(dependent.to_owned());
            let entry = Entry::new(self.ctx.now(), actor, "rotation.confirm", object(id))
                .with("dependent", dependent);
            let write = VaultWrite::Rotate(Step::Switch, rotation.clone());
            self.ctx.commit(Change::record(entry).vault(write)).await?;
            self.rotations.notify_one();
        }
        Ok(views::rotation(id, &rotation, self.ctx.now()))
    }
}
