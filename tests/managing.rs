//! A home that is managed from elsewhere, with a token that has a role.

use std::path::PathBuf;

use hearthkey_api::{ClaimOpened, Client, Events, RightsView, TokenFile};
use serde_json::{Value, json};

use crate::guest::records;
use crate::people::{Browser, invite};
use crate::rig::{Rig, json as answer, until};
use crate::service::{Front, home};
use crate::vault::{added, refused, told};
use crate::wire::within;

/// Somebody at another machine, with a token file and nothing else of the home.
struct Away<'a> {
    rig: &'a Rig,
    file: PathBuf,
}

impl<'a> Away<'a> {
    /// A service with a token of this role.
    async fn with(rig: &'a Rig, front: &Front, name: &str, role: &[&str]) -> Self {
        let file = front.bench.dir.join(format!("{name}.token"));
        let create = ["token", "create", name, "--out", file.to_str().unwrap()];
        told(rig, &[&create[..], role].concat()).await;
        Self { rig, file }
    }

    async fn answer(&self, args: &[&str]) -> Value {
        let nowhere = self.file.with_extension("nowhere");
        let env = [
            ("HEARTHKEY_TOKEN_FILE", self.file.to_str().unwrap()),
            ("HEARTHKEY_DATA_DIR", nowhere.to_str().unwrap()),
        ];
        answer(&self.rig.cli_with(&[args, &["--json"]].concat(), &env).await)
    }

    /// Has something done that is permitted.
    async fn does(&self, args: &[&str]) -> Value {
        let answer = self.answer(args).await;
        assert!(answer["error"].is_null(), "{args:?}: {answer}");
        answer
    }

    /// Asks for what is refused; gives the code.
    async fn may_not(&self, args: &[&str]) -> String {
        let answer = self.answer(args).await;
        let error = &answer["error"];
        assert!(
            !error["remedy"].as_str().unwrap_or_default().is_empty(),
            "{args:?}: {answer}"
        );
        error["code"].as_str().unwrap().to_owned()
    }
}

fn claim<'a>(device: &'a str, environment: &'a str) -> [&'a str; 11] {
    let of = ["--owner", "anna", "--purpose", "test"];
    let [a, b, c, d] = of;
    let place = ["--profile", "generic", "--environment", environment];
    let [e, f, g, h] = place;
    ["device", "claim", device, e, f, g, h, a, b, c, d]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_token_manages_the_home_from_elsewhere_and_shows_no_secret() {
    let (rig, front) = home().await;
    added(&rig, "hue/api-key", "home", b"a value", &[]).await;
    front.token(&rig, "old", &front.key("old").await).await;
    let away = Away::with(&rig, &front, "tablet", &["--role", "operator"]).await;
    let own = away.does(&["token", "whoami"]).await;
    assert_eq!(
        (&own["role"], &own["environments"], &own["allow"]),
        (&json!("operator"), &json!([]), &json!([]))
    );
    assert_eq!(away.does(&["status"]).await["sealed"], false);
    let opened: ClaimOpened =
        serde_json::from_value(away.does(&claim("lamp", "home")).await).unwrap();
    rig.enroll_with(&opened).await.unwrap();
    let lamp = away.does(&["device", "show", "lamp"]).await;
    assert_eq!(lamp["state"], "active", "{lamp}");
    away.does(&["device", "rotate", "lamp"]).await;
    away.does(&["device", "suspend", "lamp"]).await;
    away.does(&["device", "resume", "lamp"]).await;
    let revoked = away
        .does(&["device", "revoke", "lamp", "--reason", "unspecified"])
        .await;
    assert_eq!(revoked["durable"], true, "{revoked}");
    assert_eq!(rig.device("lamp").await.state, "revoked");
    let listed = away.does(&["credential", "list"]).await;
    assert!(listed.to_string().contains("hue/api-key"), "{listed}");
    away.does(&["token", "revoke", "old"]).await;
    away.does(&["log", "tail"]).await;
    away.does(&["check"]).await;
    away.does(&["token", "renew"]).await;

    // What shows a secret or gives rights needs a second factor, or another role.
    let reveal = ["credential", "reveal", "hue/api-key", "--env", "home"];
    for (args, code) in [
        (&reveal[..], "forbidden"),
        (&["environment", "add", "staging"], "forbidden"),
        (&["person", "invite", "eve", "--role", "owner"], "forbidden"),
        (&["token", "reauthorize", "tablet"], "forbidden"),
        (&["token", "renew", "tablet"], "forbidden"),
        (
            &["token", "create", "more", "--role", "operator"],
            "forbidden",
        ),
    ] {
        assert_eq!(away.may_not(args).await, code, "{args:?}");
    }
    let records = records(&rig).await;
    let by_tablet = |action: &str| {
        records.iter().any(|record| {
            record["action"] == action
                && record["actor"]["name"] == "token:tablet"
                && record["actor"]["role"] == "operator"
        })
    };
    for action in [
        "claim.open",
        "device.revoke",
        "token.revoke",
        "token.refuse",
    ] {
        assert!(by_tablet(action), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_role_is_limited_reaches_its_environments_and_knows_of_no_other() {
    let (rig, front) = home().await;
    for (device, environment) in [("lamp", "home"), ("probe", "lab")] {
        told(&rig, &claim(device, environment)).await;
    }
    Away::with(&rig, &front, "whole", &["--role", "operator"]).await;
    added(&rig, "hue/api-key", "home", b"one", &[]).await;
    added(&rig, "ci/key", "lab", b"two", &[]).await;
    let role = ["--role", "operator", "--env", "lab"];
    let away = Away::with(&rig, &front, "labber", &role).await;
    let devices = away.does(&["device", "list"]).await.to_string();
    assert!(
        devices.contains("probe") && !devices.contains("lamp"),
        "{devices}"
    );
    let credentials = away.does(&["credential", "list"]).await.to_string();
    assert!(
        credentials.contains("ci/key") && !credentials.contains("hue/api-key"),
        "{credentials}"
    );
    let tokens = away.does(&["token", "list"]).await.to_string();
    assert!(
        tokens.contains("labber") && !tokens.contains("whole"),
        "{tokens}"
    );
    away.does(&["device", "retire", "probe"]).await;
    away.does(&claim("second", "lab")).await;
    for (args, code) in [
        (&["device", "show", "lamp"][..], "not_found"),
        (
            &["device", "revoke", "lamp", "--reason", "unspecified"],
            "not_found",
        ),
        (&["token", "revoke", "whole"], "not_found"),
        (&claim("third", "home"), "forbidden"),
        (
            &["credential", "show", "hue/api-key", "--env", "home"],
            "forbidden",
        ),
        (&["log", "tail"], "forbidden"),
        (&["seal"], "forbidden"),
    ] {
        assert_eq!(away.may_not(args).await, code, "{args:?}");
    }
    assert_eq!(rig.device("lamp").await.state, "pending");
    let records = records(&rig).await;
    assert!(
        records
            .iter()
            .any(|record| record["action"] == "token.refuse"
                && record["actor"]["role"] == "operator@lab")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditors_token_reads_and_changes_nothing_and_a_developers_gives_no_value() {
    let (rig, front) = home().await;
    told(&rig, &claim("lamp", "home")).await;
    added(&rig, "ci/key", "lab", b"two", &[]).await;
    let auditor = Away::with(&rig, &front, "book", &["--role", "auditor"]).await;
    auditor.does(&["log", "tail"]).await;
    auditor.does(&["device", "show", "lamp"]).await;
    auditor.does(&["person", "list"]).await;
    for args in [
        &["device", "retire", "lamp"][..],
        &claim("probe", "lab"),
        &["credential", "rotate", "ci/key", "--env", "lab"],
        &["token", "revoke", "book"],
        &["seal"],
    ] {
        assert_eq!(auditor.may_not(args).await, "forbidden", "{args:?}");
    }
    let role = ["--role", "developer", "--env", "lab"];
    let developer = Away::with(&rig, &front, "bench", &role).await;
    developer.does(&claim("probe", "lab")).await;
    for args in [
        &["credential", "reveal", "ci/key", "--env", "lab"][..],
        &["credential", "lease", "ci/key", "--env", "lab"],
        &["token", "create", "x", "--env", "lab", "--allow", "*:read"],
        &["token", "renew", "bench"],
    ] {
        let args = match args[0] {
            "token" if args[1] == "create" => [args, &["--out", "x.token"]].concat(),
            _ => args.to_vec(),
        };
        assert_eq!(
            developer.may_not(&args).await,
            "second_factor_needed",
            "{args:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_destroys_nothing_at_once_and_learns_no_number_of_another_environment() {
    let (rig, front) = home().await;
    for (device, environment) in [("lamp", "home"), ("plug", "home"), ("probe", "lab")] {
        told(&rig, &claim(device, environment)).await;
    }
    added(&rig, "ci/key", "lab", b"two", &[]).await;
    let role = ["--role", "developer", "--env", "lab"];
    let developer = Away::with(&rig, &front, "bench", &role).await;
    assert_eq!(developer.does(&["status"]).await["devices"], 1);
    assert_eq!(told(&rig, &["status"]).await["devices"], 3);
    let retire = ["credential", "retire", "ci/key", "--env", "lab"];
    let at_once = [&retire[..], &["--grace", "0s"]].concat();
    assert_eq!(developer.may_not(&at_once).await, "refused");
    let in_a_day = [&retire[..], &["--grace", "1d"]].concat();
    developer.does(&in_a_day).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_token_that_reaches_further_than_they_do_themselves() {
    let (rig, front) = home().await;
    let create = |more: &[&str]| -> Vec<String> {
        let args = ["token", "create", "x", "--out", "reaching.token"];
        args.iter().chain(more).map(ToString::to_string).collect()
    };
    for (more, code) in [
        (&["--role", "owner"][..], "refused"),
        (&["--role", "king"], "invalid"),
        (&["--role", "developer"], "invalid"),
        (&["--role", "developer", "--env", "home"], "invalid"),
        (&["--role", "operator", "--env", "nowhere"], "not_found"),
    ] {
        let args = create(more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert_eq!(refused(&rig, &args).await["code"], code, "{more:?}");
    }
    let both = [
        "token", "create", "x", "--role", "auditor", "--allow", "*:list", "--env", "lab",
    ];
    assert_eq!(rig.cli(&both).await.status.code(), Some(2));
    told(&rig, &claim("lamp", "home")).await;
    let bound = [
        "token",
        "create",
        "x",
        "--role",
        "auditor",
        "--bind",
        "device:lamp",
    ];
    assert_eq!(refused(&rig, &bound).await["code"], "refused");

    let mut eve = Browser::new(&front);
    let link = invite(&rig, "eve", "developer", &["lab"]).await;
    eve.join(&link, "eve").await;
    let key = front.key("eve").await;
    let public = std::fs::read_to_string(front.bench.dir.join(format!("{}.pub", key.name)));
    let asked = |role: &str, environments: &[&str]| {
        json!({"name": "eves", "role": role, "environments": environments,
            "ttl": "1h", "ceiling": "7d", "public_key": public.as_ref().unwrap()})
    };
    for (role, environments) in [
        ("operator", &[][..]),
        ("operator", &["lab"]),
        ("auditor", &[]),
        ("auditor", &["home"]),
    ] {
        let made = eve.post("/api/v1/tokens", &asked(role, environments)).await;
        assert_eq!(
            (made.status, made.code().as_str()),
            (403, "forbidden"),
            "{role} {environments:?}"
        );
    }
    let made = eve
        .post("/api/v1/tokens", &asked("auditor", &["lab"]))
        .await;
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(made.json()["details"]["role"], "auditor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_a_role_is_out_at_once_also_while_it_waits_for_what_happens() {
    let (mut rig, front) = home().await;
    let away = Away::with(&rig, &front, "tablet", &["--role", "auditor"]).await;
    let file: TokenFile = serde_json::from_slice(&std::fs::read(&away.file).unwrap()).unwrap();
    let client = Client::with_token(&file, None, None).unwrap();
    let now: Events = client.get("/api/v1/events").await.unwrap();
    let path = format!("/api/v1/events?wait_s=30&after={}", now.next);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get::<Events>(&path).await }
    });
    until("the second request, which waits", async || {
        let token = told(&rig, &["token", "show", "tablet"]).await;
        (token["uses"] == 2).then_some(())
    })
    .await;
    told(&rig, &["token", "revoke", "tablet"]).await;
    let ended = within("the end of the wait", waiting).await.unwrap();
    assert!(ended.is_err(), "nothing is told: {ended:?}");
    drop(away);
    rig.kill9().await;
    rig.start().await;
    let after = client.get::<Events>("/api/v1/events").await.unwrap_err();
    assert!(after.to_string().contains("revoked"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlives_a_token_is_for_people_to_judge() {
    let (rig, front) = home().await;
    let away = Away::with(&rig, &front, "tablet", &["--role", "operator"]).await;
    let hub = ["--profile", "home-assistant", "--environment", "home"];
    let of = ["--owner", "anna", "--purpose", "test"];
    let opened = away
        .does(&[&["device", "claim", "hub"][..], &hub, &of].concat())
        .await;
    let opened: ClaimOpened = serde_json::from_value(opened).unwrap();
    let refused = rig.enroll_with(&opened).await;
    assert!(refused.is_err(), "its key waits");
    let device = rig.device("hub").await;
    let key = device.claims[0].presented_key.clone().unwrap();
    let profile = rig.work.path().join("wide.toml");
    std::fs::write(&profile, "name = \"generic\"\n").unwrap();
    // A token of the whole home is told of how that is kept.
    let found = away.does(&["check"]).await;
    let found = found.as_array().unwrap();
    let backup = found
        .iter()
        .find(|f| f["kind"] == "backup-missing")
        .unwrap();
    let backup = backup["id"].as_str().unwrap().to_owned();
    for args in [
        &["device", "approve", "hub", "--key", &key][..],
        &["log", "accept", "--reason", "looked at"],
        &["clock", "confirm"],
        &[
            "check", "--accept", &backup, "--owner", "eve", "--reason", "x",
        ],
        &["check", "--resolve", &backup, "--reason", "x"],
        &["check", "--reopen", &backup],
        &["profile", "add", profile.to_str().unwrap()],
    ] {
        let answer = away.answer(args).await;
        assert_eq!(
            answer["error"]["title"], "Only a person can do this.",
            "{args:?}: {answer}"
        );
    }
    told(&rig, &["device", "approve", "hub", "--key", &key]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_neither_prolongs_nor_takes_nor_guesses_what_is_not_theirs() {
    let (rig, front) = home().await;
    let mut dave = Browser::new(&front);
    dave.join(&invite(&rig, "dave", "developer", &["lab"]).await, "dave")
        .await;
    Away::with(
        &rig,
        &front,
        "labop",
        &["--role", "operator", "--env", "lab"],
    )
    .await;
    for verb in ["renew", "reauthorize"] {
        let path = format!("/api/v1/tokens/labop/{verb}");
        assert_eq!(dave.post(&path, &json!({})).await.status, 403, "{verb}");
    }
    // A device of another environment is not taken over, in whichever state; nor is it said where it is.
    told(&rig, &claim("lamp", "home")).await;
    let asked = json!({"device": "lamp", "profile": "generic", "environment": "lab",
        "owner": "dave", "purpose": "test", "lifetime": "15m"});
    for state in ["pending", "retired"] {
        let refused = dave.post("/api/v1/claims", &asked).await;
        assert_eq!(refused.status, 409, "{state}");
        assert_eq!(
            refused.json()["detail"],
            "The name lamp is taken.",
            "{state}"
        );
        if state == "pending" {
            told(&rig, &["device", "retire", "lamp"]).await;
        }
    }
    // Who writes values without reading them does not learn that one is equal to another.
    added(&rig, "gate/pin", "lab", b"4711", &["--tier", "critical"]).await;
    let away = Away::with(
        &rig,
        &front,
        "bench",
        &["--role", "developer", "--env", "lab"],
    )
    .await;
    added(&rig, "probe/guess", "lab", b"4711", &[]).await;
    let seen = away.does(&["check"]).await.to_string();
    assert!(!seen.contains("The same value is in"), "{seen}");
    let all = told(&rig, &["check"]).await.to_string();
    assert!(all.contains("The same value is in"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_misspelled_makes_no_token_and_a_seal_over_the_network_is_answered() {
    let (rig, front) = home().await;
    let wrong = json!({"name": "x", "role": "operator", "environment": "lab", "ttl": "1h", "ceiling": "1d",
        "bind": "device:lamp"});
    let refused = rig.client().post::<Value>("/api/v1/tokens", &wrong).await;
    assert!(refused.unwrap_err().to_string().contains("is not valid"));
    let away = Away::with(&rig, &front, "tablet", &["--role", "operator"]).await;
    assert_eq!(away.does(&["seal"]).await["sealed"], true);
    until("the home is sealed", async || {
        rig.status().await.sealed.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_gives_back_what_was_taken_from_a_device_by_those_who_may_give_it_back() {
    let (rig, front) = home().await;
    told(&rig, &claim("lamp", "lab")).await;
    let narrow = json!({"keep": []});
    let narrowed: RightsView = rig
        .client()
        .post("/api/v1/devices/lamp/narrow", &narrow)
        .await
        .unwrap();
    assert!(narrowed.narrowed_at.is_some());
    let role = [
        "--role",
        "developer",
        "--env",
        "lab",
        "--owner",
        "anna",
        "--purpose",
        "test",
        "--ttl",
        "1h",
    ];
    let developer = Away::with(&rig, &front, "dev", &role).await;
    assert_eq!(developer.may_not(&claim("lamp", "lab")).await, "forbidden");
    let rights: RightsView = rig
        .client()
        .get("/api/v1/devices/lamp/rights")
        .await
        .unwrap();
    assert!(rights.narrowed_at.is_some(), "{rights:?}");
    developer.does(&claim("hall", "lab")).await;
    told(&rig, &claim("lamp", "lab")).await;
}
