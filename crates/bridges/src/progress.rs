//! What a person reads while a value is created.

use std::fmt;
use std::sync::Arc;

use hearthkey_core::time::Span;

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What happens or what to do, for a person.
    pub text: String,
    /// Whether nothing goes on until a person acts.
    pub waits_for_person: bool,
    /// How long it is still waited for.
    pub remaining: Option<Span>,
}

/// Where steps go. Each replaces the one before it.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Step) + Send + Sync>);

impl Progress {
    /// Steps are handed to this function, which must not wait.
    pub fn new(told: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    /// Steps go nowhere.
    pub fn ignored() -> Self {
        Self::new(|_| ())
    }

    /// Tells a step that goes on by itself.
    pub(crate) fn tell(&self, text: &str) {
        (self.0)(Step {
            text: text.to_owned(),
            waits_for_person: false,
            remaining: None,
        });
    }

    /// Tells a step that a person has to take.
    pub(crate) fn ask(&self, text: &str, remaining: Span) {
        (self.0)(Step {
            text: text.to_owned(),
            waits_for_person: true,
            remaining: Some(remaining),
        });
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress(…)")
    }
}
