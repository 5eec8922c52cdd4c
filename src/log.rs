//! `hearthkey log …`: the audit log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use hearthkey_api::{AcceptRequest, Client, LogExtent, LogKeyView, PAGE_MAX, RecordPage, Status};
use hearthkey_gateway::VerifyError;
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::conventions::number;
use crate::export::{self, Exported, Target, checkpoint_of};
use crate::failure::{Failure, code};
use crate::log_archive::{self, Archive, Shorten, VerifyArchive};
use crate::out_file::OutFile;
use crate::output::Output;
use crate::table::count;
use crate::{log_text, run, status};

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// The commands about the audit log.
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Show the newest records.
    Tail {
        /// How many.
        #[arg(short = 'n', value_name = "N", default_value_t = 20, value_parser = number::<u64>)]
        number: u64,
        /// Follow new records until SIGTERM or SIGINT.
        #[arg(long)]
        follow: bool,
    },
    /// Write all records to FILE, one a line, and their signed checkpoint to FILE.checkpoint.
    Export {
        /// The file for the records; `-` is standard output.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The file for the checkpoint [default: FILE.checkpoint; none beside a pipe].
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// Replace existing files.
        #[arg(long)]
        replace: bool,
    },
    /// Verify an export with the public key; needs no gateway.
    Verify {
        /// The file with the records.
        file: PathBuf,
        /// The verifier key, from `hearthkey log key`.
        #[arg(long, value_name = "VKEY")]
        key: String,
        /// The signed checkpoint [default: FILE.checkpoint].
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
    /// Prove to somebody else that a record is in the log, with a file of the form C2SP tlog-proof.
    Prove {
        /// The record's number.
        #[arg(value_parser = number::<u64>)]
        seq: u64,
        /// Write the proof to a file instead of standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Replace an existing file.
        #[arg(long, requires = "out")]
        replace: bool,
    },
    /// Print the verifier key.
    Key,
    /// Show how large the log is, and how much of it is archived.
    Size,
    /// Write the oldest records here to FILE with what is needed to verify it, verify it, and note that it was archived.
    Archive(Archive),
    /// Verify archives with the public key; needs no gateway.
    VerifyArchive(VerifyArchive),
    /// Drop the records of an archive here. FILE is verified first; checkpoints and proofs of what remains still verify.
    Shorten(Shorten),
    /// After the log was found altered: accept that, and make the home writable again. `hearthkey status` shows the
    /// incident.
    Accept {
        /// Why it may continue; it is recorded.
        #[arg(long, value_name = "WHY")]
        reason: String,
    },
}

/// What `log verify --json` answers.
#[derive(Debug, Serialize)]
struct VerifiedView {
    verified: bool,
    size: u64,
    /// The number of the first record in it; those before are archived.
    first: u64,
    /// The root hash in base64, as the checkpoint has it.
    root: String,
}

/// What `log prove --json` answers.
#[derive(Debug, Serialize)]
struct ProofView<'a> {
    seq: u64,
    proof: &'a str,
    out: Option<&'a Path>,
}

impl Log {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Tail { number, follow } => tail(context, number, follow).await,
            Self::Export {
                out,
                checkpoint,
                replace,
            } => {
                let target = Target {
                    out: &out,
                    checkpoint: checkpoint.as_deref(),
                    replace,
                };
                let exported = export::export(&context.client()?, target).await?;
                if exported.stream {
                    // It may be standard output: nothing else belongs there.
                    context.output.aside(&exported_text(&exported));
                    return Ok(());
                }
                context
                    .output
                    .answer(&exported, || exported_text(&exported))
            }
            Self::Verify {
                file,
                key,
                checkpoint,
            } => {
                let checkpoint = checkpoint.unwrap_or_else(|| checkpoint_of(&file));
                verify(context.output, &file, &checkpoint, &key)
            }
            Self::Prove { seq, out, replace } => {
                prove(context, seq, out.as_deref().map(|out| (out, replace))).await
            }
            Self::Key => {
                let key: LogKeyView = context.client()?.get("/api/v1/log/key").await?;
                context.output.answer(&key, || key.vkey.trim().to_owned())
            }
            Self::Size => log_archive::size(context).await,
            Self::Archive(archive) => archive.obey(context).await,
            Self::VerifyArchive(archives) => archives.obey(context.output),
            Self::Shorten(shorten) => shorten.obey(context).await,
            Self::Accept { reason } => {
                let path = "/api/v1/log/accept";
                let now: Status = context
                    .client()?
                    .post(path, &AcceptRequest { reason })
                    .await?;
                context.output.answer(&now, || status::text(&now))
            }
        }
    }
}

async fn tail(context: &Context, number: u64, follow: bool) -> Result<(), Failure> {
    let client = context.client()?;
    let size = export::size_of(&export::checkpoint(&client).await?)?;
    let mut next = size.saturating_sub(number);
    let mut archived = false;
    let mut newest: Vec<String> = Vec::new();
    while next < size {
        let page = match export::page(&client, next, size).await {
            Err(failure) if failure.is_archived() && !archived => {
                // Fewer are here than were asked for.
                let extent: LogExtent = client.get("/api/v1/log/extent").await?;
                (next, archived) = (extent.first, true);
                let note = format!("Records before {} are archived, not here.", extent.first);
                context.output.aside(&note);
                continue;
            }
            page => page?,
        };
        next += page.len() as u64;
        newest.extend(page);
    }
    if context.output.is_json() && !follow {
        let records: Vec<Value> = newest.iter().map(|text| parsed(text)).collect();
        return context.output.json_line(&records);
    }
    show(context.output, &newest)?;
    if !follow {
        return Ok(());
    }
    let stop = run::stop_signal()?;
    tokio::select! {
        ended = follow_from(&client, context.output, next) => ended,
        () = stop => Ok(()),
    }
}

/// Shows what comes after the record before `next`. Ends only with a failure.
async fn follow_from(client: &Client, output: Output, mut next: u64) -> Result<(), Failure> {
    let mut tick = tokio::time::interval(FOLLOW_EVERY);
    loop {
        tick.tick().await;
        let path = format!("/api/v1/log/records?from={next}&limit={PAGE_MAX}");
        let page: RecordPage = client.get(&path).await?;
        next += page.records.len() as u64;
        show(output, &page.records)?;
    }
}

fn show(output: Output, records: &[String]) -> Result<(), Failure> {
    for record in records {
        if output.is_json() {
            output.json_line(&parsed(record))?;
        } else {
            output.text(&log_text::line(record))?;
        }
    }
    Ok(())
}

/// A record as a JSON value; one that is not JSON, as the text that it is.
fn parsed(record: &str) -> Value {
    serde_json::from_str(record).unwrap_or_else(|_| Value::String(record.to_owned()))
}

fn verify(output: Output, records: &Path, checkpoint: &Path, key: &str) -> Result<(), Failure> {
    for path in [records, checkpoint] {
        if let Err(error) = std::fs::metadata(path) {
            return Err(Failure::file("read", path, &error));
        }
    }
    let verified =
        hearthkey_gateway::verify_log(records, checkpoint, key.trim()).map_err(|error| {
            let failure = Failure::with_cause(
                code::VERIFY,
                "The export does not verify.",
                &error,
                "Check that both files and the key belong together.",
            );
            match error {
                VerifyError::Key(_) => failure.of_usage(),
                _ => failure,
            }
        })?;
    let view = VerifiedView {
        verified: true,
        size: verified.size,
        first: verified.first,
        root: STANDARD.encode(verified.root),
    };
    output.answer(&view, || {
        let archived = match view.first {
            0 => String::new(),
            first => format!(
                " Records before {first} are archived; the hashes that stand for them match, too."
            ),
        };
        format!(
            "Verified: {} match the signed checkpoint; root hash {}.{archived}",
            count(view.size - view.first, "record"),
            view.root
        )
    })
}

fn exported_text(exported: &Exported) -> String {
    let records = match exported.first {
        0 => count(exported.size, "record"),
        first => format!(
            "{} from record {first} on (those before are archived, not here)",
            count(exported.size - first, "record")
        ),
    };
    let out = exported.out.display();
    match &exported.checkpoint {
        Some(checkpoint) => format!(
            "{records} in {out}, with the signed checkpoint in {}.",
            checkpoint.display()
        ),
        None => format!(
            "{records} in {out}. Their checkpoint was not written: name a file with --checkpoint."
        ),
    }
}

async fn prove(context: &Context, seq: u64, out: Option<(&Path, bool)>) -> Result<(), Failure> {
    let path = format!("/api/v1/log/proof/{seq}");
    let proof = context.client()?.get_bytes(&path).await?.to_vec();
    let proof = String::from_utf8(proof).map_err(|_| Failure::garbled("the proof is not text"))?;
    if let Some((out, replace)) = out
        && OutFile::write(out, proof.as_bytes(), replace)?
    {
        return Ok(());
    }
    let out = out.map(|(out, _)| out);
    if context.output.is_json() {
        let proof = &proof;
        return context.output.json_line(&ProofView { seq, proof, out });
    }
    match out {
        Some(out) => context.output.text(&format!(
            "The proof of record {seq} is in {}.",
            out.display()
        )),
        None => context.output.bytes(proof.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Network;
    use crate::fake_gateway::FakeGateway;

    #[tokio::test]
    async fn the_tail_begins_as_many_records_before_the_end_as_were_asked_for() {
        let page = RecordPage {
            records: vec!["{\"seq\":3}".into(), "{\"seq\":4}".into()],
            next: 5,
            size: 5,
            first: 0,
        };
        let gateway = FakeGateway::answering(vec![
            (
                "/api/v1/log/checkpoint",
                "attic\n5\nAAAA\n\n— attic AAAA\n".to_owned(),
            ),
            (
                "/api/v1/log/records?from=3&limit=2",
                serde_json::to_string(&page).unwrap(),
            ),
        ]);
        let context = Context::new(
            Some(gateway.data_dir().to_owned()),
            Network::default(),
            Output::new(true),
        );
        tail(&context, 2, false).await.unwrap();
    }

    #[test]
    fn a_record_that_is_not_json_is_still_a_json_value() {
        assert_eq!(parsed("{\"seq\":1}")["seq"], 1);
        assert_eq!(parsed("garbage"), Value::String("garbage".into()));
    }
}
