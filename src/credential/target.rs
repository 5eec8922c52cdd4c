//! Which credential is meant.

use clap::Args;
use hearthkey_api::{Client, CredentialPage};

use crate::credential::PATH;
use crate::failure::Failure;
use crate::url_path::encode;

/// A credential, named on the command line.
#[derive(Debug, Args)]
pub struct Target {
    /// The credential: bridge/key.
    pub name: String,
    /// Its environment. It may be left out where the name is in one environment only.
    #[arg(long, short, env = "HEARTHKEY_ENV")]
    pub env: Option<String>,
}

impl Target {
    /// Its environment, looked for where it was not named.
    pub async fn environment(&self, client: &Client) -> Result<String, Failure> {
        if let Some(environment) = &self.env {
            return Ok(environment.clone());
        }
        let path = format!("{PATH}?limit=1000&q={}", encode(&self.name));
        let page: CredentialPage = client.get(&path).await?;
        let mut found: Vec<String> = page
            .credentials
            .into_iter()
            .filter(|credential| credential.name == self.name)
            .map(|credential| credential.environment)
            .collect();
        match (found.pop(), found.is_empty()) {
            // What belongs to the whole home.
            (Some(only), true) if only.is_empty() => Ok("-".to_owned()),
            (Some(only), true) => Ok(only),
            (Some(last), false) => Err(Failure::usage(&format!(
                "{} is in more than one environment ({}, {last}): name it with --env",
                self.name,
                found.join(", ")
            ))),
            (None, _) if client.is_remote() => Err(Failure::local(
                hearthkey_api::code::NOT_FOUND,
                &format!("The environment of {} is not known.", self.name),
                "This token sees no credential of that name in its list: there is none, or the token may not list it."
                    .to_owned(),
                "Name its environment with --env.",
            )),
            (None, _) => Err(Failure::local(
                hearthkey_api::code::NOT_FOUND,
                &format!("There is no credential {}.", self.name),
                "No environment of this home has a credential of that name.".to_owned(),
                "List the credentials with `hearthkey credential list`.",
            )),
        }
    }

    /// Its place in the API.
    pub async fn path(&self, client: &Client) -> Result<String, Failure> {
        let environment = self.environment(client).await?;
        Ok(path(&environment, &self.name))
    }
}

/// A credential's place in the API. What is no name stays within its segments, for the gateway to refuse.
pub fn path(environment: &str, name: &str) -> String {
    let (bridge, key) = name.split_once('/').unwrap_or((name, "-"));
    format!(
        "/api/v1/environments/{}/credentials/{}/{}",
        encode(environment),
        encode(bridge),
        encode(key)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place() {
        assert_eq!(
            path("home", "hue/api-key"),
            "/api/v1/environments/home/credentials/hue/api-key"
        );
        assert_eq!(
            path("../x", "../../seal"),
            "/api/v1/environments/%2E%2E%2Fx/credentials/%2E%2E/%2E%2E%2Fseal"
        );
    }
}
