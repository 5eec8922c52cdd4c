//! How tokens were used, written down.

use hearthkey_store::change::Change;

use crate::auth::Auth;

impl Auth {
    /// Writes down how tokens were used since the last time.
    pub(crate) async fn note_token_uses(&self) {
        let writes = self.tokens.take_uses();
        if writes.is_empty() {
            return;
        }
        let change = Change {
            writes,
            ..Change::default()
        };
        if let Err(error) = self.ctx.commit(change).await {
            tracing::warn!(%error, "the uses of tokens could not be noted");
        }
    }
}
