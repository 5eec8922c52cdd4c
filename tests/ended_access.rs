//! What ends with somebody's access: the tokens that they made for themselves, and what they have borrowed.

use serde_json::json;

use crate::here::invited_by;
use crate::people::{Browser, setup_link};
use crate::rig::until;
use crate::service::home;
use crate::vault::{added, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_a_role_ends_with_its_makers_access_and_with_the_part_of_it_that_made_it() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let mut dora = Browser::new(&front);
    dora.join(&invited_by(&anna, "dora", "owner", &[]).await, "dora")
        .await;
    let key = front.key("mine").await;
    let public = std::fs::read_to_string(front.bench.dir.join("mine.pub")).unwrap();
    for (name, role, environments) in [("all", "operator", &[][..]), ("part", "auditor", &["lab"])]
    {
        let asked = json!({"name": name, "role": role, "environments": environments,
            "ttl": "1h", "ceiling": "7d", "public_key": public});
        let made = dora.post("/api/v1/tokens", &asked).await;
        assert_eq!(made.status, 200, "{made:?}");
        assert_eq!(made.json()["details"]["made_by"], "person:dora");
    }
    let granted = json!({"name": "ci", "environments": ["lab"], "allow": ["*:list"],
        "ttl": "1h", "ceiling": "7d", "public_key": public});
    assert_eq!(dora.post("/api/v1/tokens", &granted).await.status, 200);
    let state = async |name: &str| told(&rig, &["token", "show", name]).await["state"].clone();
    let change = json!({"role": "developer", "environments": ["lab"]});
    let changed = anna.post("/api/v1/people/dora/change", &change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(
        (state("all").await, state("part").await),
        (json!("revoked"), json!("live"))
    );
    assert_eq!(
        anna.post("/api/v1/people/dora/end", &json!({}))
            .await
            .status,
        200
    );
    assert_eq!(state("part").await, "revoked");
    // What serves a pipeline goes on, and somebody has to look at it.
    assert_eq!(state("ci").await, "live");
    let found = told(&rig, &["check"]).await;
    let orphaned = found
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["kind"] == "orphaned");
    assert!(
        orphaned.unwrap()["what"]
            .as_str()
            .unwrap()
            .contains("1 token: ci"),
        "{found}"
    );
    drop(key);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_borrowed_ends_with_their_access() {
    let (rig, front) = home().await;
    added(&rig, "std/key", "lab", b"standard-value", &[]).await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let mut bert = Browser::new(&front);
    bert.join(
        &invited_by(&anna, "bert", "developer", &["lab"]).await,
        "bert",
    )
    .await;
    let path = "/api/v1/environments/lab/credentials/std/key/lease";
    let lent = bert.post(path, &json!({})).await;
    assert_eq!(lent.status, 200, "{lent:?}");
    told(&rig, &["person", "end", "bert"]).await;
    until("the lease has ended", async || {
        let leases = told(&rig, &["credential", "leases"]).await;
        leases.as_array().unwrap().is_empty().then_some(())
    })
    .await;
}
