//! What is known of the vault: questions about credentials, rotations, leases, bridges, findings.
//! No answer holds a value in the clear.

mod filter;

use hearthkey_core::bridge::Bridge;
use hearthkey_core::credential::{
    Credential, CredentialId, Kind, Origin, State, Tier, VersionState,
};
use hearthkey_core::finding::{Finding, RemedyAction};
use hearthkey_core::id::{EnvironmentName, Fingerprint};
use hearthkey_core::rotation::Step;
use hearthkey_core::time::Timestamp;
use rusqlite::Row;

use crate::registry::{Json, ReadError, Registry, Text, Word, time, time_if_any};
use crate::vault::{CredentialPlace, SealedSecret};

pub use filter::Filter;

/// One version, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVersion {
    /// Its number.
    pub version: u32,
    /// Its state.
    pub state: VersionState,
    /// The value's fingerprint.
    pub fingerprint: Fingerprint,
    /// The value's length.
    pub bytes: u64,
    /// Where the value came from.
    pub origin: Origin,
    /// What the bridge calls it.
    pub remote_id: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was replaced for good.
    pub ended_at: Option<Timestamp>,
}

/// A credential with what has happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCredential {
    /// The credential.
    pub credential: Credential,
    /// The version that is given out, and when it was made.
    pub current: Option<(u32, Timestamp)>,
    /// The step of the rotation that runs.
    pub rotating: Option<Step>,
    /// When its value was last given out.
    pub last_used_at: Option<Timestamp>,
    /// To whom.
    pub last_used_by: Option<String>,
    /// How often the current version was given out.
    pub uses: u64,
    /// When the bridge last took the current value.
    pub verified_at: Option<Timestamp>,
    /// What the bridge said that it may do.
    pub found_scopes: Option<Vec<String>>,
    /// Whether the bridge said that it may do everything.
    pub privileged: bool,
    /// When its data keys are destroyed.
    pub shred_at: Option<Timestamp>,
}

/// A sealed value, with the facts that decide whether it is given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// The credential's state.
    pub state: State,
    /// Its tier.
    pub tier: Tier,
    /// What it is.
    pub kind: Kind,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// The version.
    pub version: u32,
    /// The state of the version.
    pub version_state: VersionState,
    /// What the bridge calls it.
    pub remote_id: Option<String>,
    /// The value.
    pub sealed: SealedSecret,
}

pub(crate) fn id(row: &Row<'_>, name: usize, environment: usize) -> rusqlite::Result<CredentialId> {
    Ok(CredentialId {
        environment: row.get::<_, Text<_>>(environment)?.0,
        name: row.get::<_, Text<_>>(name)?.0,
    })
}

const CREDENTIAL_COLUMNS: &str =
    "c.name, c.environment, c.kind, c.owner, c.purpose, c.tier, c.custody,
    c.location, c.provenance, c.state, c.rotation, c.used_by, c.scopes, c.expires_at,
    v.version, v.created_at, r.step, c.last_used_at, c.last_used_by, c.uses, c.verified_at,
    c.found_scopes, c.privileged, c.shred_at";

const CREDENTIAL_TABLES: &str = "credential c
    LEFT JOIN credential_version v ON v.credential = c.id AND v.state = 'current'
    LEFT JOIN rotation r ON r.credential = c.id AND r.ended_at IS NULL";

fn read_credential(row: &Row<'_>) -> rusqlite::Result<KnownCredential> {
    let version: Option<u32> = row.get(14)?;
    Ok(KnownCredential {
        credential: Credential {
            id: id(row, 0, 1)?,
            kind: row.get::<_, Text<_>>(2)?.0,
            owner: row.get(3)?,
            purpose: row.get(4)?,
            tier: row.get::<_, Text<_>>(5)?.0,
            custody: row.get::<_, Text<_>>(6)?.0,
            location: row.get(7)?,
            provenance: row.get::<_, Json<_>>(8)?.0,
            state: row.get::<_, Text<_>>(9)?.0,
            rotation: row.get::<_, Json<_>>(10)?.0,
            used_by: row.get::<_, Json<_>>(11)?.0,
            scopes: row.get::<_, Json<_>>(12)?.0,
            expires_at: time_if_any(row, 13)?,
        },
        current: version.zip(time_if_any(row, 15)?),
        rotating: row.get::<_, Option<Word<_>>>(16)?.map(|word| word.0),
        last_used_at: time_if_any(row, 17)?,
        last_used_by: row.get(18)?,
        uses: row.get(19)?,
        verified_at: time_if_any(row, 20)?,
        found_scopes: row.get::<_, Option<Json<_>>>(21)?.map(|json| json.0),
        privileged: row.get::<_, Option<bool>>(22)?.unwrap_or_default(),
        shred_at: time_if_any(row, 23)?,
    })
}

fn read_version(row: &Row<'_>) -> rusqlite::Result<KnownVersion> {
    Ok(KnownVersion {
        version: row.get(0)?,
        state: row.get::<_, Text<_>>(1)?.0,
        fingerprint: Fingerprint(row.get(2)?),
        bytes: row.get(3)?,
        origin: row.get::<_, Text<_>>(4)?.0,
        remote_id: row.get(5)?,
        created_at: time(row, 6)?,
        created_by: row.get(7)?,
        ended_at: time_if_any(row, 8)?,
    })
}

fn read_bridge(row: &Row<'_>) -> rusqlite::Result<Bridge> {
    Ok(Bridge {
        name: row.get(0)?,
        environment: row.get::<_, Text<_>>(1)?.0,
        kind: row.get(2)?,
        owner: row.get(3)?,
        purpose: row.get(4)?,
        settings: row.get(5)?,
        authority: row.get::<_, Option<Text<_>>>(6)?.map(|text| text.0),
        created_at: time(row, 7)?,
        created_by: row.get(8)?,
    })
}

fn read_finding(row: &Row<'_>) -> rusqlite::Result<(Finding, Timestamp)> {
    let (kind, object) = (row.get::<_, Text<_>>(1)?.0, row.get::<_, String>(3)?);
    let finding = Finding {
        id: row.get(0)?,
        kind,
        severity: row.get::<_, Text<_>>(2)?.0,
        action: RemedyAction::usual(kind, &object),
        object,
        what: row.get(4)?,
        remedy: row.get(5)?,
    };
    Ok((finding, time(row, 6)?))
}

impl Registry<'_> {
    /// A credential.
    pub fn credential(&self, id: &CredentialId) -> Result<Option<KnownCredential>, ReadError> {
        let sql = format!(
            "SELECT {CREDENTIAL_COLUMNS} FROM {CREDENTIAL_TABLES} WHERE c.name = ?1 AND c.environment = ?2"
        );
        let key = (id.name.as_str(), id.environment.as_str());
        self.one(&sql, key, read_credential)
    }

    /// Credentials in the order of their names and environments, after one of them, at most `limit`.
    pub fn credentials(
        &self,
        filter: &Filter,
        after: (&str, &str),
        limit: u32,
    ) -> Result<Vec<KnownCredential>, ReadError> {
        let params = rusqlite::params![
            after.0,
            after.1,
            filter.environment.as_ref().map(EnvironmentName::as_str),
            filter.kind.map(Kind::as_str),
            filter.tier.map(Tier::as_str),
            filter.state.map(State::as_str),
            filter.text,
            limit,
        ];
        self.all(&filter.sql(), params, read_credential)
    }

    /// Shows every active credential to `see`, in no order that means anything.
    pub fn each_active(&self, mut see: impl FnMut(&KnownCredential)) -> Result<(), ReadError> {
        let sql = format!(
            "SELECT {CREDENTIAL_COLUMNS} FROM {CREDENTIAL_TABLES} WHERE c.state = 'active' ORDER BY c.id"
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            see(&read_credential(row)?);
        }
        Ok(())
    }

    /// The versions of a credential, newest first.
    pub fn versions(&self, id: &CredentialId) -> Result<Vec<KnownVersion>, ReadError> {
        self.all(
            "SELECT v.version, v.state, v.fingerprint, v.bytes, v.origin, v.remote_id, v.created_at,
                 v.created_by, v.ended_at
             FROM credential c JOIN credential_version v ON v.credential = c.id
             WHERE c.name = ?1 AND c.environment = ?2 ORDER BY v.version DESC LIMIT 1000",
            (id.name.as_str(), id.environment.as_str()),
            read_version,
        )
    }

    /// A version's sealed value: the current one, or the one that is named.
    pub fn sealed_value(
        &self,
        id: &CredentialId,
        version: Option<u32>,
    ) -> Result<Option<SealedValue>, ReadError> {
        self.one(
            "SELECT c.state, c.tier, c.kind, c.expires_at, v.version, v.state, v.remote_id,
                 s.epoch, s.wrapped, s.sealed
             FROM credential c JOIN credential_version v ON v.credential = c.id
             JOIN secret s ON s.kind = 'credential' AND s.name = ?3 AND s.version = v.version
             WHERE c.name = ?1 AND c.environment = ?2
             AND CASE WHEN ?4 IS NULL THEN v.state = 'current' ELSE v.version = ?4 END",
            (
                id.name.as_str(),
                id.environment.as_str(),
                id.to_string(),
                version,
            ),
            |row| {
                Ok(SealedValue {
                    state: row.get::<_, Text<_>>(0)?.0,
                    tier: row.get::<_, Text<_>>(1)?.0,
                    kind: row.get::<_, Text<_>>(2)?.0,
                    expires_at: time_if_any(row, 3)?,
                    version: row.get(4)?,
                    version_state: row.get::<_, Text<_>>(5)?.0,
                    remote_id: row.get(6)?,
                    sealed: sealed(row, 7)?,
                })
            },
        )
    }

    /// Sealed values in the order of their credentials, after one of them, at most `limit`: of every
    /// version whose data key is not destroyed. Of versions with one value, the newest represents all.
    pub fn sealed_values(
        &self,
        after: (&str, &str, u32),
        limit: u32,
    ) -> Result<Vec<(CredentialId, u32, SealedSecret)>, ReadError> {
        self.all(
            "SELECT c.name, c.environment, v.version, s.epoch, s.wrapped, s.sealed
             FROM credential c JOIN credential_version v ON v.credential = c.id
             JOIN secret s ON s.kind = 'credential' AND s.version = v.version
                 AND s.name = c.environment || '/' || c.name
             WHERE (c.name, c.environment, v.version) > (?1, ?2, ?3)
             AND NOT EXISTS (
                 SELECT 1 FROM credential_version newer WHERE newer.credential = c.id
                 AND newer.version > v.version AND newer.fingerprint = v.fingerprint)
             ORDER BY c.name, c.environment, v.version LIMIT ?4",
            (after.0, after.1, after.2, limit),
            |row| Ok((id(row, 0, 1)?, row.get(2)?, sealed(row, 3)?)),
        )
    }

    /// The live versions that hold a value, other than those of one credential.
    pub fn holders_of(&self, value: &Fingerprint) -> Result<Vec<CredentialId>, ReadError> {
        self.all(
            "SELECT DISTINCT c.name, c.environment FROM credential_version v
             JOIN credential c ON c.id = v.credential
             WHERE v.fingerprint = ?1 AND v.state IN ('pending', 'current', 'previous')
             AND c.state = 'active' ORDER BY 1, 2 LIMIT 100",
            [value.0],
            |row| id(row, 0, 1),
        )
    }

    /// Another active credential of the same bridge and environment that has a value of this name there.
    pub fn holder_of_remote(
        &self,
        id: &CredentialId,
        remote_id: &str,
    ) -> Result<Option<CredentialId>, ReadError> {
        self.one(
            "SELECT c.name, c.environment FROM credential_version v
             JOIN credential c ON c.id = v.credential
             WHERE v.remote_id = ?1 AND v.state IN ('pending', 'current', 'previous') AND c.state = 'active'
             AND c.environment = ?2 AND c.name <> ?3 AND c.name GLOB ?4 || '/*' LIMIT 1",
            (
                remote_id,
                id.environment.as_str(),
                id.name.as_str(),
                id.name.bridge(),
            ),
            |row| self::id(row, 0, 1),
        )
    }

    /// Values that more than one active credential holds; of one credential alone if it is named.
    pub fn shared_values(&self, of: Option<&CredentialId>) -> Result<Vec<Fingerprint>, ReadError> {
        let candidates = match of {
            Some(_) => {
                "SELECT v.fingerprint FROM credential c JOIN credential_version v ON v.credential = c.id
                 WHERE c.name = ?1 AND c.environment = ?2 AND c.state = 'active'
                 AND v.state IN ('pending', 'current', 'previous')"
            }
            // The index alone says which there can be; where they stand is asked of those few.
            None => {
                "SELECT fingerprint FROM credential_version
                 GROUP BY fingerprint HAVING min(credential) <> max(credential)"
            }
        };
        let sql = format!(
            "SELECT v.fingerprint FROM credential_version v JOIN credential c ON c.id = v.credential
             WHERE v.fingerprint IN ({candidates})
             AND v.state IN ('current', 'previous') AND c.state = 'active'
             GROUP BY v.fingerprint HAVING count(DISTINCT v.credential) > 1 LIMIT 1000"
        );
        let read = |row: &Row<'_>| row.get(0).map(Fingerprint);
        match of {
            Some(id) => self.all(&sql, (id.name.as_str(), id.environment.as_str()), read),
            None => self.all(&sql, [], read),
        }
    }

    /// The credentials that the gateway rotates by itself, but for those of which a rotation was undone since then.
    pub fn automatic(&self, undone_since: Timestamp) -> Result<Vec<KnownCredential>, ReadError> {
        let sql = format!(
            "SELECT {CREDENTIAL_COLUMNS} FROM {CREDENTIAL_TABLES}
             WHERE c.state = 'active' AND c.rotation ->> 'automatic' = 1
             AND NOT EXISTS (
                 SELECT 1 FROM rotation u WHERE u.credential = c.id AND u.step = 'undone' AND u.ended_at > ?1)
             ORDER BY c.id"
        );
        self.all(&sql, [undone_since.as_ms()], read_credential)
    }

    /// A row's sealed value.
    pub fn sealed_at(&self, place: &CredentialPlace) -> Result<Option<SealedSecret>, ReadError> {
        let row = place.row();
        self.one(
            "SELECT epoch, wrapped, sealed FROM secret WHERE kind = ?1 AND name = ?2 AND version = ?3",
            (row.kind, row.name, row.version),
            |row| sealed(row, 0),
        )
    }

    /// Every bridge.
    pub fn bridges(&self) -> Result<Vec<Bridge>, ReadError> {
        let sql = "SELECT * FROM bridge ORDER BY name, environment LIMIT 1000";
        self.all(sql, [], read_bridge)
    }

    /// A bridge.
    pub fn bridge(
        &self,
        name: &str,
        environment: &EnvironmentName,
    ) -> Result<Option<Bridge>, ReadError> {
        let sql = "SELECT * FROM bridge WHERE name = ?1 AND environment = ?2";
        self.one(sql, (name, environment.as_str()), read_bridge)
    }

    /// The findings that were noted and are not resolved, newest first, and since when.
    pub fn findings(&self) -> Result<Vec<(Finding, Timestamp)>, ReadError> {
        let sql = "SELECT id, kind, severity, object, what, remedy, first_seen FROM finding
                   WHERE resolved_at IS NULL ORDER BY first_seen DESC, id LIMIT 10000";
        self.all(sql, [], read_finding)
    }

    /// The ids of what was found to be left over at the bridge of an object.
    pub fn leftovers(&self, object: &str) -> Result<Vec<String>, ReadError> {
        let sql = "SELECT id FROM finding WHERE object = ?1 AND kind = 'leftover' AND resolved_at IS NULL LIMIT 1000";
        self.all(sql, [object], |row| row.get(0))
    }

    /// All that was noted of the principals that read secrets.
    pub fn habits(&self) -> Result<Vec<(String, String, Timestamp)>, ReadError> {
        let sql = "SELECT principal, fact, first_seen FROM habit LIMIT 100000";
        self.all(sql, [], |row| Ok((row.get(0)?, row.get(1)?, time(row, 2)?)))
    }

    /// The epoch under which an environment's new values are sealed.
    pub fn kek_epoch(&self, environment: &EnvironmentName) -> Result<Option<u32>, ReadError> {
        let sql = "SELECT kek_epoch FROM environment WHERE name = ?1";
        self.one(sql, [environment.as_str()], |row| row.get(0))
    }

    /// How many of an environment's values lie under its epoch, and how many there are.
    pub fn sealed_under(
        &self,
        environment: &EnvironmentName,
        epoch: u32,
    ) -> Result<(u64, u64), ReadError> {
        let (first, end) = bounds(environment);
        let counts = self.one(
            "SELECT coalesce(sum(epoch >= ?3), 0), count(*) FROM secret
             WHERE kind IN ('credential', 'lease') AND name >= ?1 AND name < ?2",
            (first, end, epoch),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(counts.unwrap_or_default())
    }

    /// Values of an environment that lie under an earlier epoch, at most `limit`.
    pub fn sealed_before(
        &self,
        environment: &EnvironmentName,
        epoch: u32,
        limit: u32,
    ) -> Result<Vec<(CredentialPlace, SealedSecret)>, ReadError> {
        let (first, end) = bounds(environment);
        let rows = self.all(
            "SELECT kind, name, version, epoch, wrapped, sealed FROM secret
             WHERE kind IN ('credential', 'lease') AND name >= ?1 AND name < ?2 AND epoch < ?3 LIMIT ?4",
            (first, end, epoch, limit),
            |row| {
                let place = CredentialPlace::of_row(row.get_ref(0)?.as_str()?, row.get(1)?, row.get(2)?);
                Ok((place, sealed(row, 3)?))
            },
        )?;
        let known = rows
            .into_iter()
            .filter_map(|(place, sealed)| Some((place?, sealed)));
        Ok(known.collect())
    }

    /// Versions whose data keys are to be destroyed: replaced before `replaced_before`, or of a
    /// credential whose grace ended before `now`.
    pub fn shreddable(
        &self,
        replaced_before: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<(CredentialId, u32)>, ReadError> {
        self.all(
            "SELECT c.name, c.environment, v.version FROM credential c
             JOIN credential_version v ON v.credential = c.id
             WHERE v.state <> 'destroyed'
             AND ((v.state IN ('retired', 'failed') AND v.ended_at < ?1 AND c.state = 'active')
                 OR (c.shred_at <= ?2 AND (c.shred_at <= ?1 OR NOT EXISTS (
                     SELECT 1 FROM finding f WHERE f.kind = 'leftover' AND f.resolved_at IS NULL
                     AND f.object = 'credential:' || c.environment || '/' || c.name))))
             AND NOT EXISTS (
                 SELECT 1 FROM rotation r WHERE r.credential = c.id AND r.ended_at IS NULL
                 AND v.version IN (r.from_version, r.to_version))
             ORDER BY c.id, v.version LIMIT 500",
            (replaced_before.as_ms(), now.as_ms()),
            |row| Ok((id(row, 0, 1)?, row.get(2)?)),
        )
    }

    /// Retired credentials without a value left.
    pub fn shredded(&self, now: Timestamp) -> Result<Vec<CredentialId>, ReadError> {
        self.all(
            "SELECT c.name, c.environment FROM credential c WHERE c.state = 'retired' AND c.shred_at <= ?1
             AND NOT EXISTS (SELECT 1 FROM credential_version v WHERE v.credential = c.id AND v.state <> 'destroyed')
             LIMIT 500",
            [now.as_ms()],
            |row| id(row, 0, 1),
        )
    }
}

/// The names of an environment's rows lie between these: `/` is followed by `0`.
fn bounds(environment: &EnvironmentName) -> (String, String) {
    (format!("{environment}/"), format!("{environment}0"))
}

fn sealed(row: &Row<'_>, first: usize) -> rusqlite::Result<SealedSecret> {
    Ok(SealedSecret {
        epoch: row.get(first)?,
        wrapped: row.get(first + 1)?,
        sealed: row.get(first + 2)?,
    })
}
