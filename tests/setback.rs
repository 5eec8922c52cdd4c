//! Setbacks of a rotation: the gateway is killed, the new value does not work, or the old one, or neither.

use crate::rig::until;
use crate::rotation::{at_step, current, rotate, states};
use crate::system::{ALL, System};
use crate::vault::{added, home, records, refused, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_killed_between_any_two_steps_leaves_a_working_value_and_goes_on() {
    let mut rig = home().await;
    let system = System::connected(&rig, "value-0", &ALL).await;
    added(&rig, "sys/token", "home", b"value-0", &["--used-by", "app"]).await;
    // Within minting, the new value is tried; then it is tried as a step of its own, and once more before the old one ends.
    for point in [
        "mint-before",
        "mint-after",
        "verify-before",
        "verify-after",
        "switch",
        "revoke-before",
        "revoke-after",
    ] {
        let in_revoking = point.starts_with("revoke");
        if !in_revoking && point != "switch" {
            system.hold(point);
        }
        told(&rig, &["credential", "rotate", "sys/token"]).await;
        if point == "switch" || in_revoking {
            at_step(&rig, "sys/token", "switch").await;
        }
        if in_revoking {
            system.hold(point);
            told(
                &rig,
                &["credential", "confirm", "sys/token", "--dependent", "app"],
            )
            .await;
        }
        if point != "switch" {
            system.is_at(point).await;
        }
        rig.kill9().await;
        if point != "switch" {
            system.kill();
            system.release(point);
        }
        rig.start().await;
        let (_, value) = current(&rig, "sys/token").await;
        assert!(
            system.live().contains(&value),
            "{point}: the value that is given out works"
        );
        if !in_revoking {
            at_step(&rig, "sys/token", "switch").await;
            let both = current(&rig, "sys/token").await.1;
            assert!(system.live().contains(&both), "{point}");
            assert_eq!(
                states(&rig, "sys/token").await[..2],
                ["current", "previous"],
                "{point}"
            );
            told(
                &rig,
                &["credential", "confirm", "sys/token", "--dependent", "app"],
            )
            .await;
        }
        at_step(&rig, "sys/token", "done").await;
        let (_, value) = current(&rig, "sys/token").await;
        assert_eq!(
            system.live(),
            [value],
            "{point}: one value works, and no other is left over"
        );
    }
    rig.verified_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_killed_between_its_second_trial_and_the_end_of_the_old_value_goes_on() {
    let mut rig = home().await;
    let system = System::connected(&rig, "value-0", &ALL).await;
    added(&rig, "sys/token", "home", b"value-0", &["--used-by", "app"]).await;
    told(&rig, &["credential", "rotate", "sys/token"]).await;
    at_step(&rig, "sys/token", "switch").await;
    system.hold("verify-after");
    told(
        &rig,
        &["credential", "confirm", "sys/token", "--dependent", "app"],
    )
    .await;
    system.is_at("verify-after").await;
    rig.kill9().await;
    system.kill();
    assert_eq!(system.live().len(), 2, "nothing was ended yet");
    system.release("verify-after");
    rig.start().await;
    at_step(&rig, "sys/token", "done").await;
    assert_eq!(system.live(), [current(&rig, "sys/token").await.1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_value_that_does_not_work_is_taken_back_by_itself() {
    let rig = home().await;
    let system = System::connected(&rig, "good-value", &ALL).await;
    added(&rig, "sys/token", "home", b"good-value", &[]).await;
    rotate(&rig, "sys/token", b"bad-value", &[]).await;
    let undone = at_step(&rig, "sys/token", "undone").await;
    assert!(
        undone["notes"].to_string().contains("it is not known here"),
        "{undone}"
    );
    assert_eq!(current(&rig, "sys/token").await, (1, "good-value".into()));
    assert_eq!(states(&rig, "sys/token").await, ["failed", "current"]);

    // One that stops working while everything switches is taken back too.
    system.takes(&["good-value", "new-value"]);
    rotate(&rig, "sys/token", b"new-value", &["--overlap", "2s"]).await;
    at_step(&rig, "sys/token", "switch").await;
    system.takes(&["good-value"]);
    let undone = at_step(&rig, "sys/token", "undone").await;
    assert!(
        undone["notes"].to_string().contains("stopped working"),
        "{undone}"
    );
    assert_eq!(current(&rig, "sys/token").await, (1, "good-value".into()));
    assert_eq!(system.live(), ["good-value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_neither_value_works_nothing_is_ended_and_a_person_is_asked() {
    let rig = home().await;
    let system = System::connected(&rig, "old-value", &ALL).await;
    added(&rig, "sys/token", "home", b"old-value", &[]).await;
    system.takes(&["old-value", "new-value"]);
    rotate(&rig, "sys/token", b"new-value", &["--overlap", "2s"]).await;
    at_step(&rig, "sys/token", "switch").await;
    system.takes(&[]);
    let held = until("the rotation is held", async || {
        let shown = told(&rig, &["credential", "show", "sys/token"]).await;
        let newest = shown["rotations"][0].clone();
        (newest["held"] == true).then_some(newest)
    })
    .await;
    assert!(
        held["notes"].to_string().contains("neither value works"),
        "{held}"
    );
    assert_eq!(states(&rig, "sys/token").await, ["current", "previous"]);
    let findings = crate::posture::of_inventory(&rig).await;
    let finding = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["kind"] == "rotation-held")
        .unwrap();
    assert!(
        finding["remedy"]
            .as_str()
            .unwrap()
            .contains("credential rotate sys/token"),
        "{finding}"
    );
    system.takes(&["old-value", "new-value"]);
    told(&rig, &["credential", "rotate", "sys/token"]).await;
    at_step(&rig, "sys/token", "done").await;
    assert_eq!(system.live(), ["new-value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_resume_a_rotation_at_once_one_does() {
    let rig = home().await;
    let system = System::connected(&rig, "old-value", &ALL).await;
    added(&rig, "sys/token", "home", b"old-value", &[]).await;
    system.takes(&[]);
    rotate(&rig, "sys/token", b"new-value", &[]).await;
    until("the rotation is held", async || {
        let shown = told(&rig, &["credential", "show", "sys/token"]).await;
        (shown["rotations"][0]["held"] == true).then_some(())
    })
    .await;
    // The step that is taken again does not end before all have asked.
    system.takes(&["old-value"]);
    system.hold("verify-before");
    let ask = |client: hearthkey_api::Client| async move {
        let path = "/api/v1/environments/home/credentials/sys/token/rotate";
        let request = serde_json::json!({});
        let asked = client.post::<serde_json::Value>(path, &request);
        asked.await.is_ok()
    };
    let asking: Vec<_> = (0..8).map(|_| tokio::spawn(ask(rig.client()))).collect();
    let mut resumed = 0;
    for asked in asking {
        resumed += usize::from(asked.await.unwrap());
    }
    assert_eq!(resumed, 1);
    system.release("verify-before");
    at_step(&rig, "sys/token", "undone").await;
    assert_eq!(system.live(), ["old-value"]);
    let log = rig.verified_log().await;
    assert_eq!(records(&log, "rotation.resume").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_held_gives_way_to_another_value() {
    let rig = home().await;
    let system = System::connected(&rig, "old-value", &ALL).await;
    added(&rig, "sys/token", "home", b"old-value", &[]).await;
    system.takes(&[]);
    rotate(&rig, "sys/token", b"new-value", &[]).await;
    until("the rotation is held", async || {
        let shown = told(&rig, &["credential", "show", "sys/token"]).await;
        (shown["rotations"][0]["held"] == true).then_some(())
    })
    .await;
    assert_eq!(states(&rig, "sys/token").await, ["pending", "current"]);
    system.takes(&["third-value"]);
    rotate(&rig, "sys/token", b"third-value", &["--overlap", "0s"]).await;
    at_step(&rig, "sys/token", "done").await;
    assert_eq!(
        states(&rig, "sys/token").await,
        ["current", "failed", "retired"]
    );
    assert_eq!(current(&rig, "sys/token").await.1, "third-value");
    let log = rig.verified_log().await;
    assert_eq!(records(&log, "rotation.give_up").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_goes_back_to_a_value_that_does_not_work_any_more() {
    let rig = home().await;
    let system = System::connected(&rig, "old-value", &ALL).await;
    added(&rig, "sys/token", "home", b"old-value", &[]).await;
    told(&rig, &["credential", "rotate", "sys/token"]).await;
    at_step(&rig, "sys/token", "switch").await;
    let (_, new) = current(&rig, "sys/token").await;
    system.takes(&[&new]);
    told(&rig, &["credential", "rollback", "sys/token"]).await;
    let stays = until("the roll-back is refused", async || {
        let shown = told(&rig, &["credential", "show", "sys/token"]).await;
        let newest = shown["rotations"][0].clone();
        newest["notes"]
            .to_string()
            .contains("not undone")
            .then_some(newest)
    })
    .await;
    assert_eq!(stays["step"], "switch", "{stays}");
    assert_eq!(current(&rig, "sys/token").await.1, new);
    assert_eq!(system.live(), [new]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_nobody_could_try_ends_nothing_at_its_bridge() {
    let rig = home().await;
    let system = System::connected(&rig, "old-value", &["mint", "revoke", "two-live"]).await;
    added(&rig, "sys/token", "home", b"old-value", &[]).await;
    // What the bridge has made itself is good enough to end the old one.
    let now = ["--overlap", "0s"];
    told(
        &rig,
        &[&["credential", "rotate", "sys/token"][..], &now].concat(),
    )
    .await;
    at_step(&rig, "sys/token", "done").await;
    let (_, minted) = current(&rig, "sys/token").await;
    assert_eq!(system.live(), [&*minted]);
    let back = refused(&rig, &["credential", "rollback", "sys/token"]).await;
    assert!(
        back["detail"]
            .as_str()
            .unwrap()
            .contains("ended at its bridge"),
        "{back}"
    );
    // A mistyped one is not.
    rotate(&rig, "sys/token", b"mistyped", &now).await;
    at_step(&rig, "sys/token", "done").await;
    assert_eq!(system.live(), [minted], "the value that works is not ended");
    let findings = crate::posture::of_inventory(&rig).await;
    assert_eq!(findings[0]["kind"], "leftover", "{findings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_ends_a_value_by_making_the_next_is_not_rolled_back() {
    let rig = home().await;
    let _system = System::connected(&rig, "old-value", &["mint", "revoke"]).await;
    added(&rig, "sys/token", "home", b"old-value", &[]).await;
    told(&rig, &["credential", "rotate", "sys/token"]).await;
    at_step(&rig, "sys/token", "switch").await;
    let back = refused(&rig, &["credential", "rollback", "sys/token"]).await;
    assert!(
        back["detail"]
            .as_str()
            .unwrap()
            .contains("when it created the new one"),
        "{back}"
    );
    // The end of the switch can be brought forward.
    told(
        &rig,
        &["credential", "rotate", "sys/token", "--overlap", "0s"],
    )
    .await;
    at_step(&rig, "sys/token", "done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retirement_that_was_cut_short_is_taken_up_again_and_gives_nothing_out_meanwhile() {
    let mut rig = home().await;
    let system = System::connected(&rig, "old-value", &ALL).await;
    added(&rig, "sys/token", "home", b"old-value", &[]).await;
    system.hold("revoke-before");
    let client = rig.client();
    let retiring = tokio::spawn(async move {
        let path = "/api/v1/environments/home/credentials/sys/token/retire";
        let request = hearthkey_api::RetireRequest::default();
        client.post::<hearthkey_api::Retired>(path, &request).await
    });
    system.is_at("revoke-before").await;
    rig.kill9().await;
    system.kill();
    system.release("revoke-before");
    assert!(retiring.await.unwrap().is_err());
    rig.start().await;
    assert_eq!(system.live(), ["old-value"], "the bridge was not told");
    let why = refused(
        &rig,
        &["credential", "reveal", "sys/token", "--env", "home"],
    )
    .await;
    assert!(
        why["detail"].as_str().unwrap().contains("is retired"),
        "{why}"
    );
    let findings = crate::posture::of_inventory(&rig).await;
    let remedy = findings[0]["remedy"].as_str().unwrap();
    assert!(remedy.contains("credential retire sys/token"), "{findings}");
    let again = told(&rig, &["credential", "retire", "sys/token"]).await;
    assert_eq!(again[0]["revoked_at_bridge"], 1, "{again}");
    assert!(system.live().is_empty());
    assert_eq!(
        crate::posture::of_inventory(&rig).await,
        serde_json::json!([])
    );
    refused(&rig, &["credential", "retire", "sys/token"]).await;
    // The name may be used again, and means its new value.
    system.takes(&["new-value"]);
    added(&rig, "sys/token", "home", b"new-value", &[]).await;
    assert_eq!(current(&rig, "sys/token").await.1, "new-value");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_took_back_is_not_begun_again_by_itself() {
    let rig = home().await;
    let system = System::connected(&rig, "old-value", &ALL).await;
    let by_itself = ["--rotate-after-uses", "1", "--rotate-automatically"];
    added(&rig, "sys/token", "home", b"old-value", &by_itself).await;
    current(&rig, "sys/token").await;
    at_step(&rig, "sys/token", "switch").await;
    told(&rig, &["credential", "rollback", "sys/token"]).await;
    at_step(&rig, "sys/token", "undone").await;
    assert_eq!(current(&rig, "sys/token").await.1, "old-value");
    // Once this one is found, the task that looks for due rotations has run again.
    system.takes(&["old-value", "other-value"]);
    added(&rig, "sys/other", "home", b"other-value", &by_itself).await;
    current(&rig, "sys/other").await;
    at_step(&rig, "sys/other", "switch").await;
    let shown = told(&rig, &["credential", "show", "sys/token"]).await;
    assert_eq!(shown["rotations"].as_array().unwrap().len(), 1, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_whose_answer_was_lost_is_named_when_its_rotation_is_undone() {
    let rig = home().await;
    let system = System::connected(&rig, "old-value", &ALL).await;
    added(&rig, "sys/token", "home", b"old-value", &[]).await;
    system.hold("mint-after");
    told(&rig, &["credential", "rotate", "sys/token"]).await;
    system.is_at("mint-after").await;
    assert_eq!(system.live().len(), 2, "it is made");
    system.hold("mint-before");
    system.kill();
    // It is asked for once more, and taken back before there is an answer.
    system.is_at("mint-before").await;
    told(&rig, &["credential", "rollback", "sys/token"]).await;
    system.kill();
    let undone = at_step(&rig, "sys/token", "undone").await;
    assert!(
        undone["notes"].to_string().contains("sys/token v2"),
        "{undone}"
    );
    let findings = crate::posture::of_inventory(&rig).await;
    let left = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["kind"] == "leftover");
    assert!(
        left.unwrap()["remedy"]
            .as_str()
            .unwrap()
            .contains("sys/token v2"),
        "{findings}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_has_expired_is_cured_by_a_new_value() {
    let rig = home().await;
    let ended = ["--expires", "2020-01-01T00:00:00Z"];
    let told = added(&rig, "cloud/token", "home", b"old-value", &ended).await;
    assert!(
        told["warnings"].to_string().contains("is not given out"),
        "{told}"
    );
    let why = refused(&rig, &["credential", "reveal", "cloud/token"]).await;
    assert!(
        why["detail"].as_str().unwrap().contains("has expired"),
        "{why}"
    );
    rotate(&rig, "cloud/token", b"new-value", &["--overlap", "0s"]).await;
    at_step(&rig, "cloud/token", "done").await;
    assert_eq!(current(&rig, "cloud/token").await.1, "new-value");
}
