//! Exporting the audit log so that records and checkpoint agree, although the log grows.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hearthkey_api::{Client, PAGE_MAX, RecordPage};
use serde::Serialize;

use crate::failure::{Failure, code};

/// What an export contains.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The file with the records, one a line.
    pub out: PathBuf,
    /// The file with the signed note.
    pub checkpoint: PathBuf,
    /// How many records there are.
    pub size: u64,
}

/// Where the checkpoint of an export lies: beside it.
pub fn checkpoint_of(records: &Path) -> PathBuf {
    let mut name = records.as_os_str().to_owned();
    name.push(".checkpoint");
    name.into()
}

/// Fetches a checkpoint, and then exactly the records that it covers. Both files appear whole or
/// not at all, and never with the records of one export and the checkpoint of another.
pub async fn export(client: &Client, out: &Path) -> Result<Exported, Failure> {
    let note = checkpoint(client).await?;
    let size = size_of(&note)?;
    let beside = checkpoint_of(out);
    let partial = Partial::begin(out)?;
    let mut writer = BufWriter::new(partial.file()?);
    let mut progress = Progress::new(size);
    let mut next = 0;
    while next < size {
        for record in page(client, next, size).await? {
            writer
                .write_all(record.as_bytes())
                .and_then(|()| writer.write_all(b"\n"))
                .map_err(|error| Failure::file("write", out, &error))?;
            next += 1;
        }
        progress.at(next);
    }
    writer
        .flush()
        .and_then(|()| writer.get_ref().sync_all())
        .map_err(|error| Failure::file("write", out, &error))?;
    drop(writer);
    let signed = Partial::begin(&beside)?;
    signed
        .file()?
        .write_all(&note)
        .map_err(|error| Failure::file("write", &beside, &error))?;
    remove_if_there(&beside)?;
    partial.finish()?;
    signed.finish()?;
    Ok(Exported {
        out: out.to_owned(),
        checkpoint: beside,
        size,
    })
}

/// The newest checkpoint, as a signed note.
pub async fn checkpoint(client: &Client) -> Result<Vec<u8>, Failure> {
    Ok(client.get_bytes("/api/v1/log/checkpoint").await?.to_vec())
}

/// How many records a checkpoint covers: its second line (C2SP tlog-checkpoint).
pub fn size_of(note: &[u8]) -> Result<u64, Failure> {
    std::str::from_utf8(note)
        .ok()
        .and_then(|text| text.lines().nth(1)?.parse().ok())
        .ok_or_else(|| Failure::garbled("the checkpoint does not state a size in its second line"))
}

/// At least one record from `next` on, and none at or after `end`.
pub async fn page(client: &Client, next: u64, end: u64) -> Result<Vec<String>, Failure> {
    let limit = end.saturating_sub(next).min(u64::from(PAGE_MAX));
    let path = format!("/api/v1/log/records?from={next}&limit={limit}");
    let page: RecordPage = client.get(&path).await?;
    if page.records.is_empty() || page.records.len() as u64 > limit {
        return Err(Failure::local(
            code::GARBLED,
            "The audit log could not be read whole.",
            format!(
                "Records from {next} on were promised by the checkpoint, and {} of {limit} came.",
                page.records.len()
            ),
            "See whether `hearthkey status` reports an incident, then try again.",
        ));
    }
    if page.records.iter().any(|record| record.contains('\n')) {
        return Err(Failure::garbled("a record has more than one line"));
    }
    Ok(page.records)
}

/// A file under a temporary name, removed unless it is finished.
struct Partial {
    target: PathBuf,
    temporary: PathBuf,
}

impl Partial {
    fn begin(target: &Path) -> Result<Self, Failure> {
        let mut name = target.as_os_str().to_owned();
        name.push(".partial");
        let partial = Self {
            target: target.to_owned(),
            temporary: name.into(),
        };
        remove_if_there(&partial.temporary)?;
        Ok(partial)
    }

    /// Creates it, for its owner only: the log tells who lives how.
    fn file(&self) -> Result<File, Failure> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.temporary)
            .map_err(|error| Failure::file("create", &self.temporary, &error))
    }

    fn finish(self) -> Result<(), Failure> {
        fs::rename(&self.temporary, &self.target)
            .map_err(|error| Failure::file("write", &self.target, &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

fn remove_if_there(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::file("replace", path, &error))
        }
        _ => Ok(()),
    }
}

/// A count on standard error, where a person waits in front of it.
struct Progress {
    total: u64,
    shown: bool,
}

impl Progress {
    fn new(total: u64) -> Self {
        Self {
            total,
            shown: total > u64::from(PAGE_MAX) && io::stderr().is_terminal(),
        }
    }

    fn at(&mut self, done: u64) {
        if self.shown {
            let end = if done == self.total { "\n" } else { "" };
            let _ = write!(io::stderr(), "\r{done} of {} records{end}", self.total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_gateway::FakeGateway;

    const NOTE: &str = "attic\n3\nAAAA\n\n— attic AAAA\n";

    fn records(texts: &[&str], size: u64) -> String {
        let page = RecordPage {
            records: texts.iter().map(|text| (*text).to_owned()).collect(),
            next: 0,
            size,
        };
        serde_json::to_string(&page).unwrap()
    }

    #[tokio::test]
    async fn an_export_has_exactly_the_records_of_its_checkpoint() {
        let gateway = FakeGateway::answering(vec![
            ("/api/v1/log/checkpoint", NOTE.to_owned()),
            (
                "/api/v1/log/records?from=0&limit=3",
                records(&["{\"seq\":0}", "{\"seq\":1}"], 9),
            ),
            (
                "/api/v1/log/records?from=2&limit=1",
                records(&["{\"seq\":2}"], 9),
            ),
        ]);
        let out = gateway.data_dir().join("records.jsonl");
        let exported = export(&gateway.client(), &out).await.unwrap();
        assert_eq!(exported.size, 3);
        assert_eq!(
            fs::read_to_string(&out).unwrap(),
            "{\"seq\":0}\n{\"seq\":1}\n{\"seq\":2}\n"
        );
        assert_eq!(fs::read_to_string(&exported.checkpoint).unwrap(), NOTE);
        assert!(exported.checkpoint.ends_with("records.jsonl.checkpoint"));
    }

    #[tokio::test]
    async fn a_log_shorter_than_its_checkpoint_leaves_no_export() {
        let gateway = FakeGateway::answering(vec![
            ("/api/v1/log/checkpoint", NOTE.to_owned()),
            (
                "/api/v1/log/records?from=0&limit=3",
                records(&["{\"seq\":0}"], 1),
            ),
            ("/api/v1/log/records?from=1&limit=2", records(&[], 1)),
        ]);
        let out = gateway.data_dir().join("records.jsonl");
        let Err(Failure::Told { problem, .. }) = export(&gateway.client(), &out).await else {
            panic!("it was exported");
        };
        assert_eq!(problem.title, "The audit log could not be read whole.");
        let left: Vec<_> = fs::read_dir(gateway.data_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, [hearthkey_api::SOCKET_FILE]);
    }

    #[tokio::test]
    async fn an_earlier_export_is_kept_until_the_next_one_is_whole() {
        let gateway = FakeGateway::answering(vec![("/api/v1/log/checkpoint", NOTE.to_owned())]);
        let out = gateway.data_dir().join("records.jsonl");
        fs::write(&out, "earlier").unwrap();
        assert!(export(&gateway.client(), &out).await.is_err());
        assert_eq!(fs::read_to_string(&out).unwrap(), "earlier");
    }

    #[tokio::test]
    async fn a_record_of_two_lines_is_refused() {
        let gateway = FakeGateway::answering(vec![(
            "/api/v1/log/records?from=0&limit=1",
            records(&["{}\n{}"], 1),
        )]);
        assert!(page(&gateway.client(), 0, 1).await.is_err());
    }

    #[test]
    fn a_note_without_a_size_is_no_checkpoint() {
        assert_eq!(size_of(NOTE.as_bytes()).unwrap(), 3);
        assert!(size_of(b"attic").is_err());
        assert!(size_of(b"attic\nmany\n").is_err());
    }
}
