//! Devices that come, speak, and are sent away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hearthkey_core::access::DeviceAccess;
use hearthkey_core::device::DeviceState;
use hearthkey_core::time::Timestamp;

use crate::client::{Client, Hello};
use crate::home::{Home, NOW_S, until};

#[tokio::test]
async fn an_admitted_device_publishes_and_another_hears_it_without_learning_who_it_was() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    let mut listener = Client::device(&home, &hall, Hello::v5("hall")).await;
    assert_eq!(listener.subscribe("home/+/state", 1).await, 1);
    let mut lamp = Client::device(&home, &lamp, Hello::v5("lamp")).await;

    let property = b"\x26\0\x04room\0\x04hall";
    lamp.offer("home/lamp/state", b"on", 2, property).await;
    let message = listener.message().await;
    assert_eq!(
        (message.topic.as_str(), message.text().as_str()),
        ("home/lamp/state", "on")
    );
    assert_eq!(message.user, [("room".to_owned(), "hall".to_owned())]);
    assert_eq!(message.qos, 1);

    lamp.publish("home/lamp/state", b"kept", true).await;
    assert_eq!(listener.message().await.user, []);
    let mut late = Client::device(&home, &hall, Hello::v5("hall")).await;
    listener.ends().await;
    late.subscribe("home/lamp/state", 1).await;
    let kept = late.message().await;
    assert_eq!(
        (kept.text().as_str(), kept.retain, kept.user),
        ("kept", true, vec![])
    );
    home.hears(&["SessionOpened", "\"lamp\"", "Full"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_announced_although_rights_change_while_it_is_greeted() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    home.enroll("hall", 1);
    let (access, stop) = (Arc::clone(&home.access), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let changing = std::thread::spawn(move || {
        let hall = "hall".parse().unwrap();
        while !stopped.load(Ordering::Relaxed) {
            let mut access = access.write().unwrap();
            access.set_device_state(&hall, DeviceState::Active);
            drop(access);
            std::thread::yield_now();
        }
    });
    for _ in 0..rounds() {
        let client = Client::device(&home, &lamp, Hello::v5("lamp")).await;
        home.hears(&["SessionOpened", "\"lamp\"", "Full"]).await;
        drop(client);
    }
    stop.store(true, Ordering::Relaxed);
    changing.join().unwrap();
}

/// How often a race is run: a sample, or in full.
fn rounds() -> u32 {
    match std::env::var_os("HEARTHKEY_SOAK") {
        Some(_) => 5_000,
        None => 200,
    }
}

#[tokio::test]
async fn a_will_does_not_say_who_left_it_either() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    let mut listener = Client::device(&home, &hall, Hello::v5("hall")).await;
    listener.subscribe("home/#", 1).await;
    let will = Some(("home/lamp/alive", &b"no"[..]));
    let client = Client::device(
        &home,
        &lamp,
        Hello {
            will,
            ..Hello::v5("lamp")
        },
    )
    .await;
    drop(client);
    let message = listener.message().await;
    assert_eq!((message.text().as_str(), message.user), ("no", vec![]));
}

#[tokio::test]
async fn topics_of_others_and_of_the_gateway_are_refused() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let mut client = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    for topic in [
        "home/hall/state",
        "hearthkey/v1/trust/bundle",
        "hearthkey/v1/devices/lamp/notice",
        "hearthkey/v1/devices/hall/renew",
        "$SYS/broker/uptime",
    ] {
        assert_eq!(client.publish(topic, b"x", true).await[2], 0x87, "{topic}");
        home.hears(&["Refused", "Publish", topic]).await;
    }
    for filter in [
        "#",
        "$SYS/#",
        "hearthkey/v1/#",
        "$share/g/#",
        "hearthkey/v1/devices/+/notice",
    ] {
        assert_eq!(client.subscribe(filter, 0).await, 0x87, "{filter}");
    }
    assert_eq!(client.subscribe("$share/g/home/#", 1).await, 1);
    assert_eq!(client.subscribe("hearthkey/v1/trust/#", 1).await, 1);

    let mut old = Client::device(&home, &lamp, Hello::v311("lamp")).await;
    assert_eq!(
        old.publish("home/hall/state", b"x", false).await.len(),
        2,
        "no reason code in 3.1.1"
    );
    assert_eq!(old.subscribe("#", 0).await, 0x80);
}

#[tokio::test]
async fn dropping_a_device_closes_its_sessions_at_once_and_keeps_it_out() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 2), home.enroll("hall", 1));
    let mut one = Client::device(&home, &lamp, Hello::v5("lamp.a")).await;
    let mut two = Client::device(&home, &lamp, Hello::v311("lamp.b")).await;
    let mut other = Client::device(&home, &hall, Hello::v5("hall")).await;
    other.subscribe("home/#", 1).await;
    let device = "lamp".parse().unwrap();
    assert_eq!(home.broker.sessions_of(&device).len(), 2);

    home.access
        .write()
        .unwrap()
        .set_device_state(&device, DeviceState::Revoked);
    let dropped = home.broker.drop_device(&device);
    assert_eq!(dropped.sessions, 2);
    assert!(dropped.elapsed_us < 50_000, "{dropped:?}");
    one.ends().await;
    two.ends().await;
    home.hears(&["SessionClosed", "Dropped"]).await;

    let refused = Client::connect(&home, Some(&lamp), &Hello::v5("lamp.a"))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code, 0x87);
    assert!(refused.reason.contains("revoked"), "{refused:?}");
    home.broker
        .publish("hearthkey/v1/trust/x", "t".into(), false)
        .await
        .unwrap();
    assert_eq!(
        other
            .publish("home/hall/state", b"still here", false)
            .await
            .len(),
        2
    );
    until("both sessions to be gone", || {
        home.broker.session_count() == 1
    })
    .await;
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_gone_in_live_sessions_too() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    let mut hall = Client::device(&home, &hall, Hello::v5("hall")).await;
    let mut lamp = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    assert_eq!(lamp.subscribe("home/#", 1).await, 1);
    assert_eq!(lamp.subscribe("hearthkey/v1/trust/#", 1).await, 1);
    {
        let mut access = home.access.write().unwrap();
        let id = "lamp".parse().unwrap();
        let known = access.device(&id).unwrap();
        let trust_only = hearthkey_core::profile::Profile::parse(
            "name = \"t\"\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 0\nkeys = [\"p256\"]",
        )
        .unwrap();
        let (state, environment) = (known.state, known.environment.clone());
        let device = DeviceAccess::new(state, environment, &trust_only.into());
        access.set_device(id, device);
    }
    assert_eq!(home.broker.recheck().await.subscriptions, 1);
    assert_eq!(lamp.publish("home/lamp/state", b"x", false).await[2], 0x87);
    hall.publish("home/hall/state", b"not for lamp", false)
        .await;
    home.broker
        .publish("hearthkey/v1/trust/bundle", "PEM".into(), true)
        .await
        .unwrap();
    assert_eq!(lamp.message().await.text(), "PEM");
}

#[tokio::test]
async fn an_expired_certificate_renews_in_a_room_of_its_own_and_its_session_waits() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let mut client = Client::device(&home, &lamp, Hello::v5("lamp").lasting()).await;
    client.subscribe("home/#", 1).await;
    home.broker
        .publish("hearthkey/v1/devices/lamp/notice", "renew now".into(), true)
        .await
        .unwrap();

    *home.now.lock().unwrap() = Timestamp::from_s(NOW_S + 2 * 86_400);
    assert_eq!(home.broker.recheck().await.dropped.sessions, 1);
    client.ends().await;
    let hello = Hello::v5("lamp").lasting();
    let (mut client, present) = Client::connect(&home, Some(&lamp), &hello).await.unwrap();
    assert!(!present);
    home.hears(&["SessionOpened", "RenewalOnly"]).await;
    assert_eq!(client.subscribe("home/#", 1).await, 0x87);
    assert_eq!(
        client
            .subscribe("hearthkey/v1/devices/lamp/notice", 1)
            .await,
        1
    );
    assert_eq!(client.message().await.text(), "renew now");
    assert_eq!(
        client
            .subscribe("hearthkey/v1/devices/lamp/renew/+", 1)
            .await,
        1
    );
    client
        .offer("hearthkey/v1/devices/lamp/renew", b"csr", 2, &[])
        .await;
    assert_eq!(
        client.message().await.topic,
        "hearthkey/v1/devices/lamp/renew/accepted"
    );
    client.leave().await;

    let (renewed, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    home.valid_until(&renewed, NOW_S + 30 * 86_400);
    home.valid_until(&hall, NOW_S + 30 * 86_400);
    let mut hall = Client::device(&home, &hall, Hello::v5("hall")).await;
    hall.publish("home/hall/state", b"while away", false).await;
    let (mut client, present) = Client::connect(&home, Some(&renewed), &hello)
        .await
        .unwrap();
    assert!(present, "the session it left is still there");
    assert_eq!(client.message().await.text(), "while away");
}

#[tokio::test]
async fn a_forgotten_device_leaves_nothing_behind() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let mut client = Client::device(&home, &lamp, Hello::v5("lamp").lasting()).await;
    client.subscribe("home/#", 1).await;
    let device = "lamp".parse().unwrap();
    assert_eq!(home.broker.forget(&device).await.sessions, 1);
    client.ends().await;
    let (_, present) = Client::connect(&home, Some(&lamp), &Hello::v5("lamp").lasting())
        .await
        .unwrap();
    assert!(!present);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_survives_a_revocation_however_fast_its_device_comes_back() {
    let home = Arc::new(Home::new().await);
    for round in 0..10 {
        let name = format!("lamp-{round}");
        let lamp = home.enroll(&name, 8);
        let knocking: Vec<_> = (0..6)
            .map(|number| {
                let (home, lamp, id) =
                    (Arc::clone(&home), lamp.clone(), format!("{name}.{number}"));
                tokio::spawn(async move {
                    loop {
                        match Client::connect(&home, Some(&lamp), &Hello::v5(&id)).await {
                            Ok((mut client, _)) => client.ends().await,
                            Err(refused) if refused.code == 0x87 => return,
                            // Dropped between its registration and its CONNACK.
                            Err(refused) => assert_eq!(refused.code, 0, "{refused:?}"),
                        }
                    }
                })
            })
            .collect();
        until("some sessions", || {
            home.broker.session_count() > 1 + round % 4
        })
        .await;
        let device = name.parse().unwrap();
        home.access
            .write()
            .unwrap()
            .set_device_state(&device, DeviceState::Revoked);
        home.broker.drop_device(&device);
        for task in knocking {
            crate::home::within("every knock to be refused", task)
                .await
                .unwrap();
        }
        until("no session", || home.broker.sessions_of(&device).is_empty()).await;
    }
}

#[tokio::test]
async fn a_delayed_will_does_not_keep_the_socket_open() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let will = Some(("home/lamp/alive", &b"no"[..]));
    let hello = Hello {
        will,
        will_delay_s: 3_000,
        ..Hello::v5("lamp").lasting()
    };
    drop(Client::device(&home, &lamp, hello).await);
    until("the place to come back", || {
        home.broker.counters().connections == 0
    })
    .await;
    // A socket that the broker still held would count as one that it has not closed.
    let port = home.broker.local_addr().port();
    until("the socket to close", || open_sockets(port) == 0).await;
}

/// Accepted sockets on a local port that this process has not closed (in CLOSE_WAIT or alive).
fn open_sockets(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (here, state, inode) = (fields.nth(1)?, fields.nth(1)?, fields.nth(5)?);
            (here.ends_with(&local) && matches!(state, "01" | "08") && inode != "0").then_some(())
        })
        .count()
}

#[tokio::test]
async fn a_certificate_revoked_between_its_check_and_its_session_is_refused() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let (access, broker) = (Arc::clone(&home.access), home.broker.clone());
    let device: hearthkey_core::id::DeviceId = "lamp".parse().unwrap();
    // The clock is asked for the first check, for the session's start, and for the second check.
    let revoke = move || {
        access
            .write()
            .unwrap()
            .set_device_state(&device, DeviceState::Revoked);
        assert_eq!(
            broker.drop_device(&device).sessions,
            0,
            "there is no session to drop yet"
        );
    };
    *home.at_tick.lock().unwrap() = Some((2, Box::new(revoke)));
    let refused = Client::connect(&home, Some(&lamp), &Hello::v5("lamp"))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code, 0x87);
    assert!(home.at_tick.lock().unwrap().is_none());
    until("no session", || home.broker.session_count() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_any_more_is_dropped_all_the_same() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    let mut stuck = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    stuck.subscribe("home/#", 1).await;
    let mut hall = Client::device(&home, &hall, Hello::v5("hall")).await;
    let payload = vec![7; 256 * 1024];
    for _ in 0..40 {
        // Far more than the sockets between them hold: the handler is left in a write.
        assert_eq!(
            hall.publish("home/hall/image", &payload, false)
                .await
                .get(2),
            None
        );
    }
    let device = "lamp".parse().unwrap();
    home.access
        .write()
        .unwrap()
        .set_device_state(&device, DeviceState::Suspended);
    let dropped = home.broker.drop_device(&device);
    assert_eq!(dropped.sessions, 1);
    until("its session to end", || home.broker.session_count() == 1).await;
    until("its place to come back", || {
        home.broker.counters().connections == 1
    })
    .await;
    assert_eq!(hall.publish("home/hall/image", b"x", false).await.len(), 2);
    home.hears(&["SessionClosed", "Dropped"]).await;
}
