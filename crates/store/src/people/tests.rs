use rusqlite::Connection;

use super::*;

fn registry() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    crate::connection::migrate(&mut connection).unwrap();
    connection
}

fn write(connection: &mut Connection, write: &PersonWrite) -> Result<(), ApplyError> {
    let tx = connection.transaction().unwrap();
    apply(&tx, write)?;
    tx.commit().unwrap();
    Ok(())
}

fn invited(name: &str, made_by: Option<&str>) -> Person {
    Person {
        id: name.into(),
        name: name.parse().unwrap(),
        mandate: Mandate::owner(),
        created_at: Timestamp::from_s(0),
        ended_at: None,
        last_seen_at: None,
        joined: false,
        invitation: Some(Invitation {
            hash: Fingerprint::of(name.as_bytes()),
            expires_at: Timestamp::from_s(100),
            made_by: made_by.map(str::to_owned),
        }),
    }
}

/// A home with two owners.
fn home() -> Connection {
    let mut connection = registry();
    for name in ["anna", "mallory"] {
        let person = invited(name, None);
        let hash = Fingerprint::of(name.as_bytes());
        write(&mut connection, &PersonWrite::Invite(person)).unwrap();
        write(&mut connection, &PersonWrite::Join(name.into(), hash)).unwrap();
    }
    connection
}

#[test]
fn a_code_that_was_judged_beside_another_password_is_not_used() {
    let mut connection = home();
    let set = |phc: &str| PersonWrite::Password("anna".into(), phc.into());
    write(&mut connection, &set("old")).unwrap();
    let judged = Registry(&connection).ways_of("anna").unwrap();
    write(&mut connection, &set("new")).unwrap();
    let used = write(&mut connection, &judged.code_used("anna", 7));
    assert!(matches!(used, Err(ApplyError::Conflict)));
    let judged = Registry(&connection).ways_of("anna").unwrap();
    write(&mut connection, &judged.code_used("anna", 7)).unwrap();
    let again = write(&mut connection, &judged.code_used("anna", 7));
    assert!(matches!(again, Err(ApplyError::Conflict)));
}

#[test]
fn an_invitation_ends_with_the_access_and_with_the_right_of_whoever_made_it() {
    let lesser = Mandate::new(hearthkey_core::role::Role::Operator, Default::default());
    let ends = [
        PersonWrite::End("mallory".into(), Timestamp::from_s(1)),
        PersonWrite::Mandate("mallory".into(), lesser.unwrap()),
    ];
    for end in ends {
        let mut connection = home();
        for (name, made_by) in [("eve", "mallory"), ("bert", "anna")] {
            let person = invited(name, Some(made_by));
            write(&mut connection, &PersonWrite::Invite(person)).unwrap();
        }
        let again = invited("anna", Some("mallory")).invitation.unwrap();
        let again = PersonWrite::Reinvite("anna".into(), again);
        write(&mut connection, &again).unwrap();
        let open = |connection: &Connection, name: &str| {
            let hash = Fingerprint::of(name.as_bytes());
            let person = Registry(connection).person_invited_by(&hash).unwrap();
            person.and_then(|person| person.invitation?.made_by)
        };
        let names = ["eve", "anna", "bert"];
        let before = names.map(|name| open(&connection, name));
        let [mallory, anna] = ["mallory", "anna"].map(|name| Some(name.to_owned()));
        assert_eq!(before, [mallory.clone(), mallory, anna.clone()]);
        write(&mut connection, &end).unwrap();
        let after = names.map(|name| open(&connection, name));
        assert_eq!(after, [None, None, anna], "{end:?}");
    }
}

#[test]
fn an_invitation_of_which_nobody_knows_who_made_it_ends_with_anybodys_access() {
    let mut connection = home();
    for (name, made_by) in [("eve", None), ("bert", Some(hearthkey_core::person::HERE))] {
        let person = invited(name, made_by);
        write(&mut connection, &PersonWrite::Invite(person)).unwrap();
    }
    let is_open = |connection: &Connection, name: &str| {
        let hash = Fingerprint::of(name.as_bytes());
        let person = Registry(connection).person_invited_by(&hash).unwrap();
        person.is_some()
    };
    assert!(is_open(&connection, "eve"));
    let end = PersonWrite::End("mallory".into(), Timestamp::from_s(1));
    write(&mut connection, &end).unwrap();
    assert!(!is_open(&connection, "eve"));
    assert!(is_open(&connection, "bert"), "nobody in particular made it");
}
