//! Progress of what takes longer than a moment: a bar on standard error, for people at a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::context::Context;

/// A bar, or nothing where nobody would see it.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for something that is counted.
    pub fn new(context: &Context, what: &str) -> Self {
        let target = if context.output.is_json() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        // The template is fixed, and right.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Self(bar)
    }

    /// A sign of life for something that cannot be counted.
    pub fn waiting(context: &Context) -> Self {
        let bar = Self::new(context, "");
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.0.set_style(style);
        }
        bar
    }

    /// How far it is.
    pub fn at(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// What is being worked on.
    pub fn now(&self, what: String) {
        self.0.set_message(what);
        self.0.tick();
    }

    /// It is done: the bar goes.
    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}
