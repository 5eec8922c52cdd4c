//! What the vault holds already, as far as an import has to know.

use hearthkey_api::{Client, CredentialView, MarksView, RevealRequest};
use hearthkey_discovery::scan::Marks;

use crate::context::Nothing;
use crate::credential::all;
use crate::credential::give::obtain;
use crate::failure::Failure;
use crate::url_path::encode;

/// The credentials of one environment, and marks of their values.
pub(super) struct Vault {
    client: Client,
    environment: String,
    credentials: Vec<CredentialView>,
    marks: Option<Marks>,
}

/// What the vault holds under a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing.
    Nothing,
    /// The same value, under this name.
    Same(String),
    /// An earlier version of it; the vault has a newer value.
    Earlier(String),
    /// Another value, in this version.
    Other(u32),
    /// No value: it is recorded that it is kept elsewhere, or it was retired.
    NoValue(&'static str),
}

impl Vault {
    /// Asks for the inventory of an environment and, if it holds anything, for the marks of its values.
    pub(super) async fn ask(client: Client, environment: &str) -> Result<Self, Failure> {
        let query = format!("&environment={}", encode(environment));
        let mut credentials = all(&client, &query).await?;
        credentials.retain(|credential| credential.environment == environment);
        // The home's own keys are in the inventory, too, and have no marks.
        let kept = |known: &CredentialView| known.custody == "vault" && known.version.is_some();
        let marks = if credentials.iter().any(kept) {
            let view: MarksView = client
                .post("/api/v1/credentials/marks", &Nothing {})
                .await?;
            let text = std::str::from_utf8(view.marks.expose()).unwrap_or_default();
            Some(Marks::from_text(text).map_err(|error| Failure::garbled(&error.to_string()))?)
        } else {
            None
        };
        Ok(Self {
            client,
            environment: environment.to_owned(),
            credentials,
            marks,
        })
    }

    /// Compares a value with what is held under a name, or was imported from the same place under another.
    pub(super) async fn held(&self, name: &str, value: &[u8], file: &str) -> Result<Held, Failure> {
        let labels = self
            .marks
            .as_ref()
            .map(|marks| marks.labels_of(value))
            .unwrap_or_default();
        let holds = |known: &CredentialView| {
            let current = format!(
                "{}/{} v{}",
                self.environment,
                known.name,
                known.version.unwrap_or_default()
            );
            labels.contains(&current.as_str())
        };
        let Some(known) = self.credentials.iter().find(|known| known.name == name) else {
            let renamed = self.credentials.iter().find(|known| {
                let from = known.provenance.source.as_deref().unwrap_or_default();
                from.rsplit_once(':').is_some_and(|(from, _)| from == file) && holds(known)
            });
            return Ok(renamed.map_or(Held::Nothing, |known| Held::Same(known.name.clone())));
        };
        let Some(version) = known.version else {
            return Ok(Held::NoValue(match known.custody.as_str() {
                "external" => {
                    "in the vault it is recorded as stored elsewhere: choose another name with --rename"
                }
                _ => "the vault has that name, without a value: choose another with --rename",
            }));
        };
        if known.state != "active" {
            return Ok(Held::NoValue(
                "the vault has a retired credential of that name: choose another with --rename",
            ));
        }
        let mine = format!("{}/{} v", self.environment, known.name);
        if holds(known) || self.is_unmarked_and_same(known, value).await? {
            Ok(Held::Same(known.name.clone()))
        } else if labels.iter().any(|label| label.starts_with(&mine)) {
            Ok(Held::Earlier(known.name.clone()))
        } else {
            Ok(Held::Other(version))
        }
    }

    /// Values of a few bytes have no marks: such a one is compared itself, and that is recorded as a reading of it.
    async fn is_unmarked_and_same(
        &self,
        known: &CredentialView,
        value: &[u8],
    ) -> Result<bool, Failure> {
        let value = value.trim_ascii();
        let distinct = value.iter().collect::<std::collections::HashSet<_>>().len();
        if value.len() >= 8 && distinct >= 4 {
            return Ok(false);
        }
        let request = RevealRequest {
            names: vec![known.name.clone()],
            r#use: "reveal".into(),
            reason: Some("an import compares it with a value of a file".into()),
            version: None,
            second_factor: None,
        };
        match obtain(&self.client, &self.environment, &request).await {
            Ok(given) => Ok(given
                .first()
                .is_some_and(|given| given.value.expose().trim_ascii() == value)),
            Err(Failure::Told { problem, .. }) if problem.status == 403 => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}
