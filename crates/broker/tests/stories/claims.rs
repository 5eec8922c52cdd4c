//! Connections without a certificate.

use crate::client::{Client, Hello, share};
use crate::home::{CLAIM, Home};

const ENROLL: &str = "hearthkey/v1/claims/c-0000000000000001/enroll";

#[tokio::test]
async fn a_guest_is_let_in_only_while_expected_and_only_with_the_right_secret() {
    let home = Home::new().await;
    let hello = Hello::claim(CLAIM, b"right");
    let refused = Client::connect(&home, None, &hello).await.err().unwrap();
    assert_eq!(refused.code, 0x87, "no bell");
    home.open_claim();
    let wrong = [
        (Hello::claim(CLAIM, b"wrong"), 0x86),
        (Hello::claim(CLAIM, b"sealed"), 0x88),
        (
            Hello {
                client_id: "other",
                ..hello.clone()
            },
            0x85,
        ),
        (
            Hello {
                username: None,
                password: None,
                ..hello.clone()
            },
            0x86,
        ),
        (
            Hello {
                will: Some((ENROLL, b"x")),
                ..hello.clone()
            },
            0x87,
        ),
    ];
    for (hello, code) in wrong {
        assert_eq!(
            Client::connect(&home, None, &hello)
                .await
                .err()
                .unwrap()
                .code,
            code
        );
        let old = Hello { v5: false, ..hello };
        let expected = match code {
            0x85 => 2,
            0x86 => 4,
            0x87 => 5,
            _ => 3,
        };
        assert_eq!(
            Client::connect(&home, None, &old).await.err().unwrap().code,
            expected
        );
    }
    let telemetry = format!("{CLAIM}?SDK=Python&Version=1.0");
    let hello = Hello {
        username: Some(&telemetry),
        ..hello
    };
    assert!(Client::connect(&home, None, &hello).await.is_ok());
}

#[tokio::test]
async fn fifty_connections_of_one_claim_each_get_their_own_answer() {
    let home = share(Home::new().await);
    home.open_claim();
    let guests: Vec<_> = (0..50)
        .map(|number| {
            let home = home.clone();
            tokio::spawn(async move {
                let v5 = number % 2 == 0;
                let hello = Hello {
                    v5,
                    ..Hello::claim(CLAIM, b"right")
                };
                let (mut guest, _) = Client::connect(&home, None, &hello).await.unwrap();
                assert_eq!(guest.subscribe(&format!("{ENROLL}/+"), 1).await, 1);
                let csr = format!("csr {number}");
                guest.offer(ENROLL, csr.as_bytes(), 2, &[]).await;
                let answer = guest.message().await;
                assert_eq!(answer.topic, format!("{ENROLL}/accepted"));
                assert!(
                    answer.text().starts_with(&format!("for {csr} on ")),
                    "{answer:?}"
                );
                (guest, answer.text())
            })
        })
        .collect();
    let mut seen = Vec::new();
    let mut still_there = Vec::new();
    for guest in guests {
        let (guest, answer) = guest.await.unwrap();
        seen.push(answer);
        still_there.push(guest);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 50);
    for mut guest in still_there {
        guest.offer(ENROLL, b"bad", 2, &[]).await;
        assert_eq!(guest.message().await.text(), "csr_malformed");
    }
}

#[tokio::test]
async fn a_guest_sees_and_reaches_nothing_of_the_home() {
    let home = Home::new().await;
    home.open_claim();
    home.broker
        .publish("hearthkey/v1/trust/bundle", "PEM".into(), true)
        .await
        .unwrap();
    let hello = Hello::claim(CLAIM, b"right");
    let (mut guest, _) = Client::connect(&home, None, &hello).await.unwrap();
    for filter in [
        "#",
        "hearthkey/v1/trust/#",
        "$share/g/#",
        "hearthkey/v1/claims/+/enroll/+",
    ] {
        assert_eq!(guest.subscribe(filter, 0).await, 0x87, "{filter}");
    }
    for topic in [
        "hearthkey/v1/claims/c-2/enroll",
        "home/lamp/state",
        "hearthkey/v1/trust/bundle",
    ] {
        assert_eq!(guest.publish(topic, b"x", false).await[2], 0x87, "{topic}");
        home.hears(&["Refused", "Claim", topic]).await;
    }
    let old = Hello { v5: false, ..hello };
    let (mut old, _) = Client::connect(&home, None, &old).await.unwrap();
    old.offer("hearthkey/v1/claims/c-2/enroll", b"x", 2, &[])
        .await;
    old.ends().await;
}

#[tokio::test]
async fn an_answer_goes_to_a_response_topic_of_the_guests_own_with_its_correlation_data() {
    let home = Home::new().await;
    home.open_claim();
    let hello = Hello::claim(CLAIM, b"right");
    let (mut guest, _) = Client::connect(&home, None, &hello).await.unwrap();
    let accepted = format!("{ENROLL}/accepted");
    assert_eq!(guest.subscribe(&accepted, 0).await, 0);
    guest.request(ENROLL, b"csr", &accepted).await;
    let answer = guest.message().await;
    assert_eq!((answer.topic.as_str(), answer.qos), (accepted.as_str(), 0));
    assert_eq!(answer.correlation.as_deref(), Some(&b"id"[..]));
    assert_eq!(answer.user, [("outcome".to_owned(), "accepted".to_owned())]);

    guest.request(ENROLL, b"bad", &accepted).await;
    let answer = guest.message().await;
    assert_eq!(
        (answer.topic.as_str(), answer.text().as_str()),
        (accepted.as_str(), "csr_malformed")
    );
    assert_eq!(answer.user, [("outcome".to_owned(), "rejected".to_owned())]);

    guest.request(ENROLL, b"elsewhere", "home/lamp/set").await;
    assert_eq!(guest.message().await.topic, accepted);
    guest
        .request(ENROLL, &[b'x'; 16 * 1024 + 1], &accepted)
        .await;
    assert_eq!(guest.message().await.text(), "csr_too_large");
}
