//! `hearthkey credential scan`: leaked values, in trees, whole git histories and what is staged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use hearthkey_api::{Client, FindingReport, FindingView, MarksView};
use hearthkey_discovery::scan::{
    IGNORE_FILE, IgnoreState, Ignores, Leak, LeakId, MarkKey, Marks, Place, Progress as At, Report,
    Scan as Found, Scanner, What, enclosing_repository, install_hook, repository_around, sarif,
};
use serde::Serialize;

use crate::context::{Context, Nothing};
use crate::failure::{Failure, code};
use crate::progress::Progress;
use crate::table::count;

/// The exit code when something was found.
const EXIT_FOUND: u8 = 3;
/// The exit code when nothing was found, and not everything could be looked at.
const EXIT_NOT_WHOLE: u8 = 4;
/// The longest ignore file, in bytes.
const IGNORE_MAX_BYTES: u64 = 1024 * 1024;
/// Findings that are reported to the gateway by one scan at most.
const REPORTED_MAX: usize = 100;

/// What is scanned.
#[derive(Debug, Args)]
pub struct Scan {
    /// Directories, files and repositories; of every repository in them, its whole history too.
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Scan only what is staged for the next commit, as the pre-commit hook does.
    #[arg(long, conflicts_with = "tree_only")]
    staged: bool,
    /// Skip the histories.
    #[arg(long)]
    tree_only: bool,
    /// Scan only for known forms of secrets, without a gateway.
    #[arg(long)]
    offline: bool,
    /// Scan only for the vault's own values.
    #[arg(long, conflicts_with = "offline")]
    own_only: bool,
    /// Write the result as SARIF 2.1.0.
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// Replace an existing SARIF file.
    #[arg(long, requires = "sarif")]
    replace: bool,
    /// What is ignored, and why [default: .hearthkeyignore.toml in the first path].
    #[arg(long, value_name = "FILE")]
    ignore: Option<PathBuf>,
    /// Do not report the findings to the gateway.
    #[arg(long)]
    no_report: bool,
    /// Install the pre-commit hook into the repository of the path, and scan nothing.
    #[arg(long, conflicts_with_all = ["staged", "sarif", "ignore"])]
    install_hook: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    report: &'a Report,
    not_looked_for: &'a [String],
    /// What to do about the vault's own values, by the leaks' fingerprints, as the gateway says it.
    #[serde(skip)]
    told: &'a BTreeMap<LeakId, String>,
}

#[derive(Serialize)]
struct Hooked<'a> {
    hook: &'a Path,
    already: bool,
    shared: bool,
}

fn failed(error: &impl std::fmt::Display) -> Failure {
    Failure::local(
        code::SCAN,
        "The scan could not be finished.",
        format!("{error}."),
        "Fix that, then scan again. Nothing was changed.",
    )
}

impl Scan {
    /// Scans, and fails with exit code 3 if something was found, 4 if nothing was and not everything was looked at.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let first = self.paths.first().map_or(Path::new("."), PathBuf::as_path);
        if self.install_hook {
            return hook(context, first);
        }
        let ignores = self.ignores(first)?;
        let client = if self.offline {
            None
        } else {
            Some(context.client()?)
        };
        let mut not_looked_for = Vec::new();
        let marks = match &client {
            Some(client) => {
                let view: MarksView = client
                    .post("/api/v1/credentials/marks", &Nothing {})
                    .await?;
                not_looked_for = view.not_marked;
                let text = std::str::from_utf8(view.marks.expose()).unwrap_or_default();
                Marks::from_text(text).map_err(|error| Failure::garbled(&error.to_string()))?
            }
            None => Marks::new(MarkKey::from_random([0; 32]), 0),
        };
        let mut scanner = Scanner::new(marks, !self.own_only);
        let progress = Progress::new(context, "");
        let found = tokio::task::block_in_place(|| self.scan(&mut scanner, &progress));
        progress.done();
        let now = crate::clock::now();
        let mut found = found?;
        for what in &not_looked_for {
            found.leave_out(format!("not looked for: {what}"));
        }
        let report = ignores.judge(found, now);
        if let Some(path) = &self.sarif {
            let text = sarif(&report, env!("CARGO_PKG_VERSION"));
            crate::out_file::OutFile::write(path, text.as_bytes(), self.replace)?;
        }
        let told = match client.filter(|_| !self.no_report) {
            Some(client) => tell(&client, &report, first).await?,
            None => Told::default(),
        };
        if told.untold > 0 {
            context.output.aside(&format!(
                "{REPORTED_MAX} leaks were reported to the gateway, and {} more were not: scan again once those are put right.",
                told.untold
            ));
        }
        let told = told.remedies;
        let answer = Answer {
            report: &report,
            told: &told,
            not_looked_for: &not_looked_for,
        };
        context.output.answer(&answer, || text(&answer))?;
        self.verdict(&report)
    }

    /// The exit code. A commit is refused for what was found in it, not for what cannot be looked into.
    fn verdict(&self, report: &Report) -> Result<(), Failure> {
        let found = report.scan.leaks.len() as u64 + report.scan.more_leaks;
        if found > 0 {
            return Err(Failure::Answered {
                why: format!("{} found.", count(found, "leak")),
                exit: EXIT_FOUND,
            });
        }
        if report.scan.is_whole() || self.staged {
            return Ok(());
        }
        Err(Failure::Answered {
            why: "No leak found, but not everything was scanned.".to_owned(),
            exit: EXIT_NOT_WHOLE,
        })
    }

    fn ignores(&self, first: &Path) -> Result<Ignores, Failure> {
        let path = match &self.ignore {
            Some(path) => path.clone(),
            None => {
                let directory = if self.staged {
                    repository_around(first)
                } else {
                    None
                };
                let path = directory
                    .unwrap_or_else(|| first.to_owned())
                    .join(IGNORE_FILE);
                if !path.is_file() {
                    return Ok(Ignores::default());
                }
                path
            }
        };
        let unreadable = |error: &std::io::Error| Failure::file("read", &path, error);
        if std::fs::metadata(&path)
            .map_err(|error| unreadable(&error))?
            .len()
            > IGNORE_MAX_BYTES
        {
            return Err(Failure::content(&path, "it is longer than 1 MiB"));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
        Ignores::from_toml(&text).map_err(|error| Failure::content(&path, &error.to_string()))
    }

    fn scan(&self, scanner: &mut Scanner, progress: &Progress) -> Result<Found, Failure> {
        let mut told = |at: At<'_>| {
            progress.at(at.done, at.total.unwrap_or(at.done));
            progress.now(at.now.map(ToString::to_string).unwrap_or_default());
        };
        let mut all = Found::default();
        for path in &self.paths {
            if self.staged {
                let repository = repository_around(path).ok_or_else(|| {
                    Failure::usage(&format!("{} is in no git repository", path.display()))
                })?;
                let index = std::env::var_os("GIT_INDEX_FILE").map(PathBuf::from);
                let found = scanner.staged(&repository, index.as_deref(), &mut told);
                all.merge(found.map_err(|error| failed(&error))?);
                continue;
            }
            let found = if self.tree_only {
                scanner.tree(path, &mut told)
            } else {
                scanner.everything(path, &mut told)
            };
            all.merge(found.map_err(|error| failed(&error))?);
            if let Some(around) = enclosing_repository(path) {
                all.leave_out(format!(
                    "not read: the history of {around}, of which {} is a part: name its top directory",
                    path.display()
                ));
            }
        }
        if self.tree_only {
            all.leave_out("not read: histories (--tree-only)");
        }
        if self.offline {
            all.leave_out("not looked for: the vault's own values (--offline)");
        }
        if self.own_only {
            all.leave_out("not looked for: known forms of secrets (--own-only)");
        }
        Ok(all)
    }
}

fn hook(context: &Context, path: &Path) -> Result<(), Failure> {
    let repository = repository_around(path).unwrap_or_else(|| path.to_owned());
    let installed = install_hook(&repository).map_err(|error| {
        Failure::with_cause(
            code::SCAN,
            "The hook was not installed.",
            &error,
            "Fix that, then try again.",
        )
    })?;
    let hooked = Hooked {
        hook: &installed.path,
        already: installed.already,
        shared: installed.shared,
    };
    context.output.answer(&hooked, || match installed.already {
        true => format!("{} already scans for secrets.", installed.path.display()),
        false => format!(
            "{} now scans every commit for secrets.",
            installed.path.display()
        ),
    })
}

/// The credential of a label: `home/hue/api-key v3`.
fn credential_of(leak: &Leak) -> Option<&str> {
    match &leak.what {
        What::Own { label, .. } => label.rsplit_once(' ').map(|(name, _)| name),
        What::Rule { .. } => None,
    }
}

fn version_of(leak: &Leak) -> Option<u32> {
    match &leak.what {
        What::Own { label, .. } => label.rsplit_once(" v")?.1.parse().ok(),
        What::Rule { .. } => None,
    }
}

fn place_of(place: &Place) -> String {
    let at = place.at();
    match place {
        Place::File { path, .. } => format!("{path}:{}:{}", at.line, at.column),
        Place::Staged { path, .. } => format!("staged {path}:{}:{}", at.line, at.column),
        Place::History {
            object,
            repository,
            path,
            commits,
            ..
        } => {
            let path = match (path, repository) {
                (Some(path), _) => path.to_string(),
                (None, Some(repository)) => format!("no path in {repository}"),
                (None, None) => "no path".to_owned(),
            };
            let commit = commits.first().map_or("no commit", String::as_str);
            format!(
                "commit {commit:.12} {path}:{}:{} (object {object:.12})",
                at.line, at.column
            )
        }
    }
}

fn what_of(what: &What) -> String {
    match what {
        What::Own { label, encodings } if encodings.is_empty() => label.clone(),
        What::Own { label, encodings } => {
            let words: Vec<&str> = encodings.iter().map(|encoding| encoding.as_str()).collect();
            format!("{label}, written as {}", words.join(" in "))
        }
        What::Rule { name, excerpt, .. } => format!("{name} ({excerpt})"),
    }
}

/// The first of each name comes before the second of any.
fn firsts_first<'a, T>(all: impl Iterator<Item = (T, &'a str)>) -> Vec<(T, &'a str)> {
    let mut seen = BTreeSet::new();
    let (mut firsts, others): (Vec<_>, Vec<_>) = all.partition(|(_, name)| seen.insert(*name));
    firsts.extend(others);
    firsts
}

/// What the gateway was told of.
#[derive(Default)]
struct Told {
    /// What to do, by the leaks' fingerprints.
    remedies: BTreeMap<LeakId, String>,
    /// How many leaks it was not told of.
    untold: usize,
}

/// Tells the gateway which of its values have leaked: each is a finding.
async fn tell(client: &Client, report: &Report, scanned: &Path) -> Result<Told, Failure> {
    let mut remedies = BTreeMap::new();
    let scanned = std::path::absolute(scanned).unwrap_or_else(|_| scanned.to_owned());
    let leaks = report.scan.leaks.iter();
    let own = leaks.filter_map(|leak| Some((leak, credential_of(leak)?)));
    // Of no credential that has leaked the gateway hears nothing because another has leaked in many places.
    let own = firsts_first(own);
    let untold = own.len().saturating_sub(REPORTED_MAX);
    for (leak, credential) in own.into_iter().take(REPORTED_MAX) {
        let mut place = format!("{}: {}", scanned.display(), place_of(&leak.place));
        place = crate::output::visible(&place).chars().take(200).collect();
        let finding = FindingReport {
            kind: "leaked".into(),
            credential: Some(credential.to_owned()),
            version: version_of(leak),
            place,
            what: what_of(&leak.what).chars().take(200).collect(),
        };
        let found: FindingView = client.post("/api/v1/findings", &finding).await?;
        remedies.insert(leak.fingerprint, found.remedy);
    }
    Ok(Told { remedies, untold })
}

fn text(answer: &Answer<'_>) -> String {
    let report = answer.report;
    let mut lines = Vec::new();
    for leak in &report.scan.leaks {
        lines.push(format!(
            "{}\n  {}\n  finding {}",
            place_of(&leak.place),
            what_of(&leak.what),
            leak.fingerprint
        ));
        if let Some(remedy) = answer.told.get(&leak.fingerprint) {
            lines.push(format!("  {remedy}"));
        }
    }
    for skipped in &report.scan.skipped {
        lines.push(format!(
            "not read: {}: {} ({})",
            skipped.path, skipped.why, skipped.gap
        ));
    }
    let beyond = report.scan.more_skipped.iter();
    lines.extend(beyond.map(|(gap, number)| format!("not read: {number} more ({gap})")));
    lines.extend(report.scan.left_out.iter().cloned());
    for ignore in &report.ignores {
        match ignore.state {
            IgnoreState::Unused => lines.push(format!(
                "ignore entry {} hides nothing: {}",
                ignore.entry, ignore.reason
            )),
            IgnoreState::Expired => lines.push(format!(
                "ignore entry {} has expired: {}",
                ignore.entry, ignore.reason
            )),
            IgnoreState::Used(_) => {}
        }
    }
    lines.push(summary(report));
    lines.join("\n")
}

/// The last line: how much was found, read, left unread and ignored.
fn summary(report: &Report) -> String {
    let scan = &report.scan;
    let more = match scan.more_leaks {
        0 => String::new(),
        number => format!(", and {number} beyond the bounds{}", by_rule(scan)),
    };
    let named = scan.skipped.iter().filter(|one| one.gap.may_hide()).count() as u64;
    let beyond = scan.more_skipped.iter().filter(|(gap, _)| gap.may_hide());
    let unread = match named + beyond.map(|(_, number)| number).sum::<u64>() {
        0 => String::new(),
        number => format!("; not looked at: {}", count(number, "thing")),
    };
    let accepted = match report.accepted.len() as u64 {
        0 => String::new(),
        number => format!(" ({} not looked at and accepted)", count(number, "thing")),
    };
    format!(
        "{} in {} read ({} bytes){more}{unread}; {} ignored{accepted}.",
        count(scan.leaks.len() as u64, "leak"),
        count(scan.texts, "text"),
        scan.bytes,
        report.suppressed.len() as u64 + report.suppressed_more,
    )
}

/// How many leaks beyond the bounds each rule has.
fn by_rule(scan: &Found) -> String {
    let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
    for more in &scan.more {
        let rule = more.rule.as_deref().unwrap_or("own values");
        *numbers.entry(rule).or_default() += more.number;
    }
    let each: Vec<String> = numbers
        .iter()
        .map(|(rule, number)| format!("{rule} {number}"))
        .collect();
    if each.is_empty() {
        return String::new();
    }
    format!(" ({})", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_among_the_first_however_often_another_comes() {
        let all = [(1, "hue"), (2, "hue"), (3, "mqtt"), (4, "hue"), (5, "mqtt")];
        let order = firsts_first(all.into_iter());
        let numbers: Vec<i32> = order.into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [1, 3, 2, 4, 5]);
    }
}
