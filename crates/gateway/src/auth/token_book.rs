//! The service tokens in memory: what each request is judged by, without waiting for the disk.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hearthkey_core::id::{Fingerprint, TokenId, TokenName};
use hearthkey_core::time::Timestamp;
use hearthkey_core::token::Token;
use hearthkey_store::Store;
use hearthkey_store::change::Write;
use hearthkey_store::registry::ReadError;
use hearthkey_store::tokens::{TokenUse, TokenWrite};

use crate::auth::nonces::{Nonces, Replays};
use crate::auth::refusals::Attempts;
use crate::state::locked;

/// Addresses of one token that are not new, at most.
const ADDRESSES_KNOWN: usize = 16;

/// All that is known of tokens, and of those who come with them.
pub(crate) struct TokenBook {
    tokens: RwLock<HashMap<Fingerprint, Arc<Token>>>,
    uses: Mutex<Uses>,
    pub(crate) replays: Mutex<Replays>,
    pub(crate) nonces: Mutex<Nonces>,
    pub(crate) attempts: Mutex<Attempts>,
    /// Since when proofs are remembered.
    pub(crate) since: Timestamp,
    /// One changes a token at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Uses {
    of: HashMap<TokenId, (TokenUse, VecDeque<IpAddr>)>,
    changed: HashSet<TokenId>,
}

impl TokenBook {
    /// The tokens as the registry has them.
    pub(crate) fn load(store: &Store, now: Timestamp) -> Result<Self, ReadError> {
        let mut uses = Uses::default();
        let mut tokens = HashMap::new();
        for (token, used) in store.read(|registry| registry.tokens())? {
            let last = used.last_address.as_deref();
            let address = last.and_then(|address| address.parse().ok());
            let known = address.into_iter().collect();
            uses.of.insert(token.id.clone(), (used, known));
            tokens.insert(token.hash, Arc::new(token));
        }
        Ok(Self {
            tokens: RwLock::new(tokens),
            uses: Mutex::new(uses),
            replays: Mutex::default(),
            nonces: Mutex::default(),
            attempts: Mutex::default(),
            since: now,
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// The token with this hash. What is looked up is a hash of 256 random bits, so the time that
    /// the look-up takes tells nobody how near a guess came.
    pub(crate) fn token(&self, hash: &Fingerprint) -> Option<Arc<Token>> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.get(hash).cloned()
    }

    /// The token of a name: the one that is not revoked, or else the one that was revoked last.
    pub(crate) fn named(&self, name: &TokenName) -> Option<Arc<Token>> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let named = tokens.values().filter(|token| token.name == *name);
        let last = |token: &&Arc<Token>| (token.revoked_at.is_none(), token.revoked_at);
        named.max_by_key(last).cloned()
    }

    /// Every token, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Token>> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = tokens.values().cloned().collect();
        all.sort_unstable_by(|a, b| (&a.name, a.created_at).cmp(&(&b.name, b.created_at)));
        all
    }

    /// Sets what is known of a token. One that is revoked stays revoked, whatever was decided before that.
    pub(crate) fn set(&self, mut token: Token) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(revoked_at) = tokens.get(&token.hash).and_then(|known| known.revoked_at) {
            token.revoked_at = Some(revoked_at);
        }
        tokens.insert(token.hash, Arc::new(token));
    }

    /// Forgets tokens that were revoked before a moment.
    pub(crate) fn forget(&self, before: Timestamp) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        let over = |token: &Token| token.revoked_at.is_some_and(|at| at < before);
        tokens.retain(|_, token| !over(token));
        let ids: HashSet<&TokenId> = tokens.values().map(|token| &token.id).collect();
        locked(&self.uses).of.retain(|id, _| ids.contains(id));
    }

    /// How a token has been used.
    pub(crate) fn used(&self, token: &TokenId) -> TokenUse {
        let uses = locked(&self.uses);
        uses.of
            .get(token)
            .map(|(used, _)| used.clone())
            .unwrap_or_default()
    }

    /// Notes a use. If it comes from an address that is new, gives the one before it.
    pub(crate) fn note_use(
        &self,
        token: &TokenId,
        address: IpAddr,
        now: Timestamp,
    ) -> Option<Option<String>> {
        let mut uses = locked(&self.uses);
        uses.changed.insert(token.clone());
        let (used, known) = uses.of.entry(token.clone()).or_default();
        used.uses += 1;
        used.last_at = Some(now);
        let before = used.last_address.replace(address.to_string());
        if known.contains(&address) {
            return None;
        }
        known.push_back(address);
        if known.len() > ADDRESSES_KNOWN {
            known.pop_front();
        }
        Some(before)
    }

    pub(super) fn take_uses(&self) -> Vec<Write> {
        let mut uses = locked(&self.uses);
        let changed = std::mem::take(&mut uses.changed);
        let write = |token: TokenId| {
            let (used, _) = uses.of.get(&token)?;
            Some(Write::Token(TokenWrite::Used(token, used.clone())))
        };
        changed.into_iter().filter_map(write).collect()
    }
}
