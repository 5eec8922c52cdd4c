//! What the engine of our own promises beyond the library.

use crate::client::{Client, Hello};
use crate::home::Home;

#[tokio::test]
async fn any_client_id_is_a_devices_own_and_an_empty_one_is_made_up() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 8), home.enroll("hall", 8));
    let mut first = Client::device(&home, &lamp, Hello::v5("hall").lasting()).await;
    first.subscribe("home/#", 1).await;
    // The same client id of another device is another session.
    let (_, present) = Client::connect(&home, Some(&hall), &Hello::v5("hall").lasting())
        .await
        .unwrap();
    assert!(!present);
    for id in ["Valetudo 7/ü", "lamp.a", ""] {
        Client::device(&home, &lamp, Hello::v5(id)).await;
    }
    let mut old = Client::device(&home, &lamp, Hello::v311("")).await;
    assert_eq!(old.publish("home/lamp/a", b"x", false).await.len(), 2);
    assert_eq!(first.message().await.text(), "x");
}
