//! Who there is, in which role.

use std::collections::BTreeSet;

use hearthkey_api as api;
use hearthkey_core::role::{Act, Mandate, Role};
use hearthkey_store::anchor::Incident;

use crate::auth::caller::Caller;
use crate::auth::tests::{Someone, code_of, member, owner, request};
use crate::process::testing::{HERE, TestHome};
use crate::state::failure::Failure;

async fn change(
    home: &TestHome,
    by: &Someone,
    name: &str,
    role: &str,
) -> Result<api::PersonChanged, Failure> {
    let change = api::PersonChange {
        role: role.into(),
        environments: Vec::new(),
        second_factor: None,
    };
    home.people.change_person(&by.caller(), name, change).await
}

async fn invite(home: &TestHome, by: &Someone, asked: api::PersonRequest) -> String {
    code_of(home.people.invite(&by.caller(), asked).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_neither_leaves_nor_takes_another_role() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    assert_eq!(
        code_of(home.people.end_person(&anna.caller(), "anna").await),
        "refused"
    );
    assert_eq!(
        code_of(change(&home, &anna, "anna", "operator").await),
        "refused"
    );
    assert!(home.auth.still_here(&anna.visit).is_ok());
    assert!(home.records("person.end").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_has_not_joined_is_no_other_owner() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let asked = request("olga", "owner", &[]);
    home.people.invite(&anna.caller(), asked).await.unwrap();
    assert_eq!(
        code_of(home.people.end_person(&anna.caller(), "anna").await),
        "refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_leaves_where_another_one_stays_and_that_one_is_the_last() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let olga = member(&home, &anna, "olga", ("owner", &[])).await;
    let ended = home
        .people
        .end_person(&anna.caller(), "anna")
        .await
        .unwrap();
    assert!(ended.durable);
    assert_eq!(home.records("person.end")[0].object, "person:anna");
    assert_eq!(
        code_of(home.people.end_person(&olga.caller(), "olga").await),
        "refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_end_is_not_saved_yet_is_no_other_owner() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    member(&home, &anna, "olga", ("owner", &[])).await;
    home.ctx.store().make_read_only(Incident::AnchorAltered);
    let ended = home.people.end_person(&HERE, "anna").await.unwrap();
    assert!(!ended.durable);
    assert_eq!(
        code_of(home.people.end_person(&HERE, "olga").await),
        "refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_of_one_person() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    assert_eq!(
        invite(&home, &anna, request("anna", "auditor", &[])).await,
        "refused"
    );
    assert_eq!(
        invite(&home, &anna, request("Anna", "auditor", &[])).await,
        "invalid"
    );
    assert_eq!(home.people.people_list().unwrap().people.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_one_that_exists_in_environments_that_exist_and_where_it_may_be() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    for (role, environments, refused) in [
        ("king", &[][..], "invalid"),
        ("operator", &["attic"], "not_found"),
        ("developer", &["home"], "refused"),
        ("developer", &[], "refused"),
        ("owner", &["lab"], "refused"),
    ] {
        let asked = request("ben", role, environments);
        assert_eq!(
            invite(&home, &anna, asked).await,
            refused,
            "{role} {environments:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shares_the_socket_makes_changes_and_ends_no_owner() {
    let home = TestHome::new().await;
    let group = Caller::Local {
        uid: 54_321,
        pid: None,
    };
    assert_eq!(code_of(home.people.new_setup_link(&group)), "forbidden");
    owner(&home).await;
    let asked = request("olga", "owner", &[]);
    assert_eq!(
        code_of(home.people.invite(&group, asked).await),
        "forbidden"
    );
    assert_eq!(
        code_of(home.people.end_person(&group, "anna").await),
        "forbidden"
    );
    assert_eq!(
        code_of(home.people.invite_again(&group, "anna").await),
        "forbidden"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shares_the_socket_makes_no_other_way_in_for_who_may_see_secrets() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    member(&home, &anna, "dora", ("developer", &["lab"])).await;
    let group = Caller::Local {
        uid: 54_321,
        pid: None,
    };
    let refused = home.people.invite_again(&group, "dora").await;
    assert_eq!(code_of(refused), "second_factor_needed");
    assert!(home.people.invite_again(&HERE, "dora").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_fewer_rights_ends_nobody() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    let carl = member(&home, &anna, "carl", ("auditor", &[])).await;
    assert_eq!(
        code_of(home.people.end_person(&ben.caller(), "carl").await),
        "forbidden"
    );
    assert!(home.auth.still_here(&carl.visit).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_taken_is_so_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    assert!(
        change(&home, &anna, "ben", "auditor")
            .await
            .unwrap()
            .durable
    );
    let home = home.reopened().await;
    let store = home.ctx.store();
    let ben = store.read(|registry| registry.person(&ben.visit.person.id));
    assert!(
        ben.unwrap()
            .unwrap()
            .mandate
            .scope(Act::DeviceChange)
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_gives_more_holds_in_the_session_that_is_there() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("auditor", &[])).await;
    change(&home, &anna, "ben", "operator").await.unwrap();
    assert!(home.auth.still_here(&ben.visit).is_ok());
    let changed = home.records("person.change");
    assert_eq!(changed[0].details["role"], "operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_machine_a_code_is_needed_to_give_a_role_and_none_to_take_it() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    member(&home, &anna, "dora", ("developer", &["lab"])).await;
    let to = |role: &str| api::PersonChange {
        role: role.into(),
        environments: vec!["lab".into()],
        second_factor: None,
    };
    let taken = home
        .people
        .change_person(&HERE, "dora", to("auditor"))
        .await;
    assert!(taken.is_ok());
    let given = home
        .people
        .change_person(&HERE, "dora", to("developer"))
        .await;
    assert_eq!(code_of(given), "second_factor_needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_role_takes_is_taken_while_the_disk_is_waited_for() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let dora = member(&home, &anna, "dora", ("developer", &["lab"])).await;
    let auditor = Mandate::new(Role::Auditor, BTreeSet::new()).unwrap();
    let held = home.auth.hold_role(&dora.visit.person, &auditor);
    assert!(home.auth.still_here(&dora.visit).is_err());
    // What is decided meanwhile stays.
    assert!(
        change(&home, &anna, "dora", "auditor")
            .await
            .unwrap()
            .durable
    );
    drop(held);
    assert!(home.auth.still_here(&dora.visit).is_err());
    let olga = member(&home, &anna, "olga", ("owner", &[])).await;
    drop(home.auth.hold_role(&olga.visit.person, &auditor));
    assert!(home.auth.still_here(&olga.visit).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_changed_whom_nobody_knows() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    assert_eq!(
        code_of(change(&home, &anna, "nobody", "auditor").await),
        "not_found"
    );
    assert_eq!(
        code_of(home.people.end_person(&HERE, "nobody").await),
        "not_found"
    );
}
