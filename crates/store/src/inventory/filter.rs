//! What an inventory is searched for, and the statement that finds it.

use hearthkey_core::credential::{Kind, State, Tier};
use hearthkey_core::id::EnvironmentName;

use super::{CREDENTIAL_COLUMNS, CREDENTIAL_TABLES};

/// What is searched for. Every part that is there must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The environment.
    pub environment: Option<EnvironmentName>,
    /// A text within the name, the owner, the purpose or a place of use; case does not matter.
    pub text: Option<String>,
    /// The kind.
    pub kind: Option<Kind>,
    /// The tier.
    pub tier: Option<Tier>,
    /// The state.
    pub state: Option<State>,
}

impl Filter {
    /// The statement that answers it.
    ///
    /// A page of the database is decrypted whenever it is read, which costs more than all of its
    /// rows. Names are in the order of their index and rows in that of their making, so following
    /// the index decrypts a page for every row. Hence, first which ones they are: from the index if
    /// that says it, or else from the whole table, page after page. Then these, in the table's order.
    pub(super) fn sql(&self) -> String {
        let (mut way, mut also) = ("", String::new());
        let conditions = [
            (self.kind.is_some(), " AND kind = ?4"),
            (self.tier.is_some(), " AND tier = ?5"),
            (self.state.is_some(), " AND state = ?6"),
            (
                self.text.is_some(),
                " AND instr(lower(name || char(10) || owner || char(10) || purpose
                     || char(10) || used_by), lower(?7)) > 0",
            ),
        ];
        for (_, condition) in conditions.iter().filter(|(asked, _)| *asked) {
            (way, also) = ("NOT INDEXED", also + condition);
        }
        if self.environment.is_some() {
            also += " AND environment = ?3";
        }
        // The signs keep the index from being followed after all, for the sake of its order.
        format!(
            "SELECT {CREDENTIAL_COLUMNS} FROM {CREDENTIAL_TABLES} WHERE c.id IN (
                 SELECT id FROM credential {way} WHERE (name, environment) > (?1, ?2){also}
                 ORDER BY name, environment LIMIT ?8)
             ORDER BY +c.name, +c.environment"
        )
    }
}

#[cfg(test)]
mod tests {
    use hearthkey_core::audit::Actor;
    use hearthkey_core::credential::{
        Credential, CredentialId, Custody, Origin, Provenance, VersionState,
    };
    use hearthkey_core::id::{Fingerprint, HomeId};
    use hearthkey_core::time::Timestamp;
    use rusqlite::Connection;

    use super::*;
    use crate::change::Write;
    use crate::change_apply::apply;
    use crate::connection::{self, Use};
    use crate::keys::RootKey;
    use crate::registry::Registry;
    use crate::vault::SealedSecret;
    use crate::vault_change::{NewVersion, VaultWrite};

    fn id(name: &str, environment: &str) -> CredentialId {
        CredentialId {
            environment: environment.parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    fn credential(id: CredentialId, kind: Kind, owner: &str) -> Credential {
        let at = Timestamp::from_s(1_800_000_000);
        Credential {
            id,
            kind,
            owner: owner.into(),
            purpose: "the lights".into(),
            tier: Tier::Standard,
            custody: Custody::Vault,
            location: None,
            provenance: Provenance {
                origin: Origin::Entered,
                source: None,
                by: Actor::gateway().name,
                address: None,
                at,
            },
            state: State::Active,
            rotation: Default::default(),
            used_by: vec!["node-red".into()],
            scopes: Vec::new(),
            expires_at: None,
        }
    }

    /// A vault whose rows are not in the order of their names. `value` is the fingerprint's byte.
    fn vault(rows: &[(&str, &str, Kind, &str, u8)]) -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let home: HomeId = "home-1".parse().unwrap();
        let key = RootKey::generate().database(&home);
        let path = dir.path().join("db");
        std::fs::File::create(&path).unwrap();
        let mut connection = connection::open(&path, &key, Use::Write).unwrap();
        connection::migrate(&mut connection).unwrap();
        let tx = connection.transaction().unwrap();
        let at = Timestamp::from_s(1_800_000_000);
        let mut writes: Vec<Write> = ["home", "lab"]
            .map(|name| Write::Environment(name.parse().unwrap(), at))
            .into();
        for (name, environment, kind, owner, value) in rows {
            let id = id(name, environment);
            let version = NewVersion {
                version: 1,
                state: VersionState::Current,
                fingerprint: Fingerprint([*value; 32]),
                bytes: 1,
                origin: Origin::Entered,
                remote_id: None,
                at,
                by: "gateway".into(),
                sealed: SealedSecret {
                    epoch: 1,
                    wrapped: Vec::new(),
                    sealed: Vec::new(),
                },
            };
            let added = credential(id.clone(), *kind, owner);
            writes.push(Write::Vault(VaultWrite::Add(added)));
            writes.push(Write::Vault(VaultWrite::Version(id, version)));
        }
        for write in &writes {
            apply(&tx, write).unwrap();
        }
        tx.commit().unwrap();
        (dir, connection)
    }

    const ROWS: [(&str, &str, Kind, &str, u8); 6] = [
        ("mqtt/b", "home", Kind::Password, "anna", 1),
        ("hue/key", "lab", Kind::ApiKey, "Berta", 2),
        ("ha/token", "home", Kind::ApiToken, "anna", 3),
        ("hue/key", "home", Kind::ApiKey, "anna", 2),
        ("mqtt/a", "lab", Kind::Password, "anna", 4),
        ("wifi/key", "home", Kind::WifiKey, "berta", 1),
    ];

    /// Everything that a filter finds, in pages of two.
    fn found(connection: &Connection, filter: &Filter) -> Vec<String> {
        let registry = Registry(connection);
        let (mut found, mut after) = (Vec::new(), (String::new(), String::new()));
        loop {
            let page = registry
                .credentials(filter, (&after.0, &after.1), 2)
                .unwrap();
            let Some(last) = page.last() else {
                return found;
            };
            let last = &last.credential.id;
            after = (last.name.to_string(), last.environment.to_string());
            found.extend(page.iter().map(|known| known.credential.id.to_string()));
        }
    }

    #[test]
    fn every_filter_finds_its_credentials_in_the_order_of_their_names_page_after_page() {
        let (_dir, connection) = vault(&ROWS);
        let all = [
            "home/ha/token",
            "home/hue/key",
            "lab/hue/key",
            "lab/mqtt/a",
            "home/mqtt/b",
            "home/wifi/key",
        ];
        assert_eq!(found(&connection, &Filter::default()), all);
        let text = |text: &str| Filter {
            text: Some(text.into()),
            ..Filter::default()
        };
        assert_eq!(found(&connection, &text("BERTA")), [all[2], all[5]]);
        assert_eq!(found(&connection, &text("node-red")), all);
        assert!(found(&connection, &text("zigbee")).is_empty());
        let home = Filter {
            environment: Some("home".parse().unwrap()),
            ..Filter::default()
        };
        assert_eq!(found(&connection, &home), [all[0], all[1], all[4], all[5]]);
        let passwords_at_home = Filter {
            kind: Some(Kind::Password),
            tier: Some(Tier::Standard),
            state: Some(State::Active),
            ..home
        };
        assert_eq!(found(&connection, &passwords_at_home), [all[4]]);
        let retired = Filter {
            state: Some(State::Retired),
            ..Filter::default()
        };
        assert!(found(&connection, &retired).is_empty());
    }

    #[test]
    fn an_inventory_is_searched_from_the_first_page_of_the_table_to_the_last() {
        let (_dir, connection) = vault(&ROWS);
        let plan = |filter: &Filter| -> String {
            let sql = format!("EXPLAIN QUERY PLAN {}", filter.sql());
            let mut statement = connection.prepare(&sql).unwrap();
            let (mut rows, mut plan) = (statement.raw_query(), String::new());
            while let Some(row) = rows.next().unwrap() {
                plan += &format!("{}\n", row.get::<_, String>(3).unwrap());
            }
            plan
        };
        let search = plan(&Filter {
            text: Some("x".into()),
            ..Filter::default()
        });
        assert!(search.contains("SCAN credential\n"), "{search}");
        let list = plan(&Filter::default());
        assert!(list.contains("credential USING COVERING INDEX"), "{list}");
        for plan in [search, list] {
            assert!(plan.contains("c USING INTEGER PRIMARY KEY"), "{plan}");
        }
    }

    #[test]
    fn a_shared_value_is_found_from_either_of_those_who_hold_it_and_from_no_other() {
        let (_dir, connection) = vault(&ROWS);
        let registry = Registry(&connection);
        let mut all = registry.shared_values(None).unwrap();
        all.sort_by_key(|value| value.0);
        assert_eq!(all, [Fingerprint([1; 32]), Fingerprint([2; 32])]);
        for (name, environment, shared) in [
            ("hue/key", "lab", Some(2)),
            ("hue/key", "home", Some(2)),
            ("wifi/key", "home", Some(1)),
            ("ha/token", "home", None),
        ] {
            let found = registry
                .shared_values(Some(&id(name, environment)))
                .unwrap();
            let shared: Vec<_> = shared
                .map(|byte| Fingerprint([byte; 32]))
                .into_iter()
                .collect();
            assert_eq!(found, shared, "{name} in {environment}");
        }
    }
}
