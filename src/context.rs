//! What every command gets: where the home is, and how to answer.

use std::path::PathBuf;

use hearthkey_api::Client;

use crate::data_dir::Surroundings;
use crate::failure::Failure;
use crate::output::Output;

/// The home that a command is about, and the way in which it answers.
#[derive(Debug)]
pub struct Context {
    named: Option<PathBuf>,
    /// How to answer.
    pub output: Output,
}

impl Context {
    /// A context with the directory that was named, if any.
    pub fn new(named: Option<PathBuf>, output: Output) -> Self {
        Self { named, output }
    }

    /// The data directory.
    pub fn data_dir(&self) -> Result<PathBuf, Failure> {
        match &self.named {
            Some(named) => Ok(named.clone()),
            None => Surroundings::here().data_dir(),
        }
    }

    /// A client of the gateway that runs on the data directory.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.data_dir()?))
    }
}

/// The body of a request that says nothing but what its path says.
#[derive(Debug, serde::Serialize)]
pub struct Nothing {}
