//! What the program says about itself on standard error.

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Starts writing diagnostics. RUST_LOG decides how much, and otherwise the number of `-v`.
pub fn start(verbose: u8, service: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(directives(verbose, service)));
    tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(|event| {
            may_be_told(event.target(), event.level())
        }))
        .with(fmt::layer().with_writer(std::io::stderr))
        .init();
}

/// The filter for a number of `-v`. A gateway tells what happens; a command is asked for an answer.
/// The MQTT library warns of every refusal, which the audit log has already.
fn directives(verbose: u8, service: bool) -> &'static str {
    match (verbose, service) {
        (0, false) => "warn,mqtt5=error",
        (0, true) => "warn,mqtt5=error,hearthkey=info",
        (1, _) => "warn,mqtt5=error,hearthkey=debug",
        _ => "info,hearthkey=trace",
    }
}

/// Libraries may print whole packets and headers when they debug, and secrets with them: of theirs,
/// nothing below `info` is told, whatever RUST_LOG asks for.
fn may_be_told(target: &str, level: &tracing::Level) -> bool {
    target.starts_with("hearthkey") || *level <= tracing::Level::INFO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_never_made_to_print_packets() {
        assert!(!may_be_told("mqtt5::client", &tracing::Level::TRACE));
        assert!(!may_be_told("hyper::proto", &tracing::Level::DEBUG));
        assert!(may_be_told("mqtt5::broker", &tracing::Level::WARN));
        assert!(may_be_told(
            "hearthkey_gateway::revoke",
            &tracing::Level::TRACE
        ));
    }

    #[test]
    fn every_level_is_a_filter_that_parses() {
        for verbose in 0..4 {
            for service in [false, true] {
                assert!(
                    EnvFilter::builder()
                        .parse(directives(verbose, service))
                        .is_ok()
                );
            }
        }
    }
}
