//! How the files of the tree are written: where a clock is read, how long a file and a function are, what a text says and names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::tree::{ROOT, files_below, modules, text};

const FILE_MAX_LINES: usize = 500;
const FUNCTION_MAX_LINES: usize = 100;

fn rust_files() -> Vec<PathBuf> {
    let mut files = files_below("");
    files.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    assert!(files.len() > 100, "the tree was not found");
    files
}

/// The sentences of a text; a full stop within backticks ends none.
fn sentences(text: &str) -> Vec<&str> {
    let (mut found, mut begin, mut quoted) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        quoted ^= character == '`';
        let behind = &text[at + character.len_utf8()..];
        if !quoted && ".!?".contains(character) && (behind.is_empty() || behind.starts_with(' ')) {
            found.push(text[begin..at].trim());
            begin = at + character.len_utf8();
        }
    }
    found
}

/// A browser leaves out the sentences of a remedy that name a command: one for every surface has to be left.
#[test]
fn a_remedy_that_names_a_command_says_what_to_do_without_it_too() {
    let mut remedies = 0;
    for crate_name in ["core", "gateway"] {
        let product = modules(crate_name).into_iter();
        for (module, code) in product.filter(|(module, _)| !module.ends_with("tests")) {
            for literal in code.split('"') {
                let lines = literal.split("\\\n").map(str::trim_start);
                let text = lines.collect::<String>();
                if text.contains("`hearthkey ") {
                    remedies += 1;
                    let plain = |one: &&str| !one.contains('`');
                    let left = sentences(&text).into_iter().find(plain);
                    assert!(left.is_some(), "{crate_name}::{module}: {text:?}");
                }
            }
        }
    }
    assert!(remedies > 50, "only {remedies} were found");
}

/// Where a clock may be read, and which.
fn may_read(path: &Path, line: &str) -> bool {
    let monotonic = !line.contains("SystemTime") && !line.contains("Utc");
    let name = path.file_name().unwrap();
    // The broker's timers, the demonstration's measurements and deadlines in tests run on tokio's.
    let timers = path.starts_with("crates/broker")
        || path.starts_with("tests")
        || path.starts_with("crates/store/tests")
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
    const NAMELESS: [&str; 7] = [
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
        // A room of the gateway, or one of its corners: its parts are listed there.
        let is_room = path.starts_with("crates/gateway/src");
        assert!(name != "mod.rs" || is_room, "{}", path.display());
    }
}

/// The functions of a text: in which line each begins, and how many lines it has, by its indentation.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let before = code.split_once("fn ").map(|(before, _)| before);
        let words = ["pub ", "pub(", "const ", "async ", "unsafe ", "extern "];
        if !before.is_some_and(|it| it.is_empty() || words.iter().any(|word| it.starts_with(word)))
        {
            continue;
        }
        let is_end = |(n, line): (usize, &&str)| {
            let rest = line.strip_prefix(indent).unwrap_or_default();
            // One without a body, or with all of it in one line.
            let is_whole = n == 0 && rest.ends_with(['}', ';']);
            is_whole || rest == "}" || rest.starts_with(')') && rest.ends_with(';')
        };
        if let Some(last) = lines[at..].iter().enumerate().position(is_end) {
            found.push((at + 1, last + 1));
        }
    }
    found
}

#[test]
fn no_function_is_longer_than_a_hundred_lines() {
    let mut seen = 0;
    for path in rust_files() {
        for (line, lines) in functions(&text(&path).unwrap_or_default()) {
            seen += 1;
            assert!(
                lines <= FUNCTION_MAX_LINES,
                "{}:{line} has a function of {lines} lines",
                path.display()
            );
        }
    }
    assert!(seen > 1000, "only {seen} were found");
}

#[test]
fn a_function_is_counted_to_its_closing_brace() {
    let text = "fn a() {}\npub(crate) async fn b(\n    c: u8,\n) -> u8 {\n    if c {\n    }\n}\n\
                trait D {\n    fn e(\n        f: u8,\n    );\n    fn g();\n}\n";
    assert_eq!(functions(text), [(1, 1), (2, 6), (9, 3), (12, 1)]);
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
