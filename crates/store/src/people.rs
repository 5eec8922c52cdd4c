//! People in the registry: their ways in, and their sessions.

use hearthkey_core::id::Fingerprint;
use hearthkey_core::person::{Invitation, Person, WebSession};
use hearthkey_core::role::{Act, Mandate};
use hearthkey_core::time::Timestamp;
use rusqlite::{Row, Transaction, params};

use crate::apply::{ApplyError, misplaced, one, run};
use crate::registry::{Json, ReadError, Registry, Text, time, time_if_any};
pub use passkeys::StoredPasskey;

mod passkeys;

/// What can be changed about people.
#[derive(Debug)]
pub enum PersonWrite {
    /// Adds the first owner; a conflict if there is one.
    Found(Person),
    /// Adds a person; a conflict if somebody has the name.
    Invite(Person),
    /// Opens an invitation for a person, in place of the one before.
    Reinvite(String, Invitation),
    /// A person takes up an invitation; a conflict if it is not the open one.
    Join(String, Fingerprint),
    /// Gives a person another mandate; a conflict if the last owner would be none any more. A link by which one who has
    /// joined could come in again was given for the mandate before, and ends; so do those that the person made, unless they
    /// may still invite people.
    Mandate(String, Mandate),
    /// Ends a person's access: ways in, sessions, invitation, and those that they made; a conflict if it is the last
    /// owner's.
    End(String, Timestamp),
    /// Adds a way in.
    Passkey(StoredPasskey),
    /// Notes that a passkey was used, with what it says of itself now.
    PasskeyUsed {
        /// Its credential id.
        id: Vec<u8>,
        /// What is known of it now.
        data: String,
        /// When.
        at: Timestamp,
    },
    /// Takes a passkey away from its person; a conflict if they have none like this.
    EndPasskey(String, Vec<u8>),
    /// Sets a person's password, as a PHC string; forgets which codes were used with the old one.
    Password(String, String),
    /// A code was used; a conflict if it, or a later one, has been, or if it was judged by another password, and so by
    /// another secret, than the person has by now.
    CodeUsed {
        /// The person's id.
        person: String,
        /// The step of the code.
        step: u64,
        /// The PHC string of the password beside which it was judged.
        password: String,
    },
    /// Replaces a person's recovery codes.
    RecoveryCodes(String, Vec<Fingerprint>),
    /// Uses a recovery code up; a conflict if it is not there, or is used.
    UseRecoveryCode(String, Fingerprint, Timestamp),
    /// Adds a session.
    Session(WebSession),
    /// Notes that a session was used.
    SessionUsed(Fingerprint, Timestamp),
    /// A second factor was shown in a session; a conflict if it has ended.
    SessionFresh(Fingerprint, Timestamp),
    /// Ends a session; a conflict if it has ended.
    EndSession(String),
    /// Ends every session of a person but one.
    EndOtherSessions(String, Fingerprint),
    /// Drops sessions that were not used, or begun, since two moments.
    ForgetSessions {
        /// Not used since.
        idle: Timestamp,
        /// Begun before.
        begun: Timestamp,
    },
}

/// What a person has to log in with, beside passkeys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ways {
    /// The password's PHC string.
    pub password: Option<String>,
    /// The step of the last code that was used.
    pub totp_step: u64,
    /// Recovery codes that are left.
    pub recovery_codes: u32,
}

impl Ways {
    /// A person with these ways has used the code of this step.
    pub fn code_used(&self, person: &str, step: u64) -> PersonWrite {
        PersonWrite::CodeUsed {
            person: person.to_owned(),
            step,
            password: self.password.clone().unwrap_or_default(),
        }
    }
}

pub(crate) fn apply(tx: &Transaction<'_>, write: &PersonWrite) -> Result<(), ApplyError> {
    match write {
        PersonWrite::Found(person) => {
            if has_owner(tx)? {
                return Err(ApplyError::Conflict);
            }
            insert(tx, person)
        }
        PersonWrite::Invite(person) => insert(tx, person),
        PersonWrite::Reinvite(person, invitation) => run(
            tx,
            "UPDATE person SET invitation = ?2, invitation_expires = ?3, invited_by = ?4
             WHERE id = ?1 AND ended_at IS NULL",
            params![
                person,
                invitation.hash.0,
                invitation.expires_at.as_ms(),
                invitation.made_by
            ],
        )
        .and_then(one),
        PersonWrite::Join(person, hash) => run(
            tx,
            "UPDATE person SET joined = 1, invitation = NULL, invitation_expires = NULL
             WHERE id = ?1 AND invitation = ?2 AND ended_at IS NULL",
            params![person, hash.0],
        )
        .and_then(one),
        PersonWrite::Mandate(person, mandate) => {
            let had_owner = has_owner(tx)?;
            one(run(
                tx,
                "UPDATE person SET role = ?2, environments = ?3,
                     invitation = CASE joined WHEN 1 THEN NULL ELSE invitation END,
                     invitation_expires = CASE joined WHEN 1 THEN NULL ELSE invitation_expires END
                 WHERE id = ?1 AND ended_at IS NULL",
                params![person, mandate.role().as_str(), environments(mandate)],
            )?)?;
            if mandate.scope(Act::PeopleChange).is_none() {
                close_invitations_of(tx, person)?;
            }
            keeps_an_owner(tx, had_owner)
        }
        PersonWrite::End(person, at) => end(tx, person, *at),
        PersonWrite::Password(person, phc) => run(
            tx,
            "UPDATE person SET password = ?2, totp_step = 0 WHERE id = ?1 AND ended_at IS NULL",
            params![person, phc],
        )
        .and_then(one),
        PersonWrite::CodeUsed {
            person,
            step,
            password,
        } => run(
            tx,
            "UPDATE person SET totp_step = ?2 WHERE id = ?1 AND totp_step < ?2 AND password = ?3",
            params![person, step, password],
        )
        .and_then(one),
        PersonWrite::RecoveryCodes(person, hashes) => {
            run(
                tx,
                "DELETE FROM recovery_code WHERE person = ?1",
                params![person],
            )?;
            for hash in hashes {
                let sql = "INSERT INTO recovery_code (person, hash) VALUES (?1, ?2)";
                run(tx, sql, params![person, hash.0])?;
            }
            Ok(())
        }
        PersonWrite::UseRecoveryCode(person, hash, at) => run(
            tx,
            "UPDATE recovery_code SET used_at = ?3
             WHERE person = ?1 AND hash = ?2 AND used_at IS NULL",
            params![person, hash.0, at.as_ms()],
        )
        .and_then(one),
        PersonWrite::Passkey(passkey) => passkeys::add(tx, passkey),
        PersonWrite::PasskeyUsed { id, data, at } => passkeys::used(tx, id, data, *at),
        PersonWrite::EndPasskey(person, id) => passkeys::end(tx, person, id),
        _ => apply_to_session(tx, write),
    }
}

fn apply_to_session(tx: &Transaction<'_>, write: &PersonWrite) -> Result<(), ApplyError> {
    match write {
        PersonWrite::Session(session) => {
            run(
                tx,
                "INSERT INTO web_session
                     (hash, id, person, created_at, last_used_at, fresh_until, address, agent)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    session.hash.0,
                    session.id,
                    session.person,
                    session.created_at.as_ms(),
                    session.last_used_at.as_ms(),
                    session.fresh_until.as_ms(),
                    session.address,
                    session.agent
                ],
            )?;
            run(
                tx,
                "DELETE FROM web_session WHERE person = ?1 AND hash NOT IN
                     (SELECT hash FROM web_session WHERE person = ?1
                      ORDER BY last_used_at DESC, created_at DESC LIMIT ?2)",
                params![session.person, hearthkey_core::person::SESSIONS_MAX as i64],
            )?;
            let sql = "UPDATE person SET last_seen_at = ?2 WHERE id = ?1 AND ended_at IS NULL";
            run(tx, sql, params![session.person, session.created_at.as_ms()]).and_then(one)
        }
        PersonWrite::SessionUsed(hash, at) => {
            let sql = "UPDATE web_session SET last_used_at = ?2 WHERE hash = ?1";
            run(tx, sql, params![hash.0, at.as_ms()])?;
            let sql = "UPDATE person SET last_seen_at = ?2
                       WHERE id = (SELECT person FROM web_session WHERE hash = ?1)";
            run(tx, sql, params![hash.0, at.as_ms()])?;
            Ok(())
        }
        PersonWrite::SessionFresh(hash, until) => {
            let sql = "UPDATE web_session SET fresh_until = ?2 WHERE hash = ?1";
            run(tx, sql, params![hash.0, until.as_ms()]).and_then(one)
        }
        PersonWrite::EndSession(id) => {
            let sql = "DELETE FROM web_session WHERE id = ?1";
            run(tx, sql, params![id]).and_then(one)
        }
        PersonWrite::EndOtherSessions(person, hash) => {
            let sql = "DELETE FROM web_session WHERE person = ?1 AND hash <> ?2";
            run(tx, sql, params![person, hash.0]).map(|_| ())
        }
        PersonWrite::ForgetSessions { idle, begun } => {
            let sql = "DELETE FROM web_session WHERE last_used_at <= ?1 OR created_at <= ?2";
            run(tx, sql, params![idle.as_ms(), begun.as_ms()]).map(|_| ())
        }
        other => misplaced(other),
    }
}

fn has_owner(tx: &Transaction<'_>) -> Result<bool, ApplyError> {
    let sql = "SELECT EXISTS
        (SELECT 1 FROM person WHERE role = 'owner' AND joined AND ended_at IS NULL)";
    Ok(tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// A home that had an owner keeps one; one that nobody owns yet has none to keep.
fn keeps_an_owner(tx: &Transaction<'_>, had_owner: bool) -> Result<(), ApplyError> {
    match !had_owner || has_owner(tx)? {
        true => Ok(()),
        false => Err(ApplyError::Conflict),
    }
}

/// The environments of a mandate, as their column has them.
pub(crate) fn environments(mandate: &Mandate) -> String {
    serde_json::to_string(mandate.environments()).unwrap_or_default()
}

/// The mandate in a row: a role, and its environments in the next column.
pub(crate) fn mandate(row: &Row<'_>, column: usize) -> rusqlite::Result<Mandate> {
    let (role, environments) = (
        row.get::<_, Text<_>>(column)?.0,
        row.get::<_, Json<_>>(column + 1)?.0,
    );
    Mandate::new(role, environments).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
    })
}

fn insert(tx: &Transaction<'_>, person: &Person) -> Result<(), ApplyError> {
    let invitation = person.invitation.as_ref();
    run(
        tx,
        "INSERT INTO person
             (id, name, role, environments, created_at, joined, invitation, invitation_expires,
              invited_by)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
         WHERE NOT EXISTS (SELECT 1 FROM person WHERE name = ?2 AND ended_at IS NULL)",
        params![
            person.id,
            person.name.as_str(),
            person.mandate.role().as_str(),
            environments(&person.mandate),
            person.created_at.as_ms(),
            person.joined,
            invitation.map(|invitation| invitation.hash.0),
            invitation.map(|invitation| invitation.expires_at.as_ms()),
            invitation.and_then(|invitation| invitation.made_by.as_deref()),
        ],
    )
    .and_then(one)
}

fn end(tx: &Transaction<'_>, person: &str, at: Timestamp) -> Result<(), ApplyError> {
    let had_owner = has_owner(tx)?;
    one(run(
        tx,
        "UPDATE person SET ended_at = ?2, password = NULL, invitation = NULL,
             invitation_expires = NULL
         WHERE id = ?1 AND ended_at IS NULL",
        params![person, at.as_ms()],
    )?)?;
    for sql in [
        "DELETE FROM web_session WHERE person = ?1",
        "DELETE FROM passkey WHERE person = ?1",
        "DELETE FROM recovery_code WHERE person = ?1",
        "DELETE FROM secret WHERE kind = 'totp' AND name = ?1",
    ] {
        run(tx, sql, params![person])?;
    }
    close_invitations_of(tx, person)?;
    // From before it was written down who has made them: theirs, perhaps.
    let sql =
        "UPDATE person SET invitation = NULL, invitation_expires = NULL WHERE invited_by IS NULL";
    run(tx, sql, params![])?;
    keeps_an_owner(tx, had_owner)
}

/// The invitations that a person made are good no more.
fn close_invitations_of(tx: &Transaction<'_>, person: &str) -> Result<(), ApplyError> {
    let sql =
        "UPDATE person SET invitation = NULL, invitation_expires = NULL WHERE invited_by = ?1";
    run(tx, sql, params![person]).map(drop)
}

const PERSON: &str = "person.id, person.name, person.role, person.environments, person.created_at,
    person.ended_at, person.last_seen_at, person.joined, person.invitation,
    person.invitation_expires, person.invited_by";
/// How many columns these are.
const PERSON_COLUMNS: usize = 11;

fn read_person(row: &Row<'_>) -> rusqlite::Result<Person> {
    let invitation: Option<[u8; 32]> = row.get(8)?;
    let made_by = row.get(10)?;
    Ok(Person {
        id: row.get(0)?,
        name: row.get::<_, Text<_>>(1)?.0,
        mandate: mandate(row, 2)?,
        created_at: time(row, 4)?,
        ended_at: time_if_any(row, 5)?,
        last_seen_at: time_if_any(row, 6)?,
        joined: row.get(7)?,
        invitation: invitation
            .zip(time_if_any(row, 9)?)
            .map(|(hash, expires_at)| Invitation {
                hash: Fingerprint(hash),
                expires_at,
                made_by,
            }),
    })
}

fn read_session(row: &Row<'_>, from: usize) -> rusqlite::Result<WebSession> {
    Ok(WebSession {
        hash: Fingerprint(row.get(from)?),
        id: row.get(from + 1)?,
        person: row.get(from + 2)?,
        created_at: time(row, from + 3)?,
        last_used_at: time(row, from + 4)?,
        fresh_until: time(row, from + 5)?,
        address: row.get(from + 6)?,
        agent: row.get(from + 7)?,
    })
}

const SESSION: &str = "web_session.hash, web_session.id, web_session.person,
    web_session.created_at, web_session.last_used_at, web_session.fresh_until,
    web_session.address, web_session.agent";

impl Registry<'_> {
    /// Everybody, those whose access has ended last, in the order of their names.
    pub fn people(&self) -> Result<Vec<Person>, ReadError> {
        let sql =
            format!("SELECT {PERSON} FROM person ORDER BY ended_at IS NOT NULL, name, ended_at");
        self.all(&sql, [], read_person)
    }

    /// The person with this id.
    pub fn person(&self, id: &str) -> Result<Option<Person>, ReadError> {
        let sql = format!("SELECT {PERSON} FROM person WHERE id = ?1");
        self.one(&sql, [id], read_person)
    }

    /// The person who has this name now.
    pub fn person_named(&self, name: &str) -> Result<Option<Person>, ReadError> {
        let sql = format!("SELECT {PERSON} FROM person WHERE name = ?1 AND ended_at IS NULL");
        self.one(&sql, [name], read_person)
    }

    /// The person whom an invitation with this hash is for.
    pub fn person_invited_by(&self, hash: &Fingerprint) -> Result<Option<Person>, ReadError> {
        let sql = format!("SELECT {PERSON} FROM person WHERE invitation = ?1");
        self.one(&sql, [hash.0], read_person)
    }

    /// Whether somebody owns the home and can log in.
    pub fn has_owner(&self) -> Result<bool, ReadError> {
        let sql = "SELECT 1 FROM person WHERE role = 'owner' AND joined AND ended_at IS NULL";
        Ok(self.one(sql, [], |row| row.get::<_, i64>(0))?.is_some())
    }

    /// Whether anybody has ever had a way in, also if they were sent away since.
    pub fn somebody_has_joined(&self) -> Result<bool, ReadError> {
        let sql = "SELECT 1 FROM person WHERE joined LIMIT 1";
        Ok(self.one(sql, [], |row| row.get::<_, i64>(0))?.is_some())
    }

    /// What a person has to log in with, beside passkeys.
    pub fn ways_of(&self, person: &str) -> Result<Ways, ReadError> {
        let sql = "SELECT password, totp_step, (SELECT COUNT(*) FROM recovery_code
                       WHERE person = ?1 AND used_at IS NULL)
                   FROM person WHERE id = ?1";
        let ways = self.one(sql, [person], |row| {
            Ok(Ways {
                password: row.get(0)?,
                totp_step: row.get(1)?,
                recovery_codes: row.get(2)?,
            })
        })?;
        Ok(ways.unwrap_or_default())
    }

    /// Whether a person has a recovery code with this hash that was not used.
    pub fn has_recovery_code(&self, person: &str, hash: &Fingerprint) -> Result<bool, ReadError> {
        let sql = "SELECT 1 FROM recovery_code WHERE person = ?1 AND hash = ?2 AND used_at IS NULL";
        let found = self.one(sql, rusqlite::params![person, hash.0], |row| {
            row.get::<_, i64>(0)
        })?;
        Ok(found.is_some())
    }

    /// The session with this hash, and whose it is.
    pub fn web_session(
        &self,
        hash: &Fingerprint,
    ) -> Result<Option<(WebSession, Person)>, ReadError> {
        let sql = format!(
            "SELECT {PERSON}, {SESSION} FROM web_session
             JOIN person ON person.id = web_session.person
             WHERE web_session.hash = ?1 AND person.ended_at IS NULL"
        );
        self.one(&sql, [hash.0], |row| {
            Ok((read_session(row, PERSON_COLUMNS)?, read_person(row)?))
        })
    }

    /// Sessions with their people, those used last first; of one person if one is named.
    pub fn web_sessions(
        &self,
        person: Option<&str>,
    ) -> Result<Vec<(WebSession, Person)>, ReadError> {
        let sql = format!(
            "SELECT {PERSON}, {SESSION} FROM web_session
             JOIN person ON person.id = web_session.person
             WHERE ?1 IS NULL OR web_session.person = ?1
             ORDER BY web_session.last_used_at DESC, web_session.id LIMIT 1000"
        );
        self.all(&sql, [person], |row| {
            Ok((read_session(row, PERSON_COLUMNS)?, read_person(row)?))
        })
    }
}

#[cfg(test)]
mod tests;
