//! Rules about the tree itself: what may import what, and what may name what. What may be linked is in deny.toml; how its files
//! are written: [`crate::habits`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Directories that are made, not written.
const MADE: [&str; 6] = ["target", ".git", "node_modules", ".demo", "dist", ".cargo"];

/// Every written file below a directory, relative to the repository.
pub fn files_below(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![Path::new(ROOT).join(directory)];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let kind = entry.file_type().unwrap();
            // In a second working tree of git, `.git` is a file.
            if MADE.iter().any(|made| name == *made) {
                continue;
            }
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path().strip_prefix(ROOT).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A file's text, or none if it is no text or has gone since it was listed.
pub fn text(path: &Path) -> Option<String> {
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
    const ALLOWED: [(&str, &[&str]); 12] = [
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
        ("crates/bench", &["gateway", "api", "agent"]),
        (".", &["gateway", "api", "agent", "discovery"]),
        ("src-tauri", &["gateway"]),
    ];
    for (package, allowed) in ALLOWED {
        let manifest = manifest(&format!("{package}/Cargo.toml"));
        for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
            // The stories play a thief who opens the vault, and fill a log; the program itself never goes past its gateway.
            let thief = package == "." && table == "dev-dependencies";
            for import in our_imports(&manifest, table) {
                assert!(
                    allowed.contains(&import.as_str())
                        || (thief && ["core", "store"].contains(&import.as_str())),
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

/// The modules of a crate that are files, by their paths (`engine::topics`), and their text without tests and comments.
pub fn modules(crate_name: &str) -> BTreeMap<String, String> {
    let src = Path::new("crates").join(crate_name).join("src");
    let of_file = |path: PathBuf| {
        let name = path.strip_prefix(&src).ok()?.with_extension("");
        let name = name.to_str()?.replace('/', "::");
        let name = name.strip_suffix("::mod").unwrap_or(&name).to_owned();
        let whole = text(&path)?;
        let code = whole.split("#[cfg(test)]\nmod tests {").next()?;
        let lines = code
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        Some((name, lines.collect::<Vec<_>>().join("\n")))
    };
    let files = files_below(src.to_str().unwrap()).into_iter();
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    // Tests in files of their own name what they try.
    let is_test = |path: &PathBuf| {
        let in_folder = path.components().any(|part| part.as_os_str() == "tests");
        in_folder || path.ends_with("tests.rs") || path.ends_with("testing.rs")
    };
    let files = files.filter(|path| !is_test(path));
    files.filter_map(of_file).collect()
}

/// Reads a path, or a tree of them (`crate::a::{b, c::d}`). Returns what follows it.
fn read_paths<'a>(
    mut rest: &'a str,
    mut path: Vec<&'a str>,
    all: &mut Vec<Vec<&'a str>>,
) -> &'a str {
    loop {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        path.push(word);
        match behind.strip_prefix("::") {
            Some(list) if list.starts_with('{') => {
                rest = list[1..].trim_start();
                while !rest.is_empty() && !rest.starts_with('}') {
                    let behind = read_paths(rest, path.clone(), all);
                    let next = behind.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
                    // What is no path is passed over.
                    rest = if next.len() == rest.len() {
                        &next[1..]
                    } else {
                        next
                    };
                }
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            Some(more) => rest = more,
            None => {
                all.push(path);
                return behind;
            }
        }
    }
}

/// The modules whose items a module names.
fn named_by(module: &str, code: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let starts = code
        .match_indices("crate::")
        .chain(code.match_indices("super::"));
    let starts = starts.filter(|(at, _)| {
        let before = code[..*at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'))
    });
    let mut paths = Vec::new();
    for (at, _) in starts {
        read_paths(&code[at..], Vec::new(), &mut paths);
    }
    let whole = paths.into_iter().map(|path| {
        let mut base: Vec<&str> = module.split("::").collect();
        let ups = path.iter().take_while(|word| **word == "super").count();
        match path[0] {
            "crate" => path[1..].to_vec(),
            _ => {
                base.truncate(base.len().saturating_sub(ups));
                [base, path[ups..].to_vec()].concat()
            }
        }
    });
    let file = |path: Vec<&str>| {
        let mut prefixes = (1..=path.len())
            .rev()
            .map(|length| path[..length].join("::"));
        prefixes.find(|prefix| modules.contains_key(prefix))
    };
    whole
        .filter_map(file)
        .filter(|named| named != module)
        .collect()
}

/// The parts that a room's own file (`mod.rs`) takes things from: `use part::Thing`.
fn parts_named_by(
    module: &str,
    code: &str,
    modules: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let parts = code.lines().filter_map(|line| {
        let line = line.trim_start_matches("pub(crate) ");
        let (part, _) = line.strip_prefix("use ")?.split_once("::")?;
        Some(format!("{module}::{part}"))
    });
    parts.filter(|part| modules.contains_key(part)).collect()
}

/// Files that name each other in a circle cannot be understood, or moved, one at a time.
#[test]
fn no_files_of_a_crate_name_each_other_in_a_circle() {
    for crate_name in [
        "agent",
        "api",
        "bench",
        "bridges",
        "broker",
        "core",
        "discovery",
        "gateway",
        "pki",
        "store",
    ] {
        let modules = modules(crate_name);
        assert!(modules.len() > 5, "{crate_name}");
        let mut left: BTreeMap<&String, BTreeSet<String>> = modules
            .iter()
            .map(|(name, code)| (name, named_by(name, code, &modules)))
            .collect();
        // The files of its rooms hold the rooms' state: what that is made of must not name the room again.
        if crate_name == "gateway" {
            for (name, named) in &mut left {
                named.extend(parts_named_by(name, &modules[*name], &modules));
            }
        }
        assert!(left.values().any(|named| !named.is_empty()), "{crate_name}");
        loop {
            let free = |named: &BTreeSet<String>| !named.iter().any(|name| left.contains_key(name));
            let ends: Vec<&String> = left
                .iter()
                .filter(|(_, named)| free(named))
                .map(|(name, _)| *name)
                .collect();
            if ends.is_empty() {
                break;
            }
            left.retain(|name, _| !ends.contains(name));
        }
        assert!(
            left.is_empty(),
            "a circle in {crate_name}, or on a way to one: {left:?}"
        );
    }
}

/// The floors of the gateway, the lowest first: what is on one names what is on it or below, and in the middle, among use
/// cases, what is further left.
const FLOORS: [&[&str]; 5] = [
    &["state"],
    &["trust", "auth"],
    &[
        "audit", "backups", "devices", "vault", "tokens", "bulk", "people", "unlock", "posture",
    ],
    &["home"],
    &["mqtt", "http"],
];
/// The floor that assembles, and what measures beside it.
const ROOF: [&str; 2] = ["process", "measure"];

#[test]
fn the_arrows_between_the_rooms_of_the_gateway_point_down() {
    let modules = modules("gateway");
    let room = |module: &str| module.split("::").next().unwrap_or_default().to_owned();
    let ranks: Vec<&str> = FLOORS
        .iter()
        .flat_map(|floor| floor.iter().copied())
        .collect();
    let rank = |room: &str| ranks.iter().position(|known| *known == room);
    for (module, code) in &modules {
        let own = room(module);
        if module == "lib" || ROOF.contains(&own.as_str()) {
            continue;
        }
        let own_rank = rank(&own);
        assert!(own_rank.is_some(), "{module} is in no room that is known");
        for named in named_by(module, code, &modules) {
            let other = room(&named);
            let neighbors =
                FLOORS[4].contains(&own.as_str()) && FLOORS[4].contains(&other.as_str());
            let points_down = rank(&other) <= own_rank && rank(&other).is_some();
            assert!(
                points_down && (own == other || !neighbors),
                "{module} must not name {named}"
            );
        }
    }
}

#[test]
fn the_gateway_has_no_file_outside_its_rooms() {
    for path in files_below("crates/gateway/src") {
        let inside = path.strip_prefix("crates/gateway/src").unwrap();
        let is_outside = inside.components().count() == 1;
        assert!(
            !is_outside || inside == Path::new("lib.rs"),
            "{}",
            path.display()
        );
    }
}

/// What is declared of a route is declared beside its handler, once: nothing else has a path of the API as a text.
#[test]
fn a_route_is_declared_only_beside_its_handler() {
    for (module, code) in modules("gateway") {
        if !module.starts_with("http") || module.starts_with("http::routes::") {
            continue;
        }
        for line in code.lines().filter(|line| line.contains("\"/api/v1/")) {
            // The contract describes the handlers, and has none.
            assert!(line.contains("openapi.json"), "{module}: {line}");
        }
    }
    let routes: Vec<_> = modules("gateway")
        .into_keys()
        .filter(|module| module.starts_with("http::routes::"))
        .collect();
    assert!(routes.len() > 8, "{routes:?}");
}

/// A use case is asked with leave to do it ([`Permit`], or a caller that is judged), never with a name for the log alone.
#[test]
fn no_use_case_takes_an_actor() {
    let rooms = [
        "devices", "vault", "tokens", "bulk", "people", "posture", "unlock", "audit", "home",
    ];
    for (module, code) in modules("gateway") {
        if !rooms.contains(&module.split("::").next().unwrap_or_default()) {
            continue;
        }
        for (at, _) in code.match_indices("pub(crate) ") {
            let item = &code[at..];
            let head = item.split_once("{").map_or(item, |(head, _)| head);
            let is_function = head.split_whitespace().take(3).any(|word| word == "fn");
            let takes = ["actor: Actor", "actor: &Actor", "by: &Actor"];
            let taken = takes.iter().any(|one| head.contains(one));
            assert!(!is_function || !taken, "{module}: {head}");
        }
    }
}

#[test]
fn what_a_file_names_is_read_from_its_paths() {
    let names = ["a", "a::b", "c", "lib"].map(|name| (name.to_owned(), String::new()));
    let modules = BTreeMap::from(names);
    let code =
        "use crate::{c::{Deep, Other}, a::b::Thing};\nfn x() { super::top(); not_crate::c(); }";
    let named = named_by("a::d", code, &modules);
    assert_eq!(Vec::from_iter(named), ["a", "a::b", "c"]);
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
