//! Whatever a repository has ever held is looked at, and each leak is traced to the commits that brought it in.

use std::fs;
use std::path::Path;

use hearthkey_discovery::scan::{GitError, ObjectKind, Place, Scan, repository_around};

use crate::repository::Repository;
use crate::wanted::{LABEL, VALUE, noise, rules, scanner, told};

fn history(path: &Path) -> Scan {
    scanner(VALUE).history(path, &mut |_| {}).unwrap()
}

/// Path, and commits that brought it in.
fn traced(scan: &Scan) -> Vec<(Option<String>, Vec<String>)> {
    let each = scan.leaks.iter().map(|leak| match &leak.place {
        Place::History { path, commits, .. } => {
            (path.as_ref().map(ToString::to_string), commits.clone())
        }
        other => panic!("{other:?}"),
    });
    each.collect()
}

fn one(path: &str, commits: &[&String]) -> Vec<(Option<String>, Vec<String>)> {
    vec![(
        Some(path.to_owned()),
        commits.iter().map(|id| (*id).clone()).collect(),
    )]
}

#[test]
fn a_secret_that_was_committed_and_removed_is_found_with_its_commit() {
    let repository = Repository::new();
    repository.write("readme", "hello\n");
    repository.commit("one");
    repository.write("etc/my conf.yaml", format!("a: 1\nkey: {VALUE}\n"));
    let guilty = repository.commit("two");
    repository.write("etc/my conf.yaml", "a: 1\n");
    repository.commit("three");
    let scan = history(repository.path());
    assert_eq!(traced(&scan), one("etc/my conf.yaml", &[&guilty]));
    assert_eq!(told(&scan.leaks[0]), LABEL);
    assert_eq!(
        (
            scan.leaks[0].place.at().line,
            scan.leaks[0].place.at().column
        ),
        (2, 6)
    );
}

#[test]
fn the_first_commit_and_a_second_coming_are_both_named_the_earliest_first() {
    let repository = Repository::new();
    repository.write("a", VALUE);
    let first = repository.commit("one");
    fs::remove_file(repository.at("a")).unwrap();
    repository.commit("two");
    repository.write("b", VALUE);
    let third = repository.commit("three");
    let scan = history(repository.path());
    assert_eq!(traced(&scan), one("a", &[&first, &third]));
}

#[test]
fn a_blob_that_no_commit_holds_is_found() {
    let repository = Repository::new();
    repository.commit("one");
    repository.write("a", VALUE);
    let object = repository.git(&["hash-object", "-w", "a"]);
    fs::remove_file(repository.at("a")).unwrap();
    let scan = history(repository.path());
    assert_eq!(traced(&scan), [(None, vec![])]);
    assert!(matches!(&scan.leaks[0].place, Place::History { object: told, .. } if *told == object));
}

#[test]
fn a_commit_that_no_branch_holds_is_named() {
    let repository = Repository::new();
    repository.commit("one");
    repository.git(&["checkout", "-q", "-b", "side"]);
    repository.write("a", VALUE);
    let lost = repository.commit("two");
    repository.git(&["checkout", "-q", "main"]);
    repository.git(&["branch", "-q", "-D", "side"]);
    repository.git(&["reflog", "expire", "--expire=now", "--all"]);
    assert_eq!(traced(&history(repository.path())), one("a", &[&lost]));
}

#[test]
fn packed_objects_deltas_and_all_are_read() {
    let repository = Repository::new();
    let filler: String = (0..2000)
        .map(|n| format!("line {n} of a long file\n"))
        .collect();
    repository.write("a", &filler);
    repository.commit("one");
    repository.write("a", format!("{filler}{VALUE}\n"));
    let guilty = repository.commit("two");
    repository.write("a", format!("{filler}gone\n"));
    repository.commit("three");
    repository.git(&["gc", "-q", "--prune=now"]);
    assert!(
        !repository
            .git(&["count-objects", "-v"])
            .contains("in-pack: 0")
    );
    assert_eq!(traced(&history(repository.path())), one("a", &[&guilty]));
}

#[test]
fn a_merge_that_brings_in_what_neither_side_had_is_named() {
    let repository = Repository::new();
    repository.write("a", "one\n");
    repository.commit("one");
    repository.git(&["checkout", "-q", "-b", "side"]);
    repository.write("b", "two\n");
    repository.commit("two");
    repository.git(&["checkout", "-q", "main"]);
    repository.write("c", "three\n");
    repository.commit("three");
    repository.git(&["merge", "-q", "--no-commit", "--no-ff", "side"]);
    repository.write("a", VALUE);
    let merge = repository.commit("merge");
    assert_eq!(traced(&history(repository.path())), one("a", &[&merge]));
}

#[test]
fn messages_of_commits_and_tags_are_read() {
    let repository = Repository::new();
    let commit = repository.commit(&format!("the key is {VALUE}"));
    repository.git(&["tag", "-a", "v1", "-m", &format!("still {VALUE}")]);
    let scan = history(repository.path());
    let mut kinds: Vec<(ObjectKind, Vec<String>)> = scan
        .leaks
        .iter()
        .map(|leak| match &leak.place {
            Place::History { kind, commits, .. } => (*kind, commits.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    kinds.sort_by_key(|(kind, _)| *kind != ObjectKind::Commit);
    assert_eq!(
        kinds,
        [
            (ObjectKind::Commit, vec![commit]),
            (ObjectKind::Tag, vec![])
        ]
    );
}

#[test]
fn bare_repositories_worktrees_and_submodules_are_repositories_too() {
    let repository = Repository::new();
    repository.write("a", VALUE);
    let guilty = repository.commit("one");
    let bare = tempfile::tempdir().unwrap();
    let bare_path = bare.path().join("bare.git");
    repository.git(&["clone", "-q", "--bare", ".", bare_path.to_str().unwrap()]);
    let worktree = bare.path().join("worktree");
    repository.git(&[
        "worktree",
        "add",
        "-q",
        "--detach",
        worktree.to_str().unwrap(),
    ]);
    let outer = Repository::new();
    outer.git(&[
        "submodule",
        "--quiet",
        "add",
        repository.path().to_str().unwrap(),
        "inner",
    ]);
    for path in [
        bare_path,
        worktree.clone(),
        outer.at("inner"),
        outer.at(".git/modules/inner"),
    ] {
        assert_eq!(
            traced(&history(&path)),
            one("a", &[&guilty]),
            "{}",
            path.display()
        );
    }
    assert_eq!(
        repository_around(&worktree.join("deeper/still")),
        Some(worktree)
    );
    assert_eq!(traced(&history(outer.path())), []);
}

#[test]
fn what_is_no_repository_or_a_damaged_one_is_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let error = scanner(VALUE)
        .history(directory.path(), &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, GitError::NoRepository(_)), "{error}");
    let repository = Repository::new();
    repository.write("sub/a", "x");
    repository.commit("one");
    let error = scanner(VALUE)
        .history(&repository.at("sub"), &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, GitError::NoRepository(_)), "{error}");
    let blob = repository.git(&["rev-parse", "HEAD:sub/a"]);
    let object = repository.at(&format!(".git/objects/{}/{}", &blob[..2], &blob[2..]));
    fs::remove_file(&object).unwrap();
    fs::write(&object, "not zlib").unwrap();
    let scan = history(repository.path());
    assert_eq!(scan.skipped.len(), 1);
    assert_eq!(scan.skipped[0].path.to_string(), format!("object {blob}"));
}

#[test]
fn a_damaged_pack_is_an_error_and_no_clean_bill() {
    let repository = Repository::new();
    for n in 0..50 {
        repository.write(&format!("f{n}"), noise(n + 1, 2000));
    }
    repository.commit("one");
    repository.git(&["gc", "-q", "--prune=now"]);
    let packs = fs::read_dir(repository.at(".git/objects/pack")).unwrap();
    let mut packs = packs.map(|entry| entry.unwrap().path());
    let pack = packs
        .find(|path| path.extension().is_some_and(|end| end == "pack"))
        .unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 200].fill(0);
    fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&pack, bytes).unwrap();
    let error = scanner(VALUE)
        .history(repository.path(), &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, GitError::Damaged { .. }), "{error}");
    assert!(error.to_string().ends_with("run git fsck in it"), "{error}");
    println!("{error}");
}

#[test]
fn a_repository_cannot_make_the_scan_run_anything() {
    let repository = Repository::new();
    repository.write("a", VALUE);
    repository.write("run", "#!/bin/sh\ntouch ran\n");
    repository.commit("one");
    let program = format!("touch {}", repository.at("ran").display());
    for key in [
        "core.fsmonitor",
        "core.pager",
        "diff.external",
        "core.sshCommand",
        "gpg.program",
        "diff.x.textconv",
        "core.alternateRefsCommand",
    ] {
        repository.git(&["config", key, &program]);
    }
    repository.git(&["config", "log.showSignature", "true"]);
    repository.write(".gitattributes", "* diff=x\n");
    repository.git(&["add", "-A"]);
    let _ = fs::remove_file(repository.at("ran"));
    assert_eq!(history(repository.path()).leaks.len(), 1);
    scanner(VALUE)
        .staged(repository.path(), None, &mut |_| {})
        .unwrap();
    assert!(!repository.at("ran").exists());
}

#[test]
fn a_repository_of_many_objects_is_read_whole_and_its_progress_has_an_end() {
    let repository = Repository::new();
    for n in 0..3000 {
        repository.write(&format!("d{}/f{n}", n % 20), format!("{n}\n"));
    }
    repository.write("last", VALUE);
    repository.commit("many");
    let (mut last, mut total) = (0, None);
    let scan = scanner(VALUE).history(repository.path(), &mut |progress| {
        last = last.max(progress.done);
        total = total.max(progress.total);
    });
    let scan = scan.unwrap();
    assert_eq!((scan.leaks.len(), scan.texts), (1, 3002));
    assert!(last >= 3001 && total >= Some(3002), "{last} {total:?}");
}

#[test]
fn a_repository_may_be_written_to_meanwhile() {
    let repository = Repository::new();
    repository.write("a", VALUE);
    let guilty = repository.commit("one");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..20 {
                repository.write("b", format!("{n}"));
                repository.commit("more");
            }
        });
        while !writer.is_finished() {
            assert_eq!(traced(&history(repository.path())), one("a", &[&guilty]));
        }
    });
}

#[test]
fn known_forms_in_a_history_are_found_and_not_quoted() {
    let repository = Repository::new();
    repository.write("a", "broker: mqtt://lamp:hunter22@broker\n");
    repository.commit("one");
    let scan = rules().history(repository.path(), &mut |_| {}).unwrap();
    assert_eq!(
        scan.leaks.iter().map(told).collect::<Vec<_>>(),
        ["url-password"]
    );
    assert!(!serde_json::to_string(&scan).unwrap().contains("hunter22"));
}
