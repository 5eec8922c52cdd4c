//! The contract that is committed is the one that the program has.

use crate::rig::hearthkey;

#[tokio::test]
async fn the_committed_contract_is_the_one_of_the_handlers() {
    let printed = hearthkey().arg("openapi").output().await.unwrap();
    let committed = include_bytes!("../openapi.json");
    assert!(
        printed.stdout == committed,
        "openapi.json is not fresh: run `make contract`"
    );
}
