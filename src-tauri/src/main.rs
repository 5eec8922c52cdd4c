//! Hearthkey in a window: opens a home on this computer in its own process and shows the interface.
//!
//! The interface asks for everything through a scheme of its own, `hearthkey://localhost`, which [`window`] hands to the
//! one router; nothing listens for it. What a web page cannot do at all is a command: [`save`] and [`begin`].

mod begin;
mod locale;
mod options;
mod save;
mod window;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use hearthkey_gateway::{Desktop, RunEvent};

use options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    let log = hearthkey_gateway::diagnostics::start(options.verbose, true);
    if let Some(locale) = locale::instead_of(|name| std::env::var(name).ok()) {
        return locale::begin_again_in(locale);
    }
    if gtk::init().is_err() {
        eprintln!(
            "There is no display to open a window on. DISPLAY or WAYLAND_DISPLAY names none that answers. \
             Log in at a desktop and start this there; without one, use `hearthkey run` and a browser."
        );
        return ExitCode::FAILURE;
    }
    let config = match options.config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("The home has no place: {error}. Name its directory with --data-dir.");
            return ExitCode::FAILURE;
        }
    };
    let desktop = Arc::new(Desktop::new(config, |event| match event {
        RunEvent::Ready { mqtt, .. } => tracing::info!(%mqtt, "the home is open"),
        RunEvent::Sealed => tracing::info!("the home is sealed"),
        RunEvent::Setup(_) => {}
    }));
    let shown = window::show(desktop);
    if let Some(log) = log {
        log.finish();
    }
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The window cannot be shown: {error}. Update WebKitGTK 4.1, then try again.");
            ExitCode::FAILURE
        }
    }
}
