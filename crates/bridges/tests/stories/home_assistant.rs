//! Home Assistant, asked for tokens: a real one.

use std::time::Duration;

use hearthkey_bridges::{
    BridgeError, BridgeKind, Connector, Held, Progress, Revoked, Verified, connect_with,
};
use hearthkey_core::time::Span;
use serde_json::json;

use crate::house::House;
use crate::values::{BRIEF, held, order, says_no_secret, secret};

fn bridge_to(house: &House, token: Option<&str>) -> Box<dyn Connector> {
    let settings = json!({"url": format!("http://127.0.0.1:{}", house.port)}).to_string();
    let patience = hearthkey_bridges::Patience {
        exchange: Duration::from_secs(20),
        ..BRIEF
    };
    connect_with(
        BridgeKind::HomeAssistant,
        &settings,
        token.map(secret),
        patience,
    )
    .unwrap()
}

async fn status(house: &House, token: &Held) -> u16 {
    house.status(token.value.expose_text().unwrap()).await
}

#[tokio::test]
async fn a_real_home_assistant_makes_tries_lists_and_ends_tokens() {
    let Some(house) = House::start().await else {
        return;
    };
    let browser = house.move_in().await;
    let authority = house.long_lived(&browser, "hearthkey", 365).await;
    let authority = authority.as_str();
    let bridge = bridge_to(&house, Some(authority));
    let ignored = Progress::ignored();

    let first = bridge
        .mint(&order("attic ha/token v1"), &ignored)
        .await
        .unwrap();
    assert_eq!(first.lifetime, Some(Span::days(3650)));
    let first = held(
        first.value.expose_text().unwrap(),
        first.remote_id.as_deref(),
    );
    assert_eq!(bridge.verify(&first).await, Ok(Verified::Works));

    // A lease: a child beside it, with a life of its own.
    let mut lease = order("attic ha/token lease 1");
    lease.lifetime = Some(Span::hours(30));
    let child = bridge.mint(&lease, &ignored).await.unwrap();
    assert_eq!(child.lifetime, Some(Span::days(2)));
    let child = held(
        child.value.expose_text().unwrap(),
        child.remote_id.as_deref(),
    );
    assert_eq!(status(&house, &child).await, 200);
    assert_eq!(bridge.revoke(&child).await, Ok(Revoked::Gone));
    assert_eq!(status(&house, &child).await, 401);

    // An answer that was lost: the same label again.
    let again = bridge
        .mint(&order("attic ha/token v1"), &ignored)
        .await
        .unwrap();
    assert_eq!(status(&house, &first).await, 401);
    let again = held(
        again.value.expose_text().unwrap(),
        again.remote_id.as_deref(),
    );
    assert_ne!(first.remote_id, again.remote_id);

    // Its user administers the house: a finding.
    let scopes = bridge.scopes(&again).await.unwrap();
    assert!(
        scopes
            .privileged
            .is_some_and(|why| why.contains("administrator"))
    );
    assert!(scopes.rights[0].contains("Ada"), "{:?}", scopes.rights);

    // Without an id it is asked of the token itself.
    let nameless = held(again.value.expose_text().unwrap(), None);
    assert_eq!(bridge.revoke(&nameless).await, Ok(Revoked::Gone));
    assert_eq!(status(&house, &again).await, 401);
    assert_eq!(
        bridge.revoke(&again).await,
        Ok(Revoked::Gone),
        "what is gone is gone"
    );
    assert!(matches!(
        bridge.verify(&again).await,
        Ok(Verified::Fails(_))
    ));

    a_user_who_is_no_administrator(&house, authority).await;
    a_token_rotates_itself(&house, authority).await;
}

/// A second user, without an authority that could end what is theirs.
async fn a_user_who_is_no_administrator(house: &House, authority: &str) {
    let browser = house.let_in(authority, "kitchen").await;
    let token = held(&house.long_lived(&browser, "panel", 1).await, None);

    let bridge = bridge_to(house, Some(authority));
    let scopes = bridge.scopes(&token).await.unwrap();
    assert_eq!(scopes.privileged, None);
    let error = bridge.revoke(&token).await.unwrap_err();
    assert!(matches!(error, BridgeError::CannotDo { .. }), "{error}");
    says_no_secret(&error, &[authority, token.value.expose_text().unwrap()]);
    // With nothing but itself it can be ended all the same.
    assert_eq!(
        bridge_to(house, None).revoke(&token).await,
        Ok(Revoked::Gone)
    );
    assert_eq!(status(house, &token).await, 401);
}

/// Without an authority, a token makes its own successor and ends itself.
async fn a_token_rotates_itself(house: &House, token: &str) {
    let bridge = bridge_to(house, None);
    let error = bridge
        .mint(&order("v1"), &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::NoAuthority { .. }), "{error}");
    let old = held(token, None);
    let mut next = order("v2");
    next.replaces = Some(old.clone());
    let new = bridge.mint(&next, &Progress::ignored()).await.unwrap();
    assert_eq!(bridge.revoke(&old).await, Ok(Revoked::Gone));
    assert_eq!(status(house, &old).await, 401);
    assert_eq!(
        status(house, &held(new.value.expose_text().unwrap(), None)).await,
        200
    );
    let error = bridge_to(house, Some(token))
        .mint(&order("v3"), &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::NoAuthority { .. }), "{error}");
    says_no_secret(&error, &[token]);
}
