//! Home time goes back: what is known in memory of callers follows what the registry has ended.

use hearthkey_core::person::INVITATION_LIFETIME;
use hearthkey_store::registry::ReadError;
use hearthkey_store::turn_back::TurnBack;

use crate::auth::Auth;
use crate::auth::ceremonies::Ceremonies;
use crate::auth::person_book::OpenSetup;
use crate::state::locked;

impl Auth {
    /// Takes over which tokens have ended. Log-ins under way begin again, a code that was shown at the window is shown again, and
    /// a setup link that had ended is forgotten.
    pub(crate) async fn turn_back(&self, turn: TurnBack) -> Result<(), ReadError> {
        let _turn = self.tokens.turn.lock().await;
        for (token, _) in self.ctx.store().read(|registry| registry.tokens())? {
            self.tokens.set(token);
        }
        *locked(&self.people.ceremonies) = Ceremonies::default();
        *locked(&self.people.at_window) = None;
        locked(&self.people.uses).clear();
        let has_ended = |setup: &OpenSetup| setup.expires_at <= turn.from;
        if locked(&self.people.setup).as_ref().is_some_and(has_ended) {
            self.people.forget_setup_link();
        }
        if let Some(setup) = locked(&self.people.setup).as_mut() {
            setup.expires_at = setup.expires_at.min(turn.to.after(INVITATION_LIFETIME));
        }
        Ok(())
    }
}
