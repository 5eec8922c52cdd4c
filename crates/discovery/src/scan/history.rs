//! Scanning everything a repository has ever held: every blob, commit message and tag, reachable or not, each once.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::thread;

use super::gap::Gap;
use super::git::{Answer, GitError, Repository, clearer};
use super::leak::{Leak, ObjectKind, Place};
use super::lines::{LINE_MAX_BYTES, line};
use super::missing;
use super::path::{FilePath, top_of};
use super::progress::{Progress, Stage};
use super::scanner::{Scan, Scanner, sweep};

/// What git prints of each object, for the list of them.
const LIST: &str = "--batch-check=%(objectname) %(objecttype)";

/// The most commits that are named for one leak.
const COMMITS_MAX: usize = 5;

/// How a blob came in.
#[derive(Debug, Default)]
struct Arrival {
    path: Option<FilePath>,
    /// Commits with their time in seconds, the earliest first.
    commits: Vec<(i64, String)>,
    total: u64,
}

impl Scanner {
    /// Reads every object of a repository: of its top directory, a worktree, a submodule or a bare repository.
    ///
    /// Each leak is reported once for each object that holds it, with the commits that brought the object in. Objects
    /// that are written meanwhile may or may not be read. A damaged loose object is in [`Scan::skipped`], and so is
    /// what a shallow or partial clone does not have; a damaged pack is an error.
    pub fn history(
        &mut self,
        repository: &Path,
        told: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Scan, GitError> {
        let repository = Repository::open(repository)?;
        let mut scan = Scan::default();
        self.read_history(&repository, None, &mut scan, told)?;
        Ok(scan)
    }

    /// Reads a repository's objects into a scan. What was found before an error stays in it. `name`: the repository
    /// below what is scanned.
    pub(super) fn read_history(
        &mut self,
        repository: &Repository,
        name: Option<&FilePath>,
        scan: &mut Scan,
        told: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), GitError> {
        let first = scan.leaks.len();
        let total = count(repository)?;
        missing::look(repository, name, scan);
        let (mut answer, stdin) = repository.converse(&["cat-file", "--batch", "--buffer"])?;
        let mut list = repository.ask(
            &["cat-file", "--batch-all-objects", "--unordered", LIST],
            Stdio::null(),
        )?;
        let feed = thread::scope(|scope| {
            let feed = scope.spawn(|| {
                forward(&mut list, stdin, |kind| {
                    matches!(kind, "blob" | "commit" | "tag")
                })
            });
            let read = self.objects(repository, name, &mut answer, total, scan, told);
            // With git gone, the list finds nobody to write to, and ends.
            if read.is_err() {
                answer.stop();
            }
            let fed = feed.join().unwrap_or_else(|_| Ok(Vec::new()));
            read.and(fed.map_err(|error| repository.damaged(error)))
        });
        let whole = list.end().and(answer.end());
        let (feed, unreadable) = match feed {
            Ok(unreadable) => (Ok(()), unreadable),
            Err(error) => (Err(error), Vec::new()),
        };
        clearer(feed, whole)?;
        for object in unreadable {
            scan.skip(
                Gap::Unreadable,
                object_in(name, &object),
                "it is damaged: run git fsck in the repository",
            );
        }
        self.trace(repository, name, first, scan, told);
        Ok(())
    }

    /// Names the commits of the leaks from the first on.
    fn trace(
        &self,
        repository: &Repository,
        name: Option<&FilePath>,
        first: usize,
        scan: &mut Scan,
        told: &mut dyn FnMut(Progress<'_>),
    ) {
        if scan.leaks.len() == first {
            return;
        }
        told(Progress {
            stage: Stage::Commits,
            done: 0,
            total: None,
            bytes: scan.bytes,
            now: None,
        });
        let arrivals = match arrivals(repository, &scan.leaks[first..]) {
            Ok(arrivals) => arrivals,
            Err(error) => {
                let why = format!("the commits of its leaks could not be found out: {error}");
                return scan.skip(Gap::Repository, top_of(name), why);
            }
        };
        for leak in &mut scan.leaks[first..] {
            name_commits(leak, name, &arrivals);
        }
        for more in &mut scan.more {
            let object = more.object.as_deref().filter(|_| more.path.is_none());
            if let Some(arrival) = object.and_then(|object| arrivals.get(object)) {
                more.path = arrival.path.as_ref().map(|path| path_in(name, path));
            }
        }
    }

    fn objects(
        &mut self,
        repository: &Repository,
        name: Option<&FilePath>,
        answer: &mut Answer,
        total: Option<u64>,
        scan: &mut Scan,
        told: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), GitError> {
        loop {
            let Some(header) =
                line(&mut answer.stdout, b'\n').map_err(|error| repository.damaged(error))?
            else {
                return Ok(());
            };
            let header = String::from_utf8_lossy(&header).into_owned();
            let mut words = header.split(' ');
            let (object, kind, size) = (words.next(), words.next(), words.next());
            let (Some(object), Some(size)) =
                (object, size.and_then(|size| size.parse::<u64>().ok()))
            else {
                return Err(repository.damaged("an object is listed and missing"));
            };
            let kind = match kind {
                Some("blob") => ObjectKind::Blob,
                Some("commit") => ObjectKind::Commit,
                _ => ObjectKind::Tag,
            };
            let mut content = answer.stdout.by_ref().take(size);
            let stage = (Stage::Objects, total, None);
            let mut swept = sweep(&mut self.sweeper, &mut content, scan, stage, told);
            let cut = swept.cut.take();
            let short = swept.bytes < size;
            if let Some((gap, why)) = swept.head.gap() {
                scan.skip(gap, object_in(name, object), why);
            }
            scan.add(swept, object.as_bytes(), |at| Place::History {
                object: object.to_owned(),
                kind,
                at,
                repository: name.cloned(),
                path: None,
                commits: Vec::new(),
                commits_total: 0,
            });
            if let Some(error) = cut {
                return Err(repository.damaged(error));
            }
            let mut newline = [0];
            if short || answer.stdout.read_exact(&mut newline).is_err() {
                return Err(repository.damaged("an object ends early"));
            }
        }
    }
}

/// How many objects there are, about: one that is packed twice counts twice.
fn count(repository: &Repository) -> Result<Option<u64>, GitError> {
    let mut answer = repository.ask(&["count-objects", "-v"], Stdio::null())?;
    let mut text = String::new();
    let read = answer
        .stdout
        .by_ref()
        .take(LINE_MAX_BYTES)
        .read_to_string(&mut text);
    answer.end()?;
    let number = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    let counted = number("count:")
        .zip(number("in-pack:"))
        .map(|(loose, packed)| loose + packed);
    Ok(counted.filter(|_| read.is_ok()))
}

/// Passes on the names of objects of some kinds from git's list to a git that waits for them. Returns the names of
/// those of which git cannot even tell the kind.
fn forward(
    list: &mut Answer,
    stdin: ChildStdin,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<Vec<String>> {
    let mut stdin = io::BufWriter::new(stdin);
    let mut unreadable = Vec::new();
    while let Some(entry) = line(&mut list.stdout, b'\n')? {
        let entry = String::from_utf8_lossy(&entry);
        let (object, kind) = entry.split_once(' ').unwrap_or((&entry, ""));
        if !matches!(kind, "blob" | "commit" | "tag" | "tree") {
            unreadable.push(object.to_owned());
        } else if wanted(kind)
            && let Err(error) = writeln!(stdin, "{object}")
        {
            list.drain();
            return if error.kind() == io::ErrorKind::BrokenPipe {
                Ok(unreadable)
            } else {
                Err(error)
            };
        }
    }
    match stdin.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(unreadable),
    }
}

/// Which commits brought in the blobs that hold leaks. Every commit is asked, also those that no branch holds.
fn arrivals(repository: &Repository, leaks: &[Leak]) -> Result<HashMap<String, Arrival>, GitError> {
    let mut arrivals: HashMap<String, Arrival> = HashMap::new();
    for leak in leaks {
        if let Place::History {
            object,
            kind: ObjectKind::Blob,
            ..
        } = &leak.place
        {
            arrivals.entry(object.clone()).or_default();
        }
    }
    if arrivals.is_empty() {
        return Ok(arrivals);
    }
    let diff = [
        "diff-tree",
        "--stdin",
        "-r",
        "-c",
        "-z",
        "--root",
        "--raw",
        "--no-renames",
        "--no-abbrev",
    ];
    let more = ["--no-ext-diff", "--no-textconv", "--format=commit %H %ct"];
    let (mut answer, stdin) = repository.converse(&[&diff[..], &more[..]].concat())?;
    let mut list = repository.ask(
        &["cat-file", "--batch-all-objects", "--unordered", LIST],
        Stdio::null(),
    )?;
    let read = thread::scope(|scope| {
        let feed = scope.spawn(|| forward(&mut list, stdin, |kind| kind == "commit"));
        let read = read_arrivals(&mut answer, &mut arrivals);
        if read.is_err() {
            answer.stop();
        }
        read.and(feed.join().unwrap_or_else(|_| Ok(Vec::new())).map(drop))
    });
    let whole = list.end().and(answer.end());
    clearer(read.map_err(|error| repository.damaged(error)), whole)?;
    Ok(arrivals)
}

/// Reads raw differences: `commit ID TIME`, then for each changed file `:modes objects status` and its path, each
/// ended by NUL. With several parents there are as many colons, and the last object is the one that came out.
fn read_arrivals(answer: &mut Answer, arrivals: &mut HashMap<String, Arrival>) -> io::Result<()> {
    let mut commit = (0, String::new());
    while let Some(part) = line(&mut answer.stdout, 0)? {
        let text = String::from_utf8_lossy(&part);
        let text = text.trim_start_matches('\n');
        if let Some(head) = text.strip_prefix("commit ") {
            let (id, time) = head.split_once(' ').unwrap_or((head, ""));
            commit = (time.trim().parse().unwrap_or_default(), id.to_owned());
        } else if text.starts_with(':') {
            let Some(path) = line(&mut answer.stdout, 0)? else {
                return Ok(());
            };
            let parents = text.bytes().take_while(|byte| *byte == b':').count();
            let Some(object) = text.split(' ').nth(2 * parents + 1) else {
                continue;
            };
            if let Some(arrival) = arrivals.get_mut(object) {
                arrive(arrival, &commit, &path);
            }
        }
    }
    Ok(())
}

fn arrive(arrival: &mut Arrival, commit: &(i64, String), path: &[u8]) {
    arrival.total += 1;
    if arrival.commits.first().is_none_or(|first| commit < first) {
        arrival.path = Some(FilePath::from_bytes(path));
    }
    let place = arrival.commits.partition_point(|other| other < commit);
    if arrival.commits.get(place) != Some(commit) {
        arrival.commits.insert(place, commit.clone());
        arrival.commits.truncate(COMMITS_MAX);
    }
}

/// A path within a repository, below what is scanned.
fn path_in(repository: Option<&FilePath>, path: &FilePath) -> FilePath {
    repository.map_or_else(|| path.clone(), |repository| repository.join(path))
}

/// How an object is named where it has no path.
fn object_in(repository: Option<&FilePath>, object: &str) -> FilePath {
    let object = FilePath::from_bytes(format!("object {object}").as_bytes());
    path_in(repository, &object)
}

fn name_commits(
    leak: &mut Leak,
    repository: Option<&FilePath>,
    arrivals: &HashMap<String, Arrival>,
) {
    let Place::History {
        object,
        kind,
        path,
        commits,
        commits_total,
        ..
    } = &mut leak.place
    else {
        return;
    };
    match kind {
        ObjectKind::Commit => {
            *commits = vec![object.clone()];
            *commits_total = 1;
        }
        ObjectKind::Tag => {}
        ObjectKind::Blob => {
            if let Some(arrival) = arrivals.get(object.as_str()) {
                *path = arrival.path.as_ref().map(|path| path_in(repository, path));
                *commits = arrival.commits.iter().map(|(_, id)| id.clone()).collect();
                *commits_total = arrival.total;
            }
        }
    }
}
