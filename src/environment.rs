//! `hearthkey environment …`.

use clap::Subcommand;
use hearthkey_api::{Client, EnvironmentRequest, Named, RewrapView};

use crate::context::{Context, Nothing};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::second_factor::Showing;
use crate::url_path::Name;

const PATH: &str = "/api/v1/environments";

/// The commands about environments.
#[derive(Debug, Subcommand)]
pub enum Environment {
    /// List the environments.
    List,
    /// Give an environment a new key-encryption key, and seal its values under it. Nothing changes for devices and
    /// programs; do it after somebody may have seen the old key.
    Rewrap {
        /// The environment.
        name: crate::url_path::Name,
    },
    /// Add an environment, with an issuing CA of its own.
    Add {
        /// Its name, like `lab`.
        name: String,
        #[command(flatten)]
        showing: Showing,
    },
}

impl Environment {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let environments: Named = match self {
            Self::List => client.get(PATH).await?,
            Self::Rewrap { name } => return rewrap(context, &client, &name).await,
            Self::Add { name, showing } => {
                let second_factor = showing.second_factor()?;
                let request = EnvironmentRequest {
                    name,
                    second_factor,
                };
                client.post(PATH, &request).await?
            }
        };
        context
            .output
            .answer(&environments, || environments.names.join("\n"))
    }
}

/// How often the progress is asked for.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// Begins it, and shows how far it is until it is done. It goes on if this program ends.
async fn rewrap(context: &Context, client: &Client, name: &Name) -> Result<(), Failure> {
    let path = format!("{PATH}/{}/rewrap", name.segment());
    let mut view: RewrapView = client.post(&path, &Nothing {}).await?;
    let progress = Progress::new(context, "values sealed anew");
    while view.done < view.total {
        progress.at(view.done, view.total);
        tokio::time::sleep(LOOK_EVERY).await;
        view = client.get(&path).await?;
    }
    progress.done();
    context.output.answer(&view, || {
        format!(
            "{} has the key-encryption key of epoch {}; it encrypts {} values.",
            view.environment, view.epoch, view.total
        )
    })
}
