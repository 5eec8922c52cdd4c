//! What the engine promises, tested by clients.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hearthkey_core::access::DeviceAccess;
use hearthkey_core::device::DeviceState;
use hearthkey_core::id::DeviceId;
use hearthkey_core::profile::Profile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, Hello, connect_packet, dial};
use crate::home::{Home, until, within};

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

/// A sample in `cargo test`, all of it in `make soak`.
fn rounds(sample: usize, all: usize) -> usize {
    match std::env::var_os("HEARTHKEY_SOAK") {
        Some(_) => all,
        None => sample,
    }
}

fn suspend(home: &Home, device: &DeviceId, state: DeviceState) {
    home.access.write().unwrap().set_device_state(device, state);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_device_is_taken_after_the_answer_to_its_suspension() {
    let home = Arc::new(Home::new().await);
    let hall = home.enroll("hall", 1);
    let mut listener = Client::device(&home, &hall, Hello::v5("hall")).await;
    assert_eq!(listener.subscribe("home/#", 1).await, 1);
    assert_eq!(listener.subscribe("hearthkey/v1/trust/#", 1).await, 1);
    let camera = home.enroll("camera", 8);
    let device: DeviceId = "camera".parse().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let knocking: Vec<_> = (0..4)
        .map(|number| {
            let (home, camera, over) = (Arc::clone(&home), camera.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let id = format!("camera.{number}");
                let topic = format!("home/camera/{number}");
                while !over.load(Ordering::Relaxed) {
                    let hello = Hello {
                        will: Some((&topic, b"my own will")),
                        will_delay_s: number % 2,
                        ..Hello::v5(&id).lasting()
                    };
                    let Ok((mut client, _)) = Client::connect(&home, Some(&camera), &hello).await
                    else {
                        continue;
                    };
                    for _ in 0..20 {
                        client.offer(&topic, b"x", 2 | number as u8 & 1, &[]).await;
                    }
                    while client
                        .read()
                        .await
                        .is_some_and(|(first, _)| first >> 4 == 4)
                    {}
                }
            })
        })
        .collect();
    for round in 0..rounds(40, 10_000) {
        until("the device to speak", || {
            home.broker.sessions_of(&device).len() > round % 4
        })
        .await;
        suspend(&home, &device, DeviceState::Suspended);
        home.broker.drop_device(&device);
        assert!(home.broker.sessions_of(&device).is_empty(), "round {round}");
        let mark = format!("hearthkey/v1/trust/mark-{round}");
        home.broker
            .publish(&mark, "mark".into(), false)
            .await
            .unwrap();
        let after = format!("hearthkey/v1/trust/after-{round}");
        // Time for messages that might still arrive.
        tokio::task::yield_now().await;
        assert!(home.broker.sessions_of(&device).is_empty(), "round {round}");
        home.broker
            .publish(&after, "after".into(), false)
            .await
            .unwrap();
        while listener.message().await.topic != mark {}
        let next = listener.message().await;
        assert_eq!(next.topic, after, "round {round}: {next:?}");
        suspend(&home, &device, DeviceState::Active);
    }
    over.store(true, Ordering::Relaxed);
    suspend(&home, &device, DeviceState::Revoked);
    home.broker.drop_device(&device);
    for task in knocking {
        within("every client to end", task).await.unwrap();
    }
}

#[tokio::test]
async fn a_device_that_takes_over_its_own_session_is_never_left_shown_as_gone() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    let mut listener = Client::device(&home, &hall, Hello::v311("hall")).await;
    listener.subscribe("home/lamp/alive", 1).await;
    let mut before = None;
    for round in 0..rounds(100, 2_000) {
        let will = Some(("home/lamp/alive", &b"gone"[..]));
        let hello = Hello {
            will,
            v5: round % 2 == 0,
            ..Hello::v5("lamp")
        };
        let mut client = Client::device(&home, &lamp, hello).await;
        client.publish("home/lamp/alive", b"here", true).await;
        if before.is_some() {
            assert_eq!(
                listener.message().await.text(),
                "gone",
                "the end of the one before"
            );
        }
        assert_eq!(listener.message().await.text(), "here");
        before = Some(client);
    }
    let kept = home.broker.retained("home/lamp/alive").await.unwrap();
    assert_eq!(kept, "here");
}

#[tokio::test]
async fn whoever_is_shut_out_is_said_to_be_gone_in_the_gateways_words() {
    let home = Home::new().await;
    let hall = home.enroll("hall", 1);
    let mut listener = Client::device(&home, &hall, Hello::v5("hall")).await;
    listener.subscribe("home/#", 1).await;
    for (name, state) in [
        ("lamp", DeviceState::Suspended),
        ("camera", DeviceState::Revoked),
        ("plug", DeviceState::Retired),
    ] {
        let identity = home.enroll(name, 1);
        let device: DeviceId = name.parse().unwrap();
        let profile = Profile::parse(
            "name = \"t\"\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 0\nkeys = [\"p256\"]\n\
             [[publish]]\ntopic = \"home/{device}/#\"\nreason = \"r\"\n\
             [availability]\ntopic = \"home/{device}/alive\"\noffline = \"gone\"\n",
        );
        let known = DeviceAccess::new(
            DeviceState::Active,
            "home".parse().unwrap(),
            &profile.unwrap().into(),
        );
        home.access
            .write()
            .unwrap()
            .set_device(device.clone(), known);
        let topic = format!("home/{name}/alive");
        let hello = Hello {
            will: Some((&topic, b"my own words")),
            ..Hello::v5(name).lasting()
        };
        let mut client = Client::device(&home, &identity, hello).await;
        client.publish(&topic, b"here", true).await;
        assert_eq!(listener.message().await.text(), "here");
        suspend(&home, &device, state);
        home.broker.drop_device(&device);
        if state.is_over() {
            home.broker.forget(&device).await;
        }
        client.ends().await;
        let message = listener.message().await;
        assert_eq!(
            (message.topic, message.payload),
            (topic.clone(), b"gone".to_vec())
        );
        until("it to be retained", || home.broker.is_retained(&topic)).await;
        assert_eq!(home.broker.retained(&topic).await.unwrap(), "gone");
    }
}

#[tokio::test]
async fn what_waits_for_a_session_is_not_delivered_when_the_right_to_hear_it_is_gone() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    let hello = Hello::v5("lamp").lasting();
    let mut client = Client::device(&home, &lamp, hello.clone()).await;
    client.subscribe("home/#", 1).await;
    client.leave().await;
    until("it to be away", || home.broker.session_count() == 0).await;
    let mut hall = Client::device(&home, &hall, Hello::v5("hall")).await;
    hall.publish("home/hall/secret", b"secret", false).await;
    hall.publish("home/lamp/x", b"its own", false).await;
    let id: DeviceId = "lamp".parse().unwrap();
    let fewer = Profile::parse(
        "name = \"t\"\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 0\nkeys = [\"p256\"]\n\
         [[subscribe]]\ntopic = \"home/+/x\"\nreason = \"r\"\n",
    );
    let known = DeviceAccess::new(
        DeviceState::Active,
        "home".parse().unwrap(),
        &fewer.unwrap().into(),
    );
    home.access.write().unwrap().set_device(id, known);
    let (mut client, present) = Client::connect(&home, Some(&lamp), &hello).await.unwrap();
    assert!(present);
    client.subscribe("home/lamp/x", 1).await;
    home.broker
        .publish("hearthkey/v1/devices/lamp/notice", "mark".into(), true)
        .await
        .unwrap();
    client
        .subscribe("hearthkey/v1/devices/lamp/notice", 1)
        .await;
    let mut texts = vec![client.message().await.text()];
    while texts.last().is_none_or(|text| text != "mark") {
        texts.push(client.message().await.text());
    }
    assert!(!texts.contains(&"secret".to_owned()), "{texts:?}");
}

#[tokio::test]
async fn a_whole_home_fits_a_thousand_filters_long_packets_and_thousands_of_retained_messages() {
    let home = Home::new().await;
    let (hub, hall) = (home.enroll("hub", 1), home.enroll("hall", 1));
    let mut bridge = Client::device(&home, &hall, Hello::v5("hall")).await;
    let long = vec![b'x'; 6 * 1024 * 1024];
    assert_eq!(
        bridge
            .publish("home/hall/devices", &long, true)
            .await
            .get(2),
        None
    );
    for number in 0..3_000 {
        bridge
            .offer(&format!("home/hall/{number}/config"), b"{}", 1, &[])
            .await;
    }
    let mut controller = Client::device(&home, &hub, Hello::v311("hub")).await;
    for number in 0..1_200 {
        let filter = format!("home/hall/{number}/state");
        assert_eq!(controller.subscribe(&filter, 0).await, 0, "{number}");
    }
    controller.subscribe("home/hall/devices", 0).await;
    assert_eq!(controller.message().await.payload.len(), long.len());
    controller.subscribe("home/hall/+/config", 1).await;
    let mut topics = BTreeSet::new();
    while topics.len() < 3_000 {
        topics.insert(controller.message().await.topic);
    }
}

#[tokio::test]
async fn every_end_has_its_reason_and_tls_says_goodbye() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    // A second CONNECT, a PUBLISH of QoS 3, a DISCONNECT.
    let hello = connect_packet(&Hello::v5("lamp"));
    for (bytes, told) in [
        (&hello[..], Some(0x82)),
        (b"\x36\x05\0\x01a\0\x01", Some(0x81)),
        (b"\xe0\0", None),
    ] {
        for v5 in [true, false] {
            let hello = Hello {
                v5,
                ..Hello::v5("lamp")
            };
            let mut tls = dial(&home, Some(&lamp)).await.unwrap();
            tls.write_all(&connect_packet(&hello)).await.unwrap();
            tls.write_all(bytes).await.unwrap();
            let mut all = Vec::new();
            let end = within("the end", tls.read_to_end(&mut all)).await;
            assert!(end.is_ok(), "no close_notify: {end:?}");
            let said = all.windows(3).rev().find(|said| said[0] == 0xe0);
            match told.filter(|_| v5) {
                Some(reason) => assert_eq!(said.map(|said| said[2]), Some(reason)),
                None => assert!(said.is_none(), "{all:?}"),
            }
        }
    }
    home.hears(&["Refused", "Protocol", "lamp"]).await;
}

#[tokio::test]
async fn a_device_with_one_session_comes_back_under_another_client_id_from_the_same_machine() {
    let home = Home::new().await;
    let hub = home.enroll("hub", 1);
    let mut before = Client::device(&home, &hub, Hello::v5("7b0c")).await;
    let mut after = Client::device(&home, &hub, Hello::v5("91fd")).await;
    before.ends().await;
    assert_eq!(after.publish("home/hub/x", b"x", false).await.len(), 2);
    until("one session", || home.broker.session_count() == 1).await;
}

#[tokio::test]
async fn two_clients_that_throw_each_other_out_are_told_of_with_what_they_are() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let mut thrown_out = Vec::new();
    for _ in 0..2 {
        thrown_out.push(Client::device(&home, &lamp, Hello::v5("lamp")).await);
    }
    let told = home.hears(&["MachinesMet", "lamp"]).await;
    for part in ["earlier: Machine", "ja4: Some(Ja4(t13d", "times: 1"] {
        assert!(told.contains(part), "{told}");
    }
}

#[tokio::test]
async fn a_session_goes_on_after_every_change_of_somebody_elses_rights() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let mut client = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    for round in 0..20 {
        home.enroll("another", 1);
        // Nothing is answered to this one: the next must be read all the same.
        let topic = format!("home/lamp/{round}");
        client.offer(&topic, b"1", 1, &[]).await;
        until("it to be retained", || home.broker.is_retained(&topic)).await;
        assert_eq!(client.publish(&topic, b"2", false).await.len(), 2);
    }
    home.enroll("another", 1);
    drop(client);
    until("its end to be noticed", || {
        home.broker.counters().connections == 0
    })
    .await;
}
