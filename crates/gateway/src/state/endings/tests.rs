use hearthkey_core::audit::Actor;
use hearthkey_core::time::Timestamp;

use super::*;

const LAMP: &str = "device:lamp";

struct Narrowed(Entry, usize);

impl Narrowed {
    fn by(name: &str, what: usize) -> Self {
        let mut actor = Actor::gateway();
        actor.name = name.into();
        let at = Timestamp::from_s(0);
        Self(Entry::new(at, actor, "device.narrow", LAMP.into()), what)
    }
}

impl End for Narrowed {
    fn object(&self) -> String {
        self.0.object.clone()
    }

    fn kind(&self) -> String {
        "rights".into()
    }

    fn replaces(&self) -> Option<Decision> {
        Some(Decision::of(&self.0, &self.1))
    }

    fn change(&self) -> Change {
        Change::default()
    }

    fn holds(&self, _: &Registry<'_>) -> Result<bool, ReadError> {
        Ok(true)
    }
}

#[test]
fn what_one_caller_has_decided_takes_no_place_of_another() {
    let endings = Endings::default();
    for what in 0..REPLACED_MAX {
        assert!(endings.has_room(LAMP, "person:anna"), "{what}");
        endings.begin(Narrowed::by("person:anna", what));
    }
    assert!(!endings.has_room(LAMP, "person:anna"));
    assert!(endings.has_room("device:hall", "person:anna"));
    assert!(endings.has_room(LAMP, "person:ben"));
}

#[test]
fn what_was_decided_last_is_the_same_end_and_what_was_decided_before_is_not() {
    let endings = Endings::default();
    let same = |what| {
        let decision = Narrowed::by("person:ben", what).replaces();
        endings.same(LAMP, "rights", &decision.unwrap()).is_some()
    };
    assert!(!same(1));
    for what in [1, 2] {
        endings.begin(Narrowed::by("person:anna", what));
        assert!(same(what), "{what}");
    }
    assert!(!same(1));
}
