//! Scanning what is staged for the next commit.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use super::git::{GitError, Repository};
use super::leak::Place;
use super::path::FilePath;
use super::progress::{Progress, Stage};
use super::scanner::{Scan, Scanner, sweep};

/// The most files of one commit.
const FILES_MAX: usize = 100_000;

impl Scanner {
    /// Reads the content of every file that the next commit would add or change, as it is staged.
    ///
    /// `index` is the index to read: git gives a pre-commit hook one of its own in the variable `GIT_INDEX_FILE`, and
    /// the caller passes it on. Without it, the repository's index is read.
    pub fn staged(
        &mut self,
        repository: &Path,
        index: Option<&Path>,
        told: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Scan, GitError> {
        let repository = Repository::open(repository)?;
        let files = files(&repository, index)?;
        let mut scan = Scan::default();
        let (mut answer, mut stdin) = repository.converse(&["cat-file", "--batch"])?;
        let total = Some(files.len() as u64);
        for (object, path) in files {
            writeln!(stdin, "{object}").map_err(|error| repository.damaged(error))?;
            let mut header = String::new();
            let limited = answer.stdout.by_ref().take(1024).read_line(&mut header);
            limited.map_err(|error| repository.damaged(error))?;
            let Some(size) = header
                .trim_end()
                .rsplit(' ')
                .next()
                .and_then(|size| size.parse::<u64>().ok())
            else {
                return Err(repository.damaged("a staged object is missing"));
            };
            let mut content = answer.stdout.by_ref().take(size);
            let stage = (Stage::Staged, total, Some(&path));
            let mut swept = sweep(&mut self.sweeper, &mut content, &scan, stage, told);
            if let Some(error) = swept.cut.take() {
                return Err(repository.damaged(error));
            }
            if swept.bytes < size {
                return Err(repository.damaged("an object ends early"));
            }
            if let Some((gap, why)) = swept.head.gap() {
                scan.skip(gap, path.clone(), why);
            }
            let mut newline = [0];
            answer
                .stdout
                .read_exact(&mut newline)
                .map_err(|_| repository.damaged("an object ends early"))?;
            scan.add(swept, path.as_bytes(), |at| Place::Staged {
                path: path.clone(),
                at,
            });
        }
        drop(stdin);
        answer.end()?;
        Ok(scan)
    }
}

/// The staged files that differ from the last commit: object and path. Submodules are other repositories.
fn files(
    repository: &Repository,
    index: Option<&Path>,
) -> Result<Vec<(String, FilePath)>, GitError> {
    let arguments = [
        "diff",
        "--cached",
        "--raw",
        "-z",
        "--no-abbrev",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--diff-filter=AMT",
        "--ignore-submodules=all",
    ];
    let mut answer = repository.ask_index(&arguments, index)?;
    let mut files = Vec::new();
    let mut parts = BufReader::new(answer.stdout.by_ref()).split(0);
    while let Some(entry) = parts.next() {
        let entry = entry.map_err(|error| repository.damaged(error))?;
        let path = parts
            .next()
            .transpose()
            .map_err(|error| repository.damaged(error))?
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&entry);
        let mut fields = text.trim_start_matches(':').split(' ');
        let (mode, object) = (
            fields.nth(1).unwrap_or_default(),
            fields.nth(1).unwrap_or_default(),
        );
        if mode != "160000" && !object.is_empty() {
            files.push((object.to_owned(), FilePath::from_bytes(&path)));
        }
        if files.len() > FILES_MAX {
            return Err(repository.damaged("more than 100000 files are staged"));
        }
    }
    drop(parts);
    answer.end()?;
    Ok(files)
}
