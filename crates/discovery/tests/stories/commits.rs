//! What the next commit would carry is read as it is staged, not as it lies in the tree.

use hearthkey_discovery::scan::{Place, Scan};

use crate::repository::Repository;
use crate::wanted::{VALUE, scanner};

fn staged(repository: &Repository) -> Vec<String> {
    let scan: Scan = scanner(VALUE)
        .staged(repository.path(), None, &mut |_| {})
        .unwrap();
    let each = scan.leaks.iter().map(|leak| match &leak.place {
        Place::Staged { path, .. } => path.to_string(),
        other => panic!("{other:?}"),
    });
    each.collect()
}

#[test]
fn only_what_is_staged_counts_in_the_first_commit_and_in_later_ones() {
    let repository = Repository::new();
    repository.write("a b\nc", VALUE);
    assert_eq!(staged(&repository), [""; 0]);
    repository.git(&["add", "-A"]);
    repository.write("a b\nc", "clean again, but not staged");
    assert_eq!(staged(&repository), ["a b\\x0ac"]);
    repository.commit("one");
    repository.write("old", VALUE);
    repository.commit("two");
    repository.write("new", "clean");
    repository.git(&["add", "-A"]);
    // The old leak is history's business.
    assert_eq!(staged(&repository), [""; 0]);
    repository.write("new", VALUE);
    repository.git(&["add", "-A"]);
    assert_eq!(staged(&repository), ["new"]);
}

#[test]
fn a_removed_file_and_a_submodule_are_no_content() {
    let repository = Repository::new();
    repository.write("a", VALUE);
    repository.commit("one");
    repository.git(&["rm", "-q", "a"]);
    let inner = Repository::new();
    inner.write("x", "x");
    inner.commit("one");
    repository.git(&[
        "submodule",
        "--quiet",
        "add",
        inner.path().to_str().unwrap(),
        "inner",
    ]);
    assert_eq!(staged(&repository), [""; 0]);
}

#[test]
fn the_index_that_git_gives_a_hook_is_the_one_that_is_read() {
    let repository = Repository::new();
    repository.write("a", "clean");
    repository.commit("one");
    std::fs::copy(
        repository.at(".git/index"),
        repository.at(".git/other-index"),
    )
    .unwrap();
    repository.write("a", VALUE);
    repository.git(&["add", "-A"]);
    let other = repository.at(".git/other-index");
    let scan = scanner(VALUE)
        .staged(repository.path(), Some(&other), &mut |_| {})
        .unwrap();
    assert_eq!(scan.leaks, []);
    assert_eq!(staged(&repository), ["a"]);
}
