//! Why a measurement stopped.

use std::fmt::Display;

use hearthkey_api::CallError;
use hearthkey_gateway::measure::MeasureError;
use tokio::task::JoinError;

use crate::http::HttpError;
use crate::wire::WireError;

/// Why a measurement stopped. Each carries the message of its cause.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something on this machine.
    #[error("{what}: {why}")]
    Stopped {
        /// What did not happen.
        what: String,
        /// The cause.
        why: String,
    },
    /// A call to the gateway's API.
    #[error("the gateway did not do what was asked: {0}")]
    Call(#[from] CallError),
    /// The home that is measured in this process.
    #[error("the home did not do what was asked: {0}")]
    Measure(#[from] MeasureError),
    /// A client of HTTP.
    #[error("a client failed: {0}")]
    Http(#[from] HttpError),
    /// A client of MQTT.
    #[error("a client failed: {0}")]
    Wire(#[from] WireError),
    /// A task of the load.
    #[error("a task failed: {0}")]
    Task(#[from] JoinError),
}

/// A failure on this machine, and its cause.
pub fn failed(what: &str, why: &dyn Display) -> Failure {
    Failure::Stopped {
        what: what.to_owned(),
        why: why.to_string(),
    }
}
