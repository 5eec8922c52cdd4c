//! Values, orders and waits of the stories, and the canaries that must never come back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearthkey_bridges::{BridgeError, Held, MintOrder, Patience, Progress, Step};
use hearthkey_core::credential::CredentialId;
use hearthkey_core::news::{Event, News};
use hearthkey_core::secret::Secret;

/// Secrets that look like none: short words, so that nothing but knowing them takes them out.
pub const AUTHORITY: &str = "canary-authority";
pub const OLD: &str = "canary-old-value";

/// Long enough for a loaded machine, short enough to be waited out.
pub const BRIEF: Patience = Patience {
    exchange: Duration::from_secs(3),
    person: Duration::from_secs(6),
    poll: Duration::from_millis(20),
};

pub fn secret(text: &str) -> Secret {
    Secret::text(text).unwrap()
}

pub fn held(value: &str, remote_id: Option<&str>) -> Held {
    Held {
        value: secret(value),
        remote_id: remote_id.map(str::to_owned),
    }
}

pub fn order(label: &str) -> MintOrder {
    MintOrder {
        label: label.to_owned(),
        lifetime: None,
        scopes: Vec::new(),
        replaces: None,
    }
}

pub fn news() -> News {
    News {
        credential: CredentialId {
            environment: "lab".parse().unwrap(),
            name: "hue/api-key".parse().unwrap(),
        },
        place: "builds".to_owned(),
        event: Event::Switch,
        version: 2,
        deadline: Some("2026-11-24T10:00:00Z".parse().unwrap()),
    }
}

/// Steps, as they come.
pub fn recorded() -> (Progress, Arc<Mutex<Vec<Step>>>) {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let told = steps.clone();
    let progress = Progress::new(move |step| told.lock().unwrap().push(step));
    (progress, steps)
}

/// An error says what, why and what to do, and none of these words.
pub fn says_no_secret(error: &BridgeError, secrets: &[&str]) {
    let texts = [
        error.to_string(),
        error.remedy(),
        format!("{error:?}"),
        format!("{error:#?}"),
    ];
    for text in &texts {
        assert!(!text.is_empty(), "{error:?}");
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(texts[1].len() > 20, "{error:?} has no remedy");
}
