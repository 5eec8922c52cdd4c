//! The hook goes where git looks for it, once, and over nobody else's.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hearthkey_discovery::scan::{HookError, install_hook};

use crate::repository::Repository;

#[test]
fn the_hook_is_installed_once_and_can_be_run() {
    let repository = Repository::new();
    let first = install_hook(repository.path()).unwrap();
    assert_eq!(
        (first.path.clone(), first.already, first.shared),
        (repository.at(".git/hooks/pre-commit"), false, false)
    );
    assert_eq!(
        fs::metadata(&first.path).unwrap().permissions().mode() & 0o777,
        0o755
    );
    let text = fs::read_to_string(&first.path).unwrap();
    assert!(
        text.starts_with("#!/bin/sh\n")
            && text.ends_with("exec hearthkey credential scan --staged\n")
    );
    let second = install_hook(repository.path()).unwrap();
    assert!(second.already);
    assert_eq!(fs::read_to_string(&second.path).unwrap(), text);
}

#[test]
fn a_hook_of_others_is_left_as_it_is_with_a_remedy() {
    let repository = Repository::new();
    repository.write(
        ".git/hooks/pre-commit",
        "#!/bin/sh\nmake lint\n# hearthkey credential scan --staged\n",
    );
    let error = install_hook(repository.path()).unwrap_err();
    assert!(matches!(error, HookError::Occupied(_)));
    assert!(
        error
            .to_string()
            .ends_with("add the line \"hearthkey credential scan --staged || exit 1\" to it"),
        "{error}"
    );
    assert!(
        fs::read_to_string(repository.at(".git/hooks/pre-commit"))
            .unwrap()
            .contains("make lint")
    );
    repository.write(
        ".git/hooks/pre-commit",
        "#!/bin/sh\nmake lint\nhearthkey credential scan --staged || exit 1\n",
    );
    assert!(install_hook(repository.path()).unwrap().already);
}

#[test]
fn a_link_in_its_place_is_somebody_elses_too() {
    let repository = Repository::new();
    repository.write("hook", "");
    fs::create_dir_all(repository.at(".git/hooks")).unwrap();
    std::os::unix::fs::symlink(
        repository.at("hook"),
        repository.at(".git/hooks/pre-commit"),
    )
    .unwrap();
    assert!(matches!(
        install_hook(repository.path()),
        Err(HookError::Occupied(_))
    ));
    assert_eq!(fs::read_to_string(repository.at("hook")).unwrap(), "");
}

#[test]
fn the_configured_directory_is_honored_and_one_outside_is_told_of() {
    let repository = Repository::new();
    repository.git(&["config", "core.hooksPath", ".githooks"]);
    let installed = install_hook(repository.path()).unwrap();
    assert_eq!(
        (installed.path, installed.shared),
        (repository.at(".githooks/pre-commit"), false)
    );
    let outside = tempfile::tempdir().unwrap();
    repository.git(&["config", "core.hooksPath", outside.path().to_str().unwrap()]);
    assert!(install_hook(repository.path()).unwrap().shared);
}

#[test]
fn git_runs_the_hook_and_refuses_the_commit_that_it_refuses() {
    let repository = Repository::new();
    install_hook(repository.path()).unwrap();
    repository.write("a", "x");
    repository.git(&["add", "-A"]);
    let programs = tempfile::tempdir().unwrap();
    let program = programs.path().join("hearthkey");
    let path = std::env::var("PATH").unwrap();
    let commit = |exit: u8| {
        fs::write(
            &program,
            format!("#!/bin/sh\necho \"$@\" > args\nexit {exit}\n"),
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let status = std::process::Command::new("git")
            .env("PATH", format!("{}:{path}", programs.path().display()))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .arg("-C")
            .arg(repository.path())
            .args([
                "-c",
                "user.name=S",
                "-c",
                "user.email=s@example.org",
                "commit",
                "-q",
                "-m",
                "x",
            ])
            .status();
        status.unwrap().success()
    };
    assert!(!commit(1));
    assert_eq!(
        fs::read_to_string(repository.at("args")).unwrap(),
        "credential scan --staged\n"
    );
    assert!(commit(0));
}
