//! `hearthkey trust …`: what others need to check the home's certificates.

use clap::{Subcommand, ValueEnum};
use hearthkey_api::AuthorityList;
use pem::{EncodeConfig, LineEnding};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::table::Table;
use crate::trust_install;
use crate::url_path::Name;

/// The commands about roots and revocation lists.
#[derive(Debug, Subcommand)]
pub enum Trust {
    /// List the home's CAs: those that sign, those that will, and those that did and whose certificates are still about.
    List,
    /// Print the roots to trust, in PEM.
    Bundle,
    /// Print the SHA-256 of the root certificate, to compare with what a browser or a phone shows. Claim codes carry a
    /// different one: that of the root's key.
    Fingerprint,
    /// Make this machine, and the browsers of this user, trust the root certificate.
    Install(trust_install::Install),
    /// Print the revocation list of a CA, in PEM; of an environment, those of its CA and of the CAs before that whose
    /// certificates are still about. To check a device's chain you need --env NAME and --ca root; to check the gateway's,
    /// --ca server and --ca root.
    Crl {
        /// The environment whose issuing CA it is.
        #[arg(
            long = "env",
            short,
            env = "HEARTHKEY_ENV",
            required_unless_present = "ca"
        )]
        environment: Option<Name>,
        /// Another CA of the home instead.
        #[arg(long, value_enum)]
        ca: Option<OtherCa>,
        /// Print it in DER instead, of the CA that signs now alone.
        #[arg(long)]
        der: bool,
    },
}

/// A CA that belongs to no environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OtherCa {
    /// It signs the CAs.
    Root,
    /// It signs the gateway's own certificates.
    Server,
}

/// What `--json` answers.
#[derive(Serialize)]
struct Pem {
    pem: String,
}

#[derive(Serialize)]
struct Fingerprint<'a> {
    fingerprint: &'a str,
}

impl Trust {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let output = context.output;
        let pem = match self {
            Self::List => return list(context).await,
            Self::Install(install) => return install.obey(context).await,
            Self::Fingerprint => {
                let fingerprint = trust_install::fingerprint(context).await?;
                return output.answer(
                    &Fingerprint {
                        fingerprint: &fingerprint,
                    },
                    || fingerprint.clone(),
                );
            }
            Self::Bundle => {
                let bundle = context
                    .client()?
                    .get_bytes("/api/v1/trust/bundle")
                    .await?
                    .to_vec();
                String::from_utf8(bundle)
                    .map_err(|_| Failure::garbled("the trust bundle is not PEM"))?
            }
            Self::Crl { der: true, .. } if output.is_json() => {
                return Err(Failure::usage("--der and --json exclude each other"));
            }
            Self::Crl {
                environment,
                ca,
                der,
            } => {
                let path = match (ca, environment) {
                    (Some(OtherCa::Root), _) => "/.well-known/hearthkey/root.crl".into(),
                    (Some(OtherCa::Server), _) => "/.well-known/hearthkey/server.crl".into(),
                    (None, Some(environment)) if der => {
                        format!("/api/v1/trust/crl/{}", environment.segment())
                    }
                    (None, Some(environment)) => return all_crls(context, &environment).await,
                    (None, None) => return Err(Failure::usage("name an environment, or a CA")),
                };
                let crl = context.client()?.get_bytes(&path).await?;
                if der {
                    return output.bytes(&crl);
                }
                pem::encode_config(
                    &pem::Pem::new("X509 CRL", crl),
                    EncodeConfig::new().set_line_ending(LineEnding::LF),
                )
            }
        };
        if output.is_json() {
            return output.json_line(&Pem { pem });
        }
        output.bytes(pem.as_bytes())
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let list: AuthorityList = context.client()?.get("/api/v1/trust/authorities").await?;
    context.output.answer(&list, || {
        let mut table = Table::new(&["CA", "STATE", "FROM", "UNTIL", "SHA-256"]);
        for ca in &list.authorities {
            table.row(&[
                &ca.name,
                &ca.state,
                &ca.not_before,
                &ca.not_after,
                &ca.sha256,
            ]);
        }
        table.render()
    })
}

/// The CRLs of an environment's CAs, in PEM.
async fn all_crls(context: &Context, environment: &Name) -> Result<(), Failure> {
    let path = format!("/.well-known/hearthkey/crl/{}.pem", environment.segment());
    let lists = context.client()?.get_bytes(&path).await?.to_vec();
    let pem = String::from_utf8(lists).map_err(|_| Failure::garbled("the CRLs are not PEM"))?;
    if context.output.is_json() {
        return context.output.json_line(&Pem { pem });
    }
    context.output.bytes(pem.as_bytes())
}
