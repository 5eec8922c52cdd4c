//! `hearthkey token …`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hearthkey_api::{
    Client, ProofKey, TokenCreated, TokenFile, TokenList, TokenRequest, TokenRevoked, TokenSelf,
    TokenView,
};
use serde::Serialize;

use crate::audience;
use crate::context::{Context, Nothing};
use crate::failure::{Failure, code};
use crate::run::stop_signal;
use crate::second_factor::Showing;
use crate::token_file::{Reserved, replace};
use crate::token_text;
use crate::url_path::Name;

const PATH: &str = "/api/v1/tokens";

/// The commands about service tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token for a service, bound to a key.
    Create(Box<Create>),
    /// List the tokens, with those that are held for a person.
    List,
    /// Show a token and how it has been used.
    Show {
        /// The token's name.
        name: Name,
    },
    /// Show the token of --token-file as the gateway sees it.
    Whoami,
    /// Renew the token of --token-file and rewrite that file; or, as an operator, the one named.
    Renew {
        /// The token's name.
        name: Option<Name>,
    },
    /// Authorize a token again, so that it can be renewed.
    Reauthorize {
        /// The token's name.
        name: Name,
    },
    /// Revoke a token permanently, at once.
    Revoke {
        /// The token's name.
        name: Name,
    },
}

/// What `token create` is told.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name.
    name: String,
    /// The one environment of --allow; or those that --role is limited to, repeatable.
    #[arg(
        long = "env",
        short,
        visible_alias = "environment",
        value_name = "NAME",
        required_unless_present = "role"
    )]
    environments: Vec<String>,
    /// What it may do there, like hue/api-key:read, hue/*:lease or *:list; repeatable. The actions
    /// are list, read, lease, rotate and write, and none implies another.
    #[arg(
        long,
        value_name = "CREDENTIAL:ACTION",
        required_unless_present = "role",
        conflicts_with = "role"
    )]
    allow: Vec<String>,
    /// Instead of --allow, its role for managing the home remotely: operator, developer or
    /// auditor. It cannot do what needs a second factor or a person.
    #[arg(long)]
    role: Option<String>,
    /// Who is responsible for it; you, if nobody else is named.
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,
    /// What it is for; by default the service of its name.
    #[arg(long, value_name = "WHY")]
    purpose: Option<String>,
    /// How long it is valid until it has to be renewed: 24h at most.
    #[arg(long, default_value = "1h")]
    ttl: String,
    /// How long it may be renewed before a person has to authorize it again: 30d at most.
    #[arg(long, default_value = "7d")]
    ceiling: String,
    /// A new file, readable by its owner only, with the token, its key and the address of the gateway.
    #[arg(long, value_name = "FILE", conflicts_with = "public_key")]
    out: Option<PathBuf>,
    /// A P-256 public key in PEM that was made elsewhere, to which the token is bound.
    #[arg(long = "key", value_name = "FILE", conflicts_with = "bind")]
    public_key: Option<PathBuf>,
    /// Bind the token to the certificates of a device, device:ID, or to one, certificate:SHA256.
    #[arg(long, value_name = "WHAT")]
    bind: Option<String>,
    #[command(flatten)]
    showing: Showing,
}

/// The answer of `token create`. The token is in it only if it is in no file.
#[derive(Serialize)]
struct Created<'a> {
    name: &'a str,
    role: Option<&'a str>,
    environments: &'a [String],
    allow: &'a [String],
    binding: &'a str,
    key_id: Option<&'a str>,
    expires_at: &'a str,
    renewable_until: &'a str,
    gateway: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<&'a str>,
}

impl Token {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let output = context.output;
        match self {
            Self::Create(create) => create.obey(context).await,
            Self::List => {
                let list: TokenList = context.client()?.get(PATH).await?;
                output.answer(&list.tokens, || token_text::list(&list.tokens))
            }
            Self::Show { name } => {
                let path = format!("{PATH}/{}", name.segment());
                let token: TokenView = context.client()?.get(&path).await?;
                output.answer(&token, || token_text::token(&token))
            }
            Self::Whoami => {
                let token: TokenSelf = context.client()?.get(&format!("{PATH}/self")).await?;
                output.answer(&token, || token_text::own(&token))
            }
            Self::Renew { name: None } => renew_own(context).await,
            Self::Renew { name: Some(name) } => extend(context, &name, "renew").await,
            Self::Reauthorize { name } => extend(context, &name, "reauthorize").await,
            Self::Revoke { name } => {
                let path = format!("{PATH}/{}/revoke", name.segment());
                let revoked: TokenRevoked = context.client()?.post(&path, &Nothing {}).await?;
                output.answer(&revoked, || format!("{} is revoked.", revoked.name))?;
                if !revoked.durable {
                    output.aside(token_text::NOT_DURABLE);
                }
                if revoked.leases_left > 0 {
                    output.aside(&token_text::leases_left(revoked.leases_left));
                }
                Ok(())
            }
        }
    }
}

async fn extend(context: &Context, name: &Name, verb: &str) -> Result<(), Failure> {
    let path = format!("{PATH}/{}/{verb}", name.segment());
    let token: TokenView = context.client()?.post(&path, &Nothing {}).await?;
    context
        .output
        .answer(&token, || token_text::extended(&token))
}

/// Renews the token of the token file, and writes into the file how long it is good now.
async fn renew_own(context: &Context) -> Result<(), Failure> {
    let Some((path, mut file)) = context.token_file()? else {
        return Err(Failure::local(
            code::TOKEN_FILE,
            "No token to renew.",
            "No token file is named, and no token.".to_owned(),
            "Name the file with --token-file, or, as an operator, the token: `hearthkey token renew NAME`.",
        ));
    };
    let path_of_self = format!("{PATH}/self/renew");
    let renewed: TokenSelf = context.client()?.post(&path_of_self, &Nothing {}).await?;
    file.expires_at.clone_from(&renewed.expires_at);
    file.renewable_until.clone_from(&renewed.renewable_until);
    let kept = replace(&path, &file);
    context
        .output
        .answer(&renewed, || token_text::own(&renewed))?;
    if kept.is_err() {
        let path = path.display();
        context.output.aside(&format!("The token is renewed, and works from the same file; its new times could not be written into {path}."));
    }
    Ok(())
}

impl Create {
    async fn obey(self, context: &Context) -> Result<(), Failure> {
        if self.out.is_none() {
            audience::may_take("token")?;
        }
        let own_key = self.own_key(context)?;
        let public_key = match (&own_key, &self.public_key) {
            (Some(key), _) => Some(key.public_pem()),
            (None, Some(path)) => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| Failure::file("read", path, &error))?,
            ),
            (None, None) => None,
        };
        let reserved = self.out.as_deref().map(Reserved::new).transpose()?;
        let request = TokenRequest {
            name: self.name,
            environments: self.environments,
            allow: self.allow,
            role: self.role,
            owner: self.owner,
            purpose: self.purpose,
            ttl: self.ttl,
            ceiling: self.ceiling,
            public_key,
            bind: self.bind,
            second_factor: self.showing.second_factor()?,
        };
        let client = context.client()?;
        // From here on an interruption ends the request, and the gateway revokes what nobody has taken. What was taken is
        // written down before this ends.
        let stop = stop_signal()?;
        let made: TokenCreated = tokio::select! {
            biased;
            made = client.post(PATH, &request) => made?,
            () = stop => return Err(interrupted(&request.name)),
        };
        let file = file_of(&made, own_key.as_ref());
        if let Some(reserved) = reserved
            && let Err(failure) = reserved.fill(&file)
        {
            return Err(take_back(&client, &made, failure).await);
        }
        let out = self.out.as_deref();
        let created = Created::new(&made, &file, out);
        let people = || token_text::created(&made.details, out, created.token);
        match context.output.answer(&created, people) {
            Err(failure) if out.is_none() => return Err(take_back(&client, &made, failure).await),
            told => told?,
        }
        if made.gateway.is_none() {
            context.output.aside(token_text::NO_LISTENER);
        }
        Ok(())
    }

    /// A new key, where the token is bound to nothing that is there. It has to go somewhere safe.
    fn own_key(&self, context: &Context) -> Result<Option<ProofKey>, Failure> {
        if self.public_key.is_some() || self.bind.is_some() {
            return Ok(None);
        }
        if self.out.is_none() && !context.output.is_json() {
            return Err(Failure::usage(
                "name a file for the token and its key with --out FILE, or use --json for a program that stores them; or bind it to an existing key or certificate, with --key or --bind",
            ));
        }
        let failed =
            |error| Failure::with_cause(code::SYSTEM, "No key could be created.", &error, "");
        ProofKey::generate().map(Some).map_err(failed)
    }
}

/// For a request that was given up before its answer came.
fn interrupted(name: &str) -> Failure {
    Failure::local(
        code::SYSTEM,
        "The command was interrupted.",
        format!(
            "The gateway may have made the token {name}: it revokes one whose answer nobody takes."
        ),
        "See with `hearthkey token list` that it is not there or revoked, and make it again.",
    )
}

/// A token that could not be written down is nobody's: it is revoked.
async fn take_back(client: &Client, made: &TokenCreated, mut failure: Failure) -> Failure {
    let name = &made.details.name;
    let path = format!("{PATH}/{}/revoke", crate::url_path::encode(name));
    let revoked: Result<TokenRevoked, _> = client.post(&path, &Nothing {}).await;
    if let Failure::Told { problem, .. } = &mut failure {
        problem.remedy = match revoked {
            Ok(_) => format!(
                "{} The token {name} is revoked: make it again.",
                problem.remedy
            ),
            Err(_) => format!(
                "{} Revoke the token, which nobody has: `hearthkey token revoke {name}`.",
                problem.remedy
            ),
        };
    }
    failure
}

/// The file of a token that was made.
pub fn file_of(made: &TokenCreated, key: Option<&ProofKey>) -> TokenFile {
    TokenFile {
        gateway: made.gateway.clone(),
        root: made.root.clone(),
        name: made.details.name.clone(),
        expires_at: made.expires_at.clone(),
        renewable_until: made.renewable_until.clone(),
        key_id: made.key_id.clone(),
        token: made.token.clone(),
        key: key.map(|key| key.to_pem().to_string()),
    }
}

impl<'a> Created<'a> {
    fn new(made: &'a TokenCreated, file: &'a TokenFile, out: Option<&'a Path>) -> Self {
        let shown = |text: &'a str| Some(text).filter(|_| out.is_none());
        Self {
            name: &made.details.name,
            role: made.details.role.as_deref(),
            environments: &made.details.environments,
            allow: &made.details.allow,
            binding: &made.details.binding,
            key_id: made.key_id.as_deref(),
            expires_at: &made.expires_at,
            renewable_until: &made.renewable_until,
            gateway: made.gateway.as_deref(),
            file: out,
            token: shown(&made.token),
            key: file.key.as_deref().and_then(shown),
            root: shown(&made.root),
        }
    }
}
