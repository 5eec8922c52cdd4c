//! Exporting the audit log so that records and checkpoint agree, although the log grows.

use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use hearthkey_api::{Client, LogSegment, PAGE_MAX, RecordPage};
use hearthkey_gateway::ArchiveHead;
use serde::Serialize;

use crate::failure::{Failure, code};
use crate::out_file::OutFile;

/// What an export contains.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The file with the records, one a line.
    pub out: PathBuf,
    /// The file with the signed note; none beside a pipe.
    pub checkpoint: Option<PathBuf>,
    /// How many records the log has.
    pub size: u64,
    /// The number of the first record in the file; those before are archived, and not at the gateway.
    pub first: u64,
    /// Whether the records went into a pipe, a terminal or another device.
    #[serde(skip)]
    pub stream: bool,
}

/// Where the checkpoint of an export lies: beside it.
pub fn checkpoint_of(records: &Path) -> PathBuf {
    let mut name = records.as_os_str().to_owned();
    name.push(".checkpoint");
    name.into()
}

/// Where an export goes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The file for the records.
    pub out: &'a Path,
    /// The file for the checkpoint; beside the records if none is named.
    pub checkpoint: Option<&'a Path>,
    /// Whether files that are there are replaced.
    pub replace: bool,
}

/// Fetches a checkpoint, and then exactly the records that it covers. Both files appear whole or
/// not at all, and never with the records of one export and the checkpoint of another.
pub async fn export(client: &Client, target: Target<'_>) -> Result<Exported, Failure> {
    let Target {
        out,
        checkpoint: named,
        replace,
    } = target;
    let note = checkpoint(client).await?;
    let size = size_of(&note)?;
    let mut records = OutFile::begin(out, replace)?;
    let stream = records.is_stream();
    // Beside a pipe there is no place for a file.
    let beside = match named {
        Some(named) => Some(named.to_owned()),
        None => (!stream).then(|| checkpoint_of(out)),
    };
    let mut signed = None;
    if let Some(beside) = &beside {
        let mut file = OutFile::begin(beside, replace)?;
        if file.is_where(&records) {
            return Err(Failure::usage(
                "the records and their checkpoint need two files: name another one with --checkpoint",
            ));
        }
        file.writer()
            .write_all(&note)
            .map_err(|error| Failure::file("write", beside, &error))?;
        signed = Some((file, beside));
    }
    let first = write_records(client, records.writer(), (out, size)).await?;
    // Both are on the disk before anything of an earlier export is touched, and another export waits for its turn.
    records.sync()?;
    if let Some((file, _)) = &mut signed {
        file.sync()?;
    }
    let _turn = records.take_turn().await?;
    if let Some((file, beside)) = &signed
        && replace
        && !file.is_stream()
    {
        remove_if_there(beside)?;
    }
    records.put()?;
    if let Some((file, _)) = signed {
        file.put()?;
    }
    Ok(Exported {
        out: out.to_owned(),
        checkpoint: beside,
        size,
        first,
        stream,
    })
}

async fn write_records(
    client: &Client,
    writer: &mut dyn Write,
    (out, size): (&Path, u64),
) -> Result<u64, Failure> {
    let failed = |error: io::Error| Failure::file("write", out, &error);
    let mut writer = BufWriter::new(writer);
    let mut progress = Progress::new(size);
    let (mut next, mut first) = (0, 0);
    while next < size {
        let records = match page(client, next, size).await {
            Err(failure) if failure.is_archived() && first == 0 => {
                let segment = segment(client, &format!("before={size}")).await?;
                (first, next) = (segment.first, segment.first);
                writer.write_all(&head_line(segment)).map_err(failed)?;
                continue;
            }
            records => records?,
        };
        next += records.len() as u64;
        write_lines(&mut writer, &records).map_err(failed)?;
        progress.at(next);
    }
    writer.flush().map_err(failed)?;
    Ok(first)
}

fn write_lines(writer: &mut dyn Write, records: &[String]) -> io::Result<()> {
    for record in records {
        writer.write_all(record.as_bytes())?;
        writer.write_all(b"\n")?;
    }
    Ok(())
}

/// What an archive of the oldest records has beside them.
pub async fn segment(client: &Client, query: &str) -> Result<LogSegment, Failure> {
    Ok(client.get(&format!("/api/v1/log/segment?{query}")).await?)
}

/// The line before the records of an archive, with its end.
fn head_line(segment: LogSegment) -> Vec<u8> {
    let range = (segment.first, segment.before);
    let head = ArchiveHead::new(range, segment.left, segment.checkpoint, segment.key);
    [head.to_line(), b"\n".to_vec()].concat()
}

/// Writes an archive whole, or not at all.
pub async fn archive(
    client: &Client,
    segment: &LogSegment,
    (out, replace): (&Path, bool),
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::file("write", out, &error);
    let mut file = OutFile::begin(out, replace)?;
    if file.is_stream() {
        return Err(Failure::usage(
            "error: an archive is verified after it was written: name a file with --out, not a pipe",
        ));
    }
    {
        let mut writer = BufWriter::new(file.writer());
        let mut progress = Progress::new(segment.before);
        writer
            .write_all(&head_line(segment.clone()))
            .map_err(failed)?;
        let mut next = segment.first;
        while next < segment.before {
            let records = page(client, next, segment.before).await?;
            next += records.len() as u64;
            write_lines(&mut writer, &records).map_err(failed)?;
            progress.at(next);
        }
        writer.flush().map_err(failed)?;
    }
    file.sync()?;
    let _turn = file.take_turn().await?;
    file.put()
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
            "Check whether `hearthkey status` reports an incident, then try again.",
        ));
    }
    if page.records.iter().any(|record| record.contains('\n')) {
        return Err(Failure::garbled("a record has more than one line"));
    }
    Ok(page.records)
}

/// A checkpoint of an earlier export goes before the records of the new one come. A link to it stays.
fn remove_if_there(path: &Path) -> Result<(), Failure> {
    let its = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::remove_file(its) {
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

    fn to(out: &Path, replace: bool) -> Target<'_> {
        Target {
            out,
            checkpoint: None,
            replace,
        }
    }

    fn records(texts: &[&str], size: u64) -> String {
        let page = RecordPage {
            records: texts.iter().map(|text| (*text).to_owned()).collect(),
            next: 0,
            size,
            first: 0,
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
        let exported = export(&gateway.client(), to(&out, false)).await.unwrap();
        assert_eq!(exported.size, 3);
        assert_eq!(
            fs::read_to_string(&out).unwrap(),
            "{\"seq\":0}\n{\"seq\":1}\n{\"seq\":2}\n"
        );
        let checkpoint = exported.checkpoint.unwrap();
        assert_eq!(fs::read_to_string(&checkpoint).unwrap(), NOTE);
        assert!(checkpoint.ends_with("records.jsonl.checkpoint"));
        let left = fs::read_dir(gateway.data_dir()).unwrap().count();
        assert_eq!(left, 3, "the socket and both files, and no lock");
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
        let Err(Failure::Told { problem, .. }) = export(&gateway.client(), to(&out, false)).await
        else {
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
        for replace in [false, true] {
            let refused = export(&gateway.client(), to(&out, replace)).await;
            assert!(refused.is_err(), "{replace}");
            assert_eq!(fs::read_to_string(&out).unwrap(), "earlier");
        }
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
