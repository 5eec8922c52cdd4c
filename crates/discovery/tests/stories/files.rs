//! Trees are read as they are: hostile names, links, holes, pipes, and files that nobody may read.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use hearthkey_discovery::scan::{Scanner, Stage, TreeError};

use crate::wanted::{LABEL, VALUE, marks, rules, scanner, token, told, tree};

#[test]
fn ignored_and_hidden_files_are_read_and_the_inside_of_git_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    fs::create_dir_all(at(".git/refs")).unwrap();
    fs::create_dir_all(at("sub/.hidden")).unwrap();
    fs::write(at(".git/config"), VALUE).unwrap();
    fs::write(at(".gitignore"), "*.log\n").unwrap();
    fs::write(at(".ignore"), "*.log\n").unwrap();
    fs::write(at("a.log"), VALUE).unwrap();
    fs::write(at("sub/.hidden/b"), VALUE).unwrap();
    let scan = tree(&mut scanner(VALUE), directory.path());
    let paths: Vec<String> = scan
        .leaks
        .iter()
        .map(|leak| leak.place.path().unwrap().to_string())
        .collect();
    assert_eq!(paths, ["a.log", "sub/.hidden/b"]);
    assert_eq!((scan.texts, scan.skipped), (4, vec![]));
}

#[test]
fn links_are_not_followed_and_what_cannot_be_read_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), VALUE).unwrap();
    symlink(outside.path(), directory.path().join("link")).unwrap();
    symlink(directory.path(), directory.path().join("loop")).unwrap();
    symlink("nowhere", directory.path().join("dangling")).unwrap();
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let locked = directory.path().join("locked");
    fs::write(&locked, "x").unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let scan = tree(&mut scanner(VALUE), directory.path());
    assert_eq!(scan.leaks, []);
    let skipped: Vec<(String, &str)> = scan
        .skipped
        .iter()
        .map(|one| (one.path.to_string(), one.why.as_str()))
        .collect();
    assert!(
        skipped.contains(&("pipe".to_owned(), "it is a device, a socket or a pipe")),
        "{skipped:?}"
    );
    // The administrator may read everything.
    assert!(
        rustix::process::geteuid().is_root() || skipped.iter().any(|(path, _)| path == "locked"),
        "{skipped:?}"
    );
}

#[test]
fn hostile_names_are_shown_and_not_obeyed() {
    let directory = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"a\x1b[2J\n\xff.txt");
    fs::write(directory.path().join(name), VALUE).unwrap();
    let scan = tree(&mut scanner(VALUE), directory.path());
    assert_eq!(
        scan.leaks[0].place.path().unwrap().to_string(),
        "a\\x1b[2J\\x0a\\xff.txt"
    );
    assert!(
        serde_json::to_string(&scan)
            .unwrap()
            .contains("a\\\\x1b[2J\\\\x0a\\\\xff.txt")
    );
}

#[test]
fn a_gigabyte_of_holes_takes_no_memory_and_hides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sparse");
    let file = File::create(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, VALUE.as_bytes(), 900_000_000).unwrap();
    let mut most = 0;
    let scan = scanner(VALUE)
        .tree(&path, &mut |progress| most = most.max(progress.bytes))
        .unwrap();
    assert_eq!(scan.leaks[0].place.at().offset, 900_000_000);
    assert_eq!((scan.bytes, most), (1 << 30, 1 << 30));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak_kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    });
    // The other stories of this program are in it, too.
    assert!(
        peak_kib.is_none_or(|peak| peak < 512 * 1024),
        "{peak_kib:?}"
    );
}

#[test]
fn one_file_may_be_named_and_a_path_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("one");
    fs::write(&path, VALUE).unwrap();
    let scan = tree(&mut scanner(VALUE), &path);
    assert_eq!(
        (
            told(&scan.leaks[0]),
            scan.leaks[0].place.path().unwrap().to_string()
        ),
        (LABEL.to_owned(), "one".to_owned())
    );
    let error = scanner(VALUE)
        .tree(&directory.path().join("none"), &mut |_| {})
        .unwrap_err();
    let TreeError::Unreadable { .. } = &error;
    assert!(
        error
            .to_string()
            .ends_with("check the path and who may read it"),
        "{error}"
    );
}

#[test]
fn known_forms_are_found_without_marks_and_are_never_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let secret = format!("ghp_{}", token(3, 36));
    let text =
        format!("a\nurl: mqtt://lamp:hunter22@broker\ntoken = {secret}\npassword: !secret x\n");
    fs::write(directory.path().join("config.yaml"), text).unwrap();
    let scan = tree(&mut rules(), directory.path());
    assert_eq!(
        scan.leaks.iter().map(told).collect::<Vec<_>>(),
        ["url-password", "github-token"]
    );
    assert_eq!(
        scan.leaks
            .iter()
            .map(|leak| leak.place.at().line)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    let json = serde_json::to_string(&scan).unwrap();
    assert!(
        !json.contains("hunter22") && !json.contains(&secret[6..]),
        "{json}"
    );
    assert!(json.contains("ghp_… (40 characters)"), "{json}");
}

#[test]
fn an_own_value_that_has_a_known_form_is_told_of_once() {
    let directory = tempfile::tempdir().unwrap();
    let secret = format!("ghp_{}", token(3, 36));
    fs::write(directory.path().join("x"), format!("{secret}\n")).unwrap();
    let mut scanner = Scanner::new(marks(&[("home/github/token v1", secret.as_bytes())]), true);
    let leaks = tree(&mut scanner, directory.path()).leaks;
    assert_eq!(
        leaks.iter().map(told).collect::<Vec<_>>(),
        ["home/github/token v1"]
    );
}

#[test]
fn a_leak_keeps_its_fingerprint_when_lines_move_and_when_the_key_of_the_marks_is_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    fs::write(&path, VALUE).unwrap();
    let first = tree(&mut scanner(VALUE), &path).leaks[0].fingerprint;
    fs::write(&path, format!("\n\n  {VALUE} {VALUE}")).unwrap();
    let later = tree(&mut scanner(VALUE), &path).leaks;
    assert_eq!(later[0].fingerprint, first);
    assert_ne!(later[1].fingerprint, first);
}

#[test]
fn progress_names_the_file_and_never_runs_backwards() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), vec![b'a'; 5_000_000]).unwrap();
    fs::write(directory.path().join("b"), "b").unwrap();
    let mut seen = Vec::new();
    let told = &mut |progress: hearthkey_discovery::scan::Progress<'_>| {
        seen.push((
            progress.stage,
            progress.done,
            progress.bytes,
            progress.now.unwrap().to_string(),
        ));
    };
    scanner(VALUE).tree(directory.path(), told).unwrap();
    assert!(
        seen.len() >= 5 && seen.windows(2).all(|two| two[0].2 <= two[1].2),
        "{seen:?}"
    );
    assert_eq!(
        seen.last().unwrap(),
        &(Stage::Files, 1, 5_000_001, "b".to_owned())
    );
}
