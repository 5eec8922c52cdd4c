//! What a scan did not look at is in its answer, and never passes for clean.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hearthkey_core::time::Timestamp;
use hearthkey_discovery::scan::{Gap, Ignores, Place, Report, Scan, sarif};
use serde_json::Value;

use crate::repository::Repository;
use crate::wanted::{LABEL, VALUE, rules, scanner, token, told};

fn everything(path: &Path) -> Scan {
    scanner(VALUE).everything(path, &mut |_| {}).unwrap()
}

/// The gaps of a scan that may hide something: kind and path.
fn gaps(scan: &Scan) -> Vec<(Gap, String)> {
    let named = scan.skipped.iter().filter(|one| one.gap.may_hide());
    let gaps: Vec<(Gap, String)> = named.map(|one| (one.gap, one.path.to_string())).collect();
    assert_eq!(scan.is_whole(), gaps.is_empty());
    gaps
}

fn judged(scan: Scan, ignores: &str) -> Report {
    let today = Timestamp::from_s(1_800_000_000);
    Ignores::from_toml(ignores).unwrap().judge(scan, today)
}

fn clone(repository: &Repository, into: &Path, how: &[&str]) {
    let from = format!("file://{}", repository.path().display());
    let into = into.to_str().unwrap();
    repository.git(&[&["clone", "-q"], how, &[&from, into]].concat());
}

/// A repository that held the value once.
fn repository() -> Repository {
    let repository = Repository::new();
    repository.git(&["config", "uploadpack.allowFilter", "true"]);
    repository.write("a", VALUE);
    repository.write("sub/b", "b\n");
    repository.commit("one");
    repository.write("a", "gone\n");
    repository.commit("two");
    repository
}

#[test]
fn a_shallow_and_a_partial_clone_say_what_they_do_not_have() {
    let repository = repository();
    let directory = tempfile::tempdir().unwrap();
    for (how, gap) in [
        ("--depth=1", Gap::Shallow),
        ("--filter=blob:none", Gap::Missing),
        ("--filter=tree:0", Gap::Missing),
    ] {
        let path = directory.path().join(how);
        clone(&repository, &path, &[how]);
        let scan = everything(&path);
        assert_eq!(gaps(&scan), [(gap, ".".to_owned())], "{how}");
        assert_eq!(scan.leaks, []);
    }
    let path = directory.path().join("whole");
    clone(&repository, &path, &[]);
    let scan = everything(&path);
    assert_eq!((gaps(&scan), scan.leaks.len()), (vec![], 1));
}

#[test]
fn leaks_in_what_a_partial_clone_has_are_found_and_traced_as_far_as_it_goes() {
    let repository = repository();
    repository.write("a", VALUE);
    repository.commit("three");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clone");
    clone(&repository, &path, &["--filter=tree:0"]);
    let scan = everything(&path);
    // In the file, and in the object of the last commit.
    assert_eq!(scan.leaks.len(), 2);
    assert!(gaps(&scan).iter().any(|(gap, _)| *gap == Gap::Missing));
}

#[test]
fn an_object_that_is_lost_is_a_gap() {
    let repository = repository();
    let blob = repository.git(&["rev-parse", "HEAD~1:a"]);
    let object = repository.at(&format!(".git/objects/{}/{}", &blob[..2], &blob[2..]));
    fs::remove_file(object).unwrap();
    assert_eq!(
        gaps(&everything(repository.path())),
        [(Gap::Missing, ".".to_owned())]
    );
}

#[test]
fn the_histories_of_all_repositories_in_a_folder_are_read_each_once() {
    let first = repository();
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir(at("deep")).unwrap();
    clone(&first, &at("deep/one"), &[]);
    clone(&first, &at("bare.git"), &["--bare"]);
    let one = at("deep/one");
    Command::at(&one).git(&[
        "worktree",
        "add",
        "-q",
        "--detach",
        at("tree").to_str().unwrap(),
    ]);
    let scan = everything(folder.path());
    assert_eq!(gaps(&scan), []);
    let mut places: Vec<(String, String)> = scan
        .leaks
        .iter()
        .map(|leak| match &leak.place {
            Place::History {
                repository, path, ..
            } => (
                repository.as_ref().unwrap().to_string(),
                path.as_ref().unwrap().to_string(),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    places.sort();
    let one = ("deep/one".to_owned(), "deep/one/a".to_owned());
    assert_eq!(
        places,
        [("bare.git".to_owned(), "bare.git/a".to_owned()), one]
    );
}

/// Git in a directory that the story did not make.
struct Command<'a>(&'a Path);

impl<'a> Command<'a> {
    fn at(path: &'a Path) -> Self {
        Self(path)
    }

    fn git(&self, arguments: &[&str]) {
        let mut command = std::process::Command::new("git");
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .arg("-C")
            .arg(self.0);
        assert!(command.args(arguments).status().unwrap().success());
    }
}

#[test]
fn submodules_are_read_where_they_are_and_named_where_they_are_not() {
    let inner = repository();
    let outer = Repository::new();
    let from = inner.path().to_str().unwrap();
    outer.git(&["submodule", "--quiet", "add", from, "inner"]);
    outer.commit("with a submodule");
    let scan = everything(outer.path());
    assert_eq!((gaps(&scan), scan.leaks.len()), (vec![], 1));
    // What git keeps of one that is not checked out any more is read, too.
    outer.git(&["submodule", "--quiet", "deinit", "-f", "inner"]);
    let scan = everything(outer.path());
    assert_eq!(scan.leaks.len(), 1);
    assert_eq!(gaps(&scan), [(Gap::Submodule, "inner".to_owned())]);
    let directory = tempfile::tempdir().unwrap();
    for (name, how) in [("plain", &[][..]), ("bare", &["--bare"][..])] {
        let path = directory.path().join(name);
        clone(&outer, &path, how);
        assert_eq!(
            gaps(&everything(&path)),
            [(Gap::Submodule, "inner".to_owned())],
            "{name}"
        );
    }
}

#[test]
fn a_repository_that_cannot_be_read_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    clone(&repository(), &at("good"), &[]);
    fs::create_dir(at("lost")).unwrap();
    fs::write(at("lost/.git"), "gitdir: /nowhere/at/all\n").unwrap();
    fs::create_dir_all(at("torn/.git")).unwrap();
    let scan = everything(folder.path());
    assert_eq!(scan.leaks.len(), 1);
    let named = [Gap::Repository; 2]
        .into_iter()
        .zip(["lost".to_owned(), "torn".to_owned()]);
    assert_eq!(gaps(&scan), named.collect::<Vec<_>>());
}

#[test]
fn compressed_files_pointers_and_links_that_lead_out_are_gaps() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    let repository = Repository::new();
    let at = |path: &str| repository.at(path);
    repository.write("a.zip", b"PK\x03\x04rest");
    repository.write("b.gz", b"\x1f\x8b\x08rest");
    repository.write(
        "c.bin",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    );
    repository.write("d", "d\n");
    symlink(outside.path(), at("out")).unwrap();
    symlink("d", at("in")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let expected = [
        (Gap::Archive, "a.zip".to_owned()),
        (Gap::Archive, "b.gz".to_owned()),
        (Gap::Lfs, "c.bin".to_owned()),
        (Gap::Link, "out".to_owned()),
    ];
    assert_eq!(gaps(&everything(repository.path())), expected);
    repository.commit("one");
    fs::remove_file(at("a.zip")).unwrap();
    let scan = everything(repository.path());
    let objects = gaps(&scan)
        .into_iter()
        .filter(|(_, path)| path.starts_with("object "));
    assert_eq!(objects.count(), 3);
    // What is staged is read, and its gaps are reported.
    repository.git(&["rm", "-q", "--cached", "b.gz"]);
    repository.commit("without");
    repository.write("e.gz", b"\x1f\x8b\x08other");
    repository.git(&["add", "e.gz"]);
    let staged = scanner(VALUE)
        .staged(repository.path(), None, &mut |_| {})
        .unwrap();
    assert_eq!(gaps(&staged), [(Gap::Archive, "e.gz".to_owned())]);
}

#[test]
fn a_gap_is_accepted_by_its_kind_with_a_reason_and_by_nothing_else() {
    let repository = Repository::new();
    repository.write("old/a.zip", b"PK\x03\x04rest");
    repository.write("new/a.zip", b"PK\x03\x04rest");
    let scan = || scanner(VALUE).tree(repository.path(), &mut |_| {}).unwrap();
    let report = judged(
        scan(),
        "[[ignore]]\npath = \"**\"\nreason = \"leaks only\"\n",
    );
    assert!(!report.scan.is_whole());
    let entry = "[[ignore]]\ngap = \"archive\"\npath = \"old/**\"\nreason = \"scanned before\"\n";
    let report = judged(scan(), entry);
    assert_eq!(gaps(&report.scan), [(Gap::Archive, "new/a.zip".to_owned())]);
    assert_eq!(report.accepted[0].reason, "scanned before");
    let report = judged(
        scan(),
        "[[ignore]]\ngap = \"archive\"\nreason = \"scanned before\"\n",
    );
    assert!(report.scan.is_whole() && report.accepted.len() == 2);
    let log: Value = serde_json::from_str(&sarif(&report, "1")).unwrap();
    assert_eq!(
        log["runs"][0]["invocations"][0]["executionSuccessful"],
        true
    );
    let log: Value = serde_json::from_str(&sarif(&judged(scan(), ""), "1")).unwrap();
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    let notes = invocation["toolExecutionNotifications"].as_array().unwrap();
    assert_eq!(
        (notes.len(), &notes[0]["level"]),
        (2, &Value::from("error"))
    );
    for bad in ["gap = \"zip\"", "gap = \"link\"\nrule = \"github-token\""] {
        let file = format!("[[ignore]]\n{bad}\nreason = \"r\"\n");
        assert!(Ignores::from_toml(&file).is_err(), "{bad}");
    }
}

#[test]
fn gaps_of_one_kind_are_named_a_hundred_times_and_counted_beyond() {
    let directory = tempfile::tempdir().unwrap();
    for n in 0..130 {
        fs::write(directory.path().join(format!("{n:03}.zip")), b"PK\x03\x04").unwrap();
    }
    let scan = scanner(VALUE).tree(directory.path(), &mut |_| {}).unwrap();
    assert_eq!(
        (scan.skipped.len(), scan.more_skipped[&Gap::Archive]),
        (100, 30)
    );
    let report = judged(scan, "[[ignore]]\ngap = \"archive\"\nreason = \"r\"\n");
    assert!(report.scan.is_whole());
}

#[test]
fn a_list_of_passwords_hides_no_token_and_the_rest_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..1200)
        .map(|n| format!("password: hunter2hunter{n}\n"))
        .collect();
    let token = format!("ghp_{}", token(9, 36));
    let text = format!("{lines}token: {token}\npassword: {token}\n");
    fs::write(directory.path().join("list"), text).unwrap();
    let scan = rules().tree(directory.path(), &mut |_| {}).unwrap();
    let sure = scan
        .leaks
        .iter()
        .filter(|leak| told(leak) == "github-token");
    assert_eq!(
        (sure.count(), scan.leaks.len(), scan.more_leaks),
        (2, 102, 1100)
    );
    assert_eq!(scan.more[0].rule.as_deref(), Some("config-password"));
    assert_eq!(scan.more[0].number, 1100);
    // An entry that hides the rule hides the rest of it, and nothing else.
    let entry = "[[ignore]]\nrule = \"config-password\"\nreason = \"a list\"\n";
    let report = judged(scan.clone(), entry);
    assert_eq!((report.scan.leaks.len(), report.scan.more_leaks), (2, 0));
    assert_eq!(
        (report.suppressed.len(), report.suppressed_more),
        (100, 1100)
    );
    let fingerprint = scan.leaks[0].fingerprint;
    let entry = format!("[[ignore]]\nfinding = \"{fingerprint}\"\nreason = \"one\"\n");
    assert_eq!(judged(scan, &entry).scan.more_leaks, 1100);
}

#[test]
fn files_full_of_one_rule_leave_room_for_others_and_for_own_values() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..100)
        .map(|n| format!("password: hunter2hunter{n}\n"))
        .collect();
    for n in 0..26 {
        fs::write(directory.path().join(format!("{n:02}")), &lines).unwrap();
    }
    let token = format!("ghp_{}", token(9, 36));
    fs::write(directory.path().join("last"), format!("{token}\n{VALUE}\n")).unwrap();
    let marks = crate::wanted::marks(&[(LABEL, VALUE.as_bytes())]);
    let mut scanner = hearthkey_discovery::scan::Scanner::new(marks, true);
    let mut scan = scanner.tree(directory.path(), &mut |_| {}).unwrap();
    let of = |scan: &Scan, name: &str| scan.leaks.iter().filter(|leak| told(leak) == name).count();
    assert_eq!((of(&scan, "config-password"), scan.more_leaks), (2500, 100));
    assert_eq!((of(&scan, "github-token"), of(&scan, LABEL)), (1, 1));
    let again = scan.clone();
    scan.merge(again);
    assert_eq!(
        (of(&scan, "config-password"), scan.more_leaks),
        (2500, 2700)
    );
    assert_eq!((of(&scan, "github-token"), of(&scan, LABEL)), (2, 2));
}
