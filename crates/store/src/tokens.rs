//! Service tokens in the registry.

use hearthkey_core::id::{Fingerprint, TokenId};
use hearthkey_core::power::Power;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_core::token::Token;
use rusqlite::{Row, Transaction, params};

use crate::apply::{ApplyError, one};
use crate::people::{environments, mandate};
use crate::registry::{Json, ReadError, Registry, Text, time, time_if_any};

/// What can be changed about tokens.
#[derive(Debug)]
pub enum TokenWrite {
    /// Adds a token; a conflict if one of its name is not revoked.
    Create(Box<Token>),
    /// Moves a token's end; a conflict if it is revoked.
    Extend {
        /// The token.
        token: TokenId,
        /// When a person last authorized it.
        authorized_at: Timestamp,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// Revokes a token; a conflict if it is.
    Revoke(TokenId, Timestamp),
    /// Notes that a token was used.
    Used(TokenId, TokenUse),
    /// Drops tokens that were revoked before a moment.
    Forget(Timestamp),
}

/// How a token has been used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenUse {
    /// How often in all.
    pub uses: u64,
    /// When last.
    pub last_at: Option<Timestamp>,
    /// From which address.
    pub last_address: Option<String>,
}

pub(crate) fn apply(tx: &Transaction<'_>, write: &TokenWrite) -> Result<(), ApplyError> {
    match write {
        TokenWrite::Create(token) => {
            let columns = Columns::of(&token.power);
            one(tx
                .prepare_cached(
                    "INSERT INTO token (id, name, environment, grants, role, environments, owner, purpose, binding,
                         hash, ttl, ceiling, created_at, authorized_at, expires_at, made_by)
                     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16
                     WHERE NOT EXISTS
                         (SELECT 1 FROM token WHERE name = ?2 AND revoked_at IS NULL)",
                )?
                .execute(params![
                    token.id.as_str(),
                    token.name.as_str(),
                    columns.environment,
                    columns.grants,
                    columns.role,
                    columns.environments,
                    token.owner,
                    token.purpose,
                    token.binding.to_string(),
                    token.hash.0,
                    token.ttl.as_ms(),
                    token.ceiling.as_ms(),
                    token.created_at.as_ms(),
                    token.authorized_at.as_ms(),
                    token.expires_at.as_ms(),
                    token.made_by,
                ])?)?;
        }
        TokenWrite::Extend {
            token,
            authorized_at,
            expires_at,
        } => one(tx
            .prepare_cached(
                "UPDATE token SET authorized_at = ?2, expires_at = ?3
                 WHERE id = ?1 AND revoked_at IS NULL",
            )?
            .execute(params![
                token.as_str(),
                authorized_at.as_ms(),
                expires_at.as_ms()
            ])?)?,
        TokenWrite::Revoke(token, at) => one(tx
            .prepare_cached(
                "UPDATE token SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
            )?
            .execute(params![token.as_str(), at.as_ms()])?)?,
        TokenWrite::Used(token, used) => {
            let at = used.last_at.map(Timestamp::as_ms);
            tx.prepare_cached(
                "UPDATE token SET uses = ?2, last_used_at = ?3, last_address = ?4 WHERE id = ?1",
            )?
            .execute(params![token.as_str(), used.uses, at, used.last_address])?;
        }
        TokenWrite::Forget(before) => {
            tx.prepare_cached("DELETE FROM token WHERE revoked_at < ?1")?
                .execute([before.as_ms()])?;
        }
    }
    Ok(())
}

/// A power as its columns have it: the first two, or the last two.
#[derive(Default)]
struct Columns {
    environment: Option<String>,
    grants: Option<String>,
    role: Option<&'static str>,
    environments: Option<String>,
}

impl Columns {
    fn of(power: &Power) -> Self {
        match power {
            Power::Grants {
                environment,
                grants,
            } => Self {
                environment: Some(environment.to_string()),
                grants: serde_json::to_string(grants).ok(),
                ..Self::default()
            },
            Power::Mandate(mandate) => Self {
                role: Some(mandate.role().as_str()),
                environments: Some(environments(mandate)),
                ..Self::default()
            },
        }
    }
}

/// The power in a row, whose columns begin at 2.
fn power(row: &Row<'_>) -> rusqlite::Result<Power> {
    match row.get::<_, Option<Text<_>>>(2)? {
        Some(environment) => Ok(Power::Grants {
            environment: environment.0,
            grants: row.get::<_, Json<_>>(3)?.0,
        }),
        None => Power::of(mandate(row, 4)?).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, error.into())
        }),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<(Token, TokenUse)> {
    let token = Token {
        id: row.get::<_, Text<_>>(0)?.0,
        name: row.get::<_, Text<_>>(1)?.0,
        power: power(row)?,
        owner: row.get(6)?,
        purpose: row.get(7)?,
        binding: row.get::<_, Text<_>>(8)?.0,
        hash: Fingerprint(row.get(9)?),
        ttl: Span::ms(row.get(10)?),
        ceiling: Span::ms(row.get(11)?),
        created_at: time(row, 12)?,
        authorized_at: time(row, 13)?,
        expires_at: time(row, 14)?,
        revoked_at: time_if_any(row, 15)?,
        made_by: row.get(19)?,
    };
    let used = TokenUse {
        uses: row.get(16)?,
        last_at: time_if_any(row, 17)?,
        last_address: row.get(18)?,
    };
    Ok((token, used))
}

impl Registry<'_> {
    /// Every token that is remembered, revoked ones too, in the order of their names.
    pub fn tokens(&self) -> Result<Vec<(Token, TokenUse)>, ReadError> {
        let sql = "SELECT id, name, environment, grants, role, environments, owner, purpose, binding, hash, ttl,
                ceiling, created_at, authorized_at, expires_at, revoked_at, uses, last_used_at, last_address,
                made_by
            FROM token ORDER BY name, created_at, id";
        self.all(sql, [], read)
    }
}
