//! `hearthkey environment …`.

use clap::Subcommand;
use hearthkey_api::{EnvironmentRequest, Named};

use crate::context::Context;
use crate::failure::Failure;

const PATH: &str = "/api/v1/environments";

/// The commands about environments.
#[derive(Debug, Subcommand)]
pub enum Environment {
    /// List the environments.
    List,
    /// Add an environment, with an issuing CA of its own.
    Add {
        /// Its name, like `lab`.
        name: String,
    },
}

impl Environment {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let environments: Named = match self {
            Self::List => client.get(PATH).await?,
            Self::Add { name } => client.post(PATH, &EnvironmentRequest { name }).await?,
        };
        context
            .output
            .answer(&environments, || environments.names.join("\n"))
    }
}
