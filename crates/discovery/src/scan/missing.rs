//! What a repository names and does not contain: the rest of a shallow history, objects that were never fetched or
//! are lost, submodules that are not checked out.

use std::io;
use std::process::Stdio;

use super::gap::Gap;
use super::git::{GitError, Repository};
use super::lines::line;
use super::path::{FilePath, top_of};
use super::scanner::Scan;

/// Names what is not there.
pub(super) fn look(repository: &Repository, name: Option<&FilePath>, scan: &mut Scan) {
    let mut unsure = |what: &str, error: &GitError| {
        let why = format!("whether {what} could not be found out: {error}");
        scan.skip(Gap::Repository, top_of(name), why);
    };
    let mut gaps: Vec<(Gap, FilePath, String)> = Vec::new();
    match repository.line(&["rev-parse", "--is-shallow-repository"]) {
        Ok(answer) if answer == "true" => gaps.push((
            Gap::Shallow,
            top_of(name),
            "it is a shallow clone, and earlier commits were not read: run git fetch --unshallow"
                .to_owned(),
        )),
        Ok(_) => {}
        Err(error) => unsure("it is a shallow clone", &error),
    }
    match lost(repository) {
        Ok(0) => {}
        Ok(number) => gaps.push((
            Gap::Missing,
            top_of(name),
            format!(
                "{number} objects of its history are not here (a partial clone, or a damaged one): clone it again \
                 without --filter"
            ),
        )),
        Err(error) => unsure("objects of its history are missing", &error),
    }
    match absent_submodules(repository) {
        Ok(paths) => gaps.extend(paths.into_iter().map(|path| {
            let path = name.map_or_else(|| path.clone(), |name| name.join(&path));
            let why = "it is a submodule that is not checked out: run git submodule update --init";
            (Gap::Submodule, path, why.to_owned())
        })),
        Err(error) => unsure("it has submodules", &error),
    }
    for (gap, path, why) in gaps {
        scan.skip(gap, path, why);
    }
}

/// How many objects that references lead to are not there.
fn lost(repository: &Repository) -> Result<u64, GitError> {
    let list = [
        "rev-list",
        "--objects",
        "--all",
        "--missing=print",
        "--quiet",
    ];
    let mut answer = repository.ask(&list, Stdio::null())?;
    let mut number = 0;
    let read: io::Result<()> = (|| {
        while let Some(entry) = line(&mut answer.stdout, b'\n')? {
            number += u64::from(entry.starts_with(b"?"));
        }
        Ok(())
    })();
    answer.end()?;
    read.map_err(|error| repository.damaged(error))?;
    Ok(number)
}

/// The submodules of the index, or of the last commit of a bare repository, that have no repository in their place.
fn absent_submodules(repository: &Repository) -> Result<Vec<FilePath>, GitError> {
    let bare = repository.line(&["rev-parse", "--is-bare-repository"])? == "true";
    let arguments: &[&str] = if bare {
        if repository
            .line(&["rev-parse", "--verify", "--quiet", "HEAD"])
            .is_err()
        {
            return Ok(Vec::new());
        }
        &["ls-tree", "-r", "-z", "HEAD"]
    } else {
        &["ls-files", "--stage", "-z"]
    };
    let mut answer = repository.ask(arguments, Stdio::null())?;
    let mut absent = Vec::new();
    let read: io::Result<()> = (|| {
        while let Some(entry) = line(&mut answer.stdout, 0)? {
            let Some(tab) = entry.iter().position(|byte| *byte == b'\t') else {
                continue;
            };
            if !entry.starts_with(b"160000 ") {
                continue;
            }
            let path = FilePath::from_bytes(&entry[tab + 1..]);
            let here = path
                .to_path()
                .map(|path| repository.path.join(path).join(".git"))
                .is_some_and(|git| git.exists());
            if bare || !here {
                absent.push(path);
            }
        }
        Ok(())
    })();
    answer.end()?;
    read.map_err(|error| repository.damaged(error))?;
    Ok(absent)
}
