//! Rules about the tree itself: what may import what, and where a clock may be read. What may be linked is in deny.toml.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Directories that are made, not written.
const MADE: [&str; 6] = ["target", ".git", "node_modules", ".demo", "dist", ".cargo"];
const FILE_MAX_LINES: usize = 600;

/// Every written file below a directory, relative to the repository.
fn files_below(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![Path::new(ROOT).join(directory)];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !MADE.iter().any(|made| name == *made) {
                waiting.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path().strip_prefix(ROOT).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<PathBuf> {
    let mut files = files_below("");
    files.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    assert!(files.len() > 100, "the tree was not found");
    files
}

/// A file's text, or none if it is no text or has gone since it was listed.
fn text(path: &Path) -> Option<String> {
    fs::read_to_string(Path::new(ROOT).join(path)).ok()
}

fn manifest(path: &str) -> toml::Table {
    text(Path::new(path)).unwrap().parse().unwrap()
}

fn our_imports(manifest: &toml::Table, table: &str) -> BTreeSet<String> {
    let Some(table) = manifest.get(table).and_then(|table| table.as_table()) else {
        return BTreeSet::new();
    };
    let ours = table
        .keys()
        .filter_map(|name| name.strip_prefix("hearthkey-"));
    ours.map(str::to_owned).collect()
}

#[test]
fn the_imports_between_crates_point_one_way() {
    const ALLOWED: [(&str, &[&str]); 11] = [
        ("crates/core", &[]),
        ("crates/pki", &["core"]),
        ("crates/store", &["core"]),
        ("crates/broker", &["core"]),
        ("crates/bridges", &["core"]),
        ("crates/api", &[]),
        ("crates/discovery", &["core"]),
        (
            "crates/gateway",
            &[
                "core",
                "pki",
                "store",
                "broker",
                "bridges",
                "discovery",
                "api",
            ],
        ),
        ("crates/agent", &[]),
        (".", &["gateway", "api", "agent", "discovery"]),
        ("src-tauri", &["gateway"]),
    ];
    for (package, allowed) in ALLOWED {
        let manifest = manifest(&format!("{package}/Cargo.toml"));
        for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
            // The stories play a thief who opens the vault; the program itself never goes past its gateway.
            let thief = package == "." && table == "dev-dependencies";
            for import in our_imports(&manifest, table) {
                assert!(
                    allowed.contains(&import.as_str()) || (thief && import == "store"),
                    "{package} must not import {import} ({table})"
                );
            }
        }
    }
    for entry in fs::read_dir(Path::new(ROOT).join("crates")).unwrap() {
        let name = format!("crates/{}", entry.unwrap().file_name().display());
        assert!(
            ALLOWED.iter().any(|(package, _)| *package == name),
            "{name} has no import rule"
        );
    }
}

#[test]
fn the_service_and_the_agent_are_built_without_a_window() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix", "none"])
        .args(["--edges", "normal,build", "--package", "hearthkey"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("hearthkey-gateway"), "the tree was not found");
    for window in ["tauri", "wry", "gtk", "webkit", "soup"] {
        let found = tree.lines().find(|line| line.starts_with(window));
        assert_eq!(found, None);
    }
}

#[test]
fn the_core_reads_no_clock_no_file_and_no_socket() {
    for path in files_below("crates/core/src") {
        let text = text(&path).unwrap_or_default();
        for word in [
            "std::fs",
            "std::net::Tcp",
            "std::process",
            "tokio",
            "::now()",
        ] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn migrations_are_numbered_without_gaps_and_each_is_run() {
    let connection = text(Path::new("crates/store/src/connection.rs")).unwrap();
    let names: Vec<String> = files_below("migrations")
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(!names.is_empty());
    let mut last = 0;
    for (n, name) in names.iter().enumerate() {
        assert!(name.starts_with(&format!("{:04}_", n + 1)), "{name}");
        let listed = connection.find(&format!("migrations/{name}\""));
        assert!(listed > Some(last), "{name} is not run in its turn");
        last = listed.unwrap();
    }
}

/// Where a clock may be read, and which.
fn may_read(path: &Path, line: &str) -> bool {
    let monotonic = !line.contains("SystemTime") && !line.contains("Utc");
    let name = path.file_name().unwrap();
    // The broker's timers, the demonstration's measurements and deadlines in tests run on tokio's.
    let timers = path.starts_with("crates/broker")
        || path.starts_with("tests")
        || path == Path::new("src/stopwatch.rs");
    name == "clock.rs" || (monotonic && timers)
}

#[test]
fn a_clock_is_read_only_in_a_file_named_clock() {
    let reads = [
        concat!("System", "Time::now"),
        concat!("Inst", "ant::now"),
        concat!("Ut", "c::now"),
        concat!("OffsetDate", "Time::now_utc"),
    ];
    for path in rust_files() {
        let text = text(&path).unwrap_or_default();
        for (n, line) in text.lines().enumerate() {
            let read = reads.iter().any(|read| line.contains(read));
            assert!(
                !read || may_read(&path, line),
                "{}:{} reads a clock",
                path.display(),
                n + 1
            );
        }
    }
    let lint = text(Path::new("clippy.toml")).unwrap();
    for method in ["time::SystemTime", "time::Instant", "thread::sleep"] {
        let method = format!("\"std::{method}");
        assert!(lint.contains(&method), "clippy.toml lets {method} through");
    }
}

#[test]
fn a_file_is_short_and_has_a_noun_for_a_name() {
    const NAMELESS: [&str; 8] = [
        "mod.rs",
        "util.rs",
        "utils.rs",
        "helpers.rs",
        "common.rs",
        "misc.rs",
        "types.rs",
        "helper.rs",
    ];
    for path in rust_files() {
        let lines = text(&path).unwrap_or_default().lines().count();
        assert!(
            lines <= FILE_MAX_LINES,
            "{} has {lines} lines",
            path.display()
        );
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!NAMELESS.contains(&name.as_str()), "{}", path.display());
    }
}

#[test]
fn every_test_that_is_ignored_says_why() {
    let bare = concat!("#[igno", "re]");
    let reasoned = concat!("#[igno", "re = \"");
    for path in rust_files() {
        for line in text(&path).unwrap_or_default().lines() {
            assert!(!line.contains(bare), "{}: {line}", path.display());
            let empty = line
                .split(reasoned)
                .nth(1)
                .is_some_and(|why| why.starts_with('"'));
            assert!(!empty, "{}: {line}", path.display());
        }
    }
}

#[test]
fn no_file_names_a_directory_of_the_machine_it_was_written_on() {
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    for path in files_below("") {
        for line in text(&path).unwrap_or_default().lines() {
            // As a path of its own: a topic may have a level of that name.
            let begins = |at: usize| !line[..at].ends_with(char::is_alphanumeric);
            let named = paths
                .iter()
                .any(|machine| line.match_indices(machine).any(|(at, _)| begins(at)));
            assert!(!named, "{}: {line}", path.display());
        }
    }
}

#[test]
fn no_file_names_a_private_registry_or_proxy() {
    let words = [
        "registry",
        "artifactory",
        "nexus",
        "proxy",
        "mirror",
        "internal",
        "corp",
        "intranet",
    ];
    let public = [
        "registry.npmjs.org",
        "proxy.golang.org",
        "developer.hashicorp.com",
    ];
    for path in files_below("") {
        let text = text(&path).unwrap_or_default();
        for scheme in ["http://", "https://"] {
            for after in text.split(scheme).skip(1) {
                let end = |c: char| !c.is_ascii_alphanumeric() && !"-._@:".contains(c);
                let host = after.split(end).next().unwrap_or_default();
                let private = words.iter().any(|word| host.contains(word)) || host.contains('@');
                assert!(
                    !private || public.contains(&host),
                    "{} names {host}",
                    path.display()
                );
            }
        }
    }
}

/// The targets of a page's links to files of the tree, without their anchors.
fn links_of(page: &str) -> Vec<String> {
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with(['#', '<']))
        .map(|target| {
            target
                .split(['#', ' '])
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .filter(|target| !target.is_empty() && !target.starts_with("mailto:"))
        .collect()
}

#[test]
fn every_page_that_a_page_links_to_exists() {
    let mut missing = BTreeMap::new();
    for path in files_below("") {
        if path.extension().is_none_or(|end| end != "md") {
            continue;
        }
        let directory = Path::new(ROOT).join(path.parent().unwrap());
        for link in links_of(&text(&path).unwrap_or_default()) {
            if !directory.join(&link).exists() {
                missing.insert(link, path.display().to_string());
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
