//! Who calls, and what they may do.
//!
//! | what | where |
//! | --- | --- |
//! | callers, and what each may do | [`caller`], [`permit`], [`forbidden`] |
//! | service tokens: in memory, shown with a request, their uses | [`token_book`], [`bearer`], [`nonces`], [`token_uses`], [`token_views`] |
//! | people: logging in, sessions, a fresh second factor | [`login`], [`sessions`], [`step_up`], [`local_code`], [`passkeys`], [`passwords`], [`ceremonies`] |
//! | sessions, passkeys and people whose access ends | [`cuts`], [`gone`] |
//! | guesses and refusals, bounded | [`throttle`], [`refusals`] |
//! | connections whose caller is known | [`known`] |
//! | what follows when home time goes back | [`turn_back`] |

use std::sync::Arc;

use crate::state::Ctx;
use person_book::PersonBook;
use token_book::TokenBook;

pub(crate) mod bearer;
pub(crate) mod caller;
pub(crate) mod ceremonies;
mod cuts;
pub(crate) mod forbidden;
mod gone;
pub(crate) mod known;
pub(crate) mod local_code;
pub(crate) mod login;
mod nonces;
pub(crate) mod passkeys;
pub(crate) mod passwords;
pub(crate) mod peer;
pub(crate) mod permit;
pub(crate) mod person_book;
pub(crate) mod refusals;
pub(crate) mod secrets;
pub(crate) mod sessions;
pub(crate) mod setup_file;
pub(crate) mod step_up;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod throttle;
pub(crate) mod token_book;
mod token_uses;
pub(crate) mod token_views;
mod turn_back;

/// Who calls, and what they may do.
pub(crate) struct Auth {
    ctx: Arc<Ctx>,
    pub(crate) tokens: TokenBook,
    pub(crate) people: PersonBook,
}

impl Auth {
    pub(crate) fn new(ctx: Arc<Ctx>, tokens: TokenBook, people: PersonBook) -> Self {
        Self {
            ctx,
            tokens,
            people,
        }
    }
}
