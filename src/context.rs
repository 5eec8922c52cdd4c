//! What every command gets: where the home is, and how to answer.

use std::path::PathBuf;

use hearthkey_api::{Client, Identity, RemoteError, TokenFile};
use hearthkey_gateway::Surroundings;

use crate::failure::{Failure, code};
use crate::output::Output;
use crate::token_file;

/// A gateway elsewhere, as the command line and the environment name it.
#[derive(Debug, Default, clap::Args)]
pub struct Network {
    /// Use the gateway at this URL, like https://gateway.home.arpa:8443, instead of one on this
    /// machine.
    #[arg(long, global = true, value_name = "URL", env = "HEARTHKEY_GATEWAY")]
    gateway: Option<String>,
    /// Authenticate with the token in this file; it names its gateway, too.
    #[arg(long, global = true, value_name = "FILE", env = "HEARTHKEY_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Without a token file: the home's root certificate, in PEM, to verify the gateway.
    #[arg(long, global = true, value_name = "FILE", env = "HEARTHKEY_ROOT")]
    root: Option<PathBuf>,
    /// With a token that is bound to a certificate: that certificate, in PEM.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HEARTHKEY_CLIENT_CERT",
        requires = "client_key"
    )]
    client_cert: Option<PathBuf>,
    /// The private key of --client-cert, in PEM.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HEARTHKEY_CLIENT_KEY",
        requires = "client_cert"
    )]
    client_key: Option<PathBuf>,
}

impl Network {
    fn identity(&self) -> Result<Option<Identity>, Failure> {
        let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) else {
            return Ok(None);
        };
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path);
            text.map_err(|error| Failure::file("read", path, &error))
        };
        Ok(Some(Identity {
            certificate: read(certificate)?,
            key: read(key)?.into(),
        }))
    }
}

/// The home that a command is about, and the way in which it answers.
#[derive(Debug)]
pub struct Context {
    named: Option<PathBuf>,
    network: Network,
    /// How to answer.
    pub output: Output,
}

impl Context {
    /// A context with the directory that was named, if any.
    pub fn new(named: Option<PathBuf>, network: Network, output: Output) -> Self {
        Self {
            named,
            network,
            output,
        }
    }

    /// The data directory.
    pub fn data_dir(&self) -> Result<PathBuf, Failure> {
        match &self.named {
            Some(named) => Ok(named.clone()),
            None => Surroundings::here().data_dir().map_err(|error| {
                Failure::with_cause(
                    code::SYSTEM,
                    "There is no data directory.",
                    &error,
                    "Name the directory with --data-dir or HEARTHKEY_DATA_DIR.",
                )
            }),
        }
    }

    /// The token file, if one is named.
    pub fn token_file(&self) -> Result<Option<(PathBuf, TokenFile)>, Failure> {
        let path = self.network.token_file.clone();
        path.map(|path| Ok((path.clone(), token_file::read(&path, self.output)?)))
            .transpose()
    }

    /// A client of the gateway that is named, or else of the one that runs on the data directory.
    pub fn client(&self) -> Result<Client, Failure> {
        let url = self.network.gateway.as_deref();
        if let Some((_, file)) = self.token_file()? {
            let identity = self.network.identity()?;
            return Client::with_token(&file, url, identity.as_ref())
                .map_err(|error| unusable(&error));
        }
        match (url, &self.network.root) {
            (None, _) => Ok(Client::new(&self.data_dir()?)),
            (Some(url), Some(path)) => {
                let root = std::fs::read_to_string(path);
                let root = root.map_err(|error| Failure::file("read", path, &error))?;
                Client::remote(url, &root).map_err(|error| unusable(&error))
            }
            (Some(_), None) => Err(Failure::usage(
                "--gateway needs --token-file or --root, to verify the gateway",
            )),
        }
    }
}

fn unusable(error: &RemoteError) -> Failure {
    let failure = Failure::with_cause(
        code::NETWORK,
        "The gateway cannot be used over the network.",
        error,
        "Check --gateway, --token-file, --root, --client-cert and --client-key.",
    );
    match error {
        RemoteError::Url(_) | RemoteError::NoUrl | RemoteError::NoIdentity => failure.of_usage(),
        _ => failure,
    }
}

/// The body of a request that says nothing but what its path says.
#[derive(Debug, serde::Serialize)]
pub struct Nothing {}
