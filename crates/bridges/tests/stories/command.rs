//! Programs as bridges: good ones, and those that hang, lie, shout, or leave children behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use hearthkey_bridges::{
    BridgeError, BridgeKind, Connector, Patience, Progress, Revoked, SettingsError, Verified,
    connect_with,
};
use serde_json::{Value, json};

use crate::values::{AUTHORITY, BRIEF, OLD, held, news, order, says_no_secret, secret};

/// A program in a directory of its own, in which it may leave notes.
pub struct Program {
    directory: tempfile::TempDir,
}

impl Program {
    /// Written by another process: a file that is still open for writing here could not be run.
    pub fn written(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let draft = directory.path().join("draft");
        fs::write(
            &draft,
            text.replace("NOTES", &directory.path().display().to_string()),
        )
        .unwrap();
        let program = directory.path().join("program");
        let installed = Command::new("install")
            .args(["-m", "755"])
            .args([&draft, &program])
            .status();
        assert!(installed.unwrap().success());
        Self { directory }
    }

    fn shell(body: &str) -> Self {
        Self::written(&format!("#!/bin/sh\n{body}\n"))
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("program")
    }

    fn note(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn bridge(&self, patience: Patience) -> Box<dyn Connector> {
        let can = [
            "verify", "mint", "revoke", "scopes", "notify", "children", "two-live",
        ];
        let settings = json!({"program": self.path(), "can": can}).to_string();
        connect_with(
            BridgeKind::Command,
            &settings,
            Some(secret(AUTHORITY)),
            patience,
        )
        .unwrap()
    }

    /// The error of each thing that it can be asked, as JSON or not at all.
    async fn errors(&self, patience: Patience) -> Vec<BridgeError> {
        let bridge = self.bridge(patience);
        let old = held(OLD, Some("id-1"));
        let mut wanted = order("v2");
        wanted.replaces = Some(old.clone());
        let errors = [
            bridge.verify(&old).await.err(),
            bridge.mint(&wanted, &Progress::ignored()).await.err(),
            bridge.revoke(&old).await.err(),
            bridge.scopes(&old).await.err(),
            bridge.notify(&news()).await.err(),
        ];
        let errors: Vec<BridgeError> = errors.into_iter().flatten().collect();
        assert_eq!(errors.len(), 5, "{errors:#?}");
        for error in &errors {
            says_no_secret(error, &[AUTHORITY, OLD]);
        }
        errors
    }
}

const HASTY: Patience = Patience {
    exchange: Duration::from_millis(500),
    ..BRIEF
};

/// Whether a process still runs; one that is dead and not yet reaped does not.
fn runs(pid: &str) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    let state = status
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

async fn until_gone(pid: &str) {
    let gone = async {
        while runs(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(10), gone)
            .await
            .is_ok(),
        "{pid} still runs"
    );
}

fn pid_in(path: &Path) -> String {
    fs::read_to_string(path).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_its_children() {
    let program = Program::shell("sleep 1000 & echo $! > NOTES/child\necho $$ > NOTES/self\nwait");
    for error in program.errors(HASTY).await {
        assert!(matches!(error, BridgeError::TimedOut { .. }), "{error}");
    }
    until_gone(&pid_in(&program.note("self"))).await;
    until_gone(&pid_in(&program.note("child"))).await;
}

#[tokio::test]
async fn a_child_that_holds_the_output_open_neither_delays_the_answer_nor_survives_it() {
    let program = Program::shell("sleep 1000 & echo $! > NOTES/child\necho '{\"works\": true}'");
    let verified = program.bridge(BRIEF).verify(&held(OLD, None)).await;
    assert_eq!(verified, Ok(Verified::Works));
    until_gone(&pid_in(&program.note("child"))).await;
}

#[tokio::test]
async fn work_that_is_dropped_leaves_nothing_running() {
    let program = Program::shell(
        "sleep 1000 & echo $! > NOTES/child.new; mv NOTES/child.new NOTES/child\nwait",
    );
    let bridge = program.bridge(Patience::default());
    let old = held(OLD, None);
    let started = async {
        while !program.note("child").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        verified = bridge.verify(&old) => unreachable!("{verified:?}"),
        () = started => {}
    }
    until_gone(&pid_in(&program.note("child"))).await;
}

#[tokio::test]
async fn garbage_silence_and_half_an_answer_are_none() {
    for (body, is_expected) in [
        ("cat; echo GARBAGE", "cannot be read"),
        ("cat", "cannot be read"),
        ("true", "closed"),
        ("echo '{\"works\": true, \"gone\": true'", "cannot be read"),
        ("echo '[]'", "cannot be read"),
        ("echo '{}{}'", "cannot be read"),
        ("head -c 100 /dev/zero", "cannot be read"),
        ("exec 1>&-; exit 0", "closed"),
    ] {
        for error in Program::shell(body).errors(BRIEF).await {
            assert!(error.to_string().contains(is_expected), "{body}: {error}");
            assert!(!error.to_string().contains("GARBAGE"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_megabyte_on_either_output_is_not_kept() {
    for error in Program::shell("head -c 1000000 /dev/zero | tr '\\0' x")
        .errors(BRIEF)
        .await
    {
        assert!(matches!(error, BridgeError::TooLong { .. }), "{error}");
    }
    let loud = Program::shell("head -c 1000000 /dev/zero >&2\necho '{\"works\": true}'");
    assert_eq!(
        loud.bridge(BRIEF).verify(&held(OLD, None)).await,
        Ok(Verified::Works)
    );
}

#[tokio::test]
async fn a_program_that_does_not_listen_may_answer_all_the_same() {
    let deaf = Program::shell("exec 0<&-\necho '{\"works\": true}'");
    let long = held(&"x".repeat(60_000), None);
    assert_eq!(deaf.bridge(BRIEF).verify(&long).await, Ok(Verified::Works));
}

#[tokio::test]
async fn an_error_leaves_open_whether_a_value_was_made_and_says_that_nothing_was_found_out() {
    let program = Program::shell("cat > /dev/null; echo '{\"error\": \"the network is down\"}'");
    let errors = program.errors(BRIEF).await;
    let unclear = |error: &&BridgeError| matches!(error, BridgeError::Unclear { .. });
    assert_eq!(errors.iter().filter(unclear).count(), 1, "{errors:#?}");
    for error in &errors {
        assert_eq!(
            error.may_have_been_done(),
            matches!(error, BridgeError::Unclear { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_a_program_says_back_is_scrubbed() {
    for body in [
        "cat >&2; exit 3",
        "input=$(cat); echo \"it is $input\" >&2; exit 3",
        "cat > /dev/null; echo 'no canary-old-value nor canary-authority here' >&2; exit 3",
        "cat > /dev/null; echo '{\"error\": \"no canary-old-value nor Y2FuYXJ5LWF1dGhvcml0eQ\"}'",
    ] {
        for error in Program::shell(body).errors(BRIEF).await {
            let said = matches!(
                error,
                BridgeError::Refused { .. } | BridgeError::Unclear { .. }
            );
            assert!(said, "{error}");
            let text = error.to_string();
            assert!(!text.contains(OLD) && !text.contains(AUTHORITY), "{text}");
        }
    }
    let polite = Program::shell(
        "case $(cat) in *verify*) echo '{\"works\": false, \"why\": \"canary-old-value is old\"}';; \
         *revoke*) echo '{\"by_hand\": \"delete canary-old-value there\"}';; \
         *) echo '{\"rights\": [\"of canary-old-value\"], \"privileged\": \"canary-authority\"}';; esac",
    );
    let bridge = polite.bridge(BRIEF);
    let old = held(OLD, None);
    let said = format!(
        "{:?} {:?} {:?}",
        bridge.verify(&old).await,
        bridge.revoke(&old).await,
        bridge.scopes(&old).await
    );
    assert!(!said.contains(OLD) && !said.contains(AUTHORITY), "{said}");
    assert!(said.contains("… is old"), "{said}");
}

#[tokio::test]
async fn a_program_that_lies_is_not_believed() {
    let program = Program::shell(
        "case $(cat) in *'\"do\":\"mint\"'*) echo '{\"value\": \"canary-minted\"}';; \
         *'\"do\":\"verify\"'*) echo '{\"works\": false, \"why\": \"canary-minted is wrong\"}';; \
         *) echo '{\"gone\": true}';; esac",
    );
    let error = program
        .bridge(BRIEF)
        .mint(&order("v1"), &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::Disproved { .. }), "{error}");
    says_no_secret(&error, &["canary-minted"]);
    let program = Program::shell(
        "case $(cat) in *revoke*) echo '{\"gone\": true}';; *) echo '{\"works\": true}';; esac",
    );
    let error = program
        .bridge(BRIEF)
        .revoke(&held(OLD, None))
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::Disproved { .. }), "{error}");
}

#[tokio::test]
async fn secrets_come_by_standard_input_and_nothing_else_is_inherited() {
    let _socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let program = Program::shell(
        "cat > NOTES/input\nenv > NOTES/env\npwd > NOTES/pwd\ntr '\\0' ' ' < /proc/$$/cmdline > NOTES/line\n\
         ls -l /proc/$$/fd > NOTES/descriptors\necho '{\"works\": true}'",
    );
    let verified = program.bridge(BRIEF).verify(&held(OLD, Some("id-1"))).await;
    assert_eq!(verified, Ok(Verified::Works));
    let note = |name: &str| fs::read_to_string(program.note(name)).unwrap();
    let input: Value = serde_json::from_str(&note("input")).unwrap();
    let held = json!({"value": OLD, "remote_id": "id-1"});
    assert_eq!(
        input,
        json!({"hearthkey": 1, "do": "verify", "authority": AUTHORITY, "held": held})
    );
    let mut names: Vec<String> = note("env")
        .lines()
        .map(|line| line.split('=').next().unwrap().to_owned())
        .collect();
    // A shell adds these of its own.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(&name.as_str()));
    names.sort();
    assert_eq!(names, ["LANG", "PATH"]);
    assert_eq!(note("pwd").trim(), "/");
    assert!(!note("line").contains("canary"), "{}", note("line"));
    // Pipes of the test runner may be; sockets of this process may not.
    assert!(
        !note("descriptors").contains("socket:"),
        "{}",
        note("descriptors")
    );
}

#[tokio::test]
async fn a_program_that_others_could_change_is_not_run() {
    let settings = |path: &Path| json!({"program": path, "can": []}).to_string();
    let refused = |path: &Path| {
        let made = connect_with(BridgeKind::Command, &settings(path), None, BRIEF);
        made.err()
            .map(|error: SettingsError| error.to_string())
            .unwrap_or_default()
    };
    assert!(refused(Path::new("bin/program")).contains("absolute"));
    assert!(refused(Path::new("/nowhere/program")).contains("cannot be read"));
    assert!(refused(Path::new("/")).contains("no executable"));
    let program = Program::shell("echo '{\"works\": true}'");
    let bridge = program.bridge(BRIEF);
    let chmod = |mode: &str| {
        Command::new("chmod")
            .arg(mode)
            .arg(program.path())
            .stdout(Stdio::null())
            .status()
    };
    assert!(chmod("777").unwrap().success());
    assert!(refused(&program.path()).contains("chmod go-w"));
    let error = bridge.verify(&held(OLD, None)).await.unwrap_err();
    assert!(
        matches!(error, BridgeError::Forbidden { .. }),
        "looked at again at each run: {error}"
    );
    assert!(chmod("644").unwrap().success());
    assert!(refused(&program.path()).contains("no executable"));
}

#[test]
fn a_program_that_others_could_replace_is_not_run() {
    let home = tempfile::tempdir().unwrap();
    let refused = |path: &Path| {
        let settings = json!({"program": path, "can": []}).to_string();
        let made = connect_with(BridgeKind::Command, &settings, None, BRIEF);
        made.err().map(|error| error.to_string())
    };
    let (open, safe) = (home.path().join("open"), home.path().join("safe"));
    for directory in [&open.join("bin"), &safe] {
        fs::create_dir_all(directory).unwrap();
    }
    let (inside, outside) = (open.join("bin/program"), safe.join("program"));
    for program in [&inside, &outside] {
        fs::write(program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let link = open.join("link");
    symlink(&outside, &link).unwrap();
    // A link to the link, in a directory that is safe.
    symlink(&link, safe.join("further")).unwrap();
    for program in [&inside, &outside, &link, &safe.join("further")] {
        assert_eq!(refused(program), None, "{program:?}");
    }
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    for program in [&inside, &link, &safe.join("further")] {
        let why = refused(program).unwrap_or_default();
        let remedy = format!("chmod go-w {}", open.display());
        assert!(why.contains(&remedy), "{program:?}: {why}");
    }
    assert_eq!(refused(&outside), None);
}

#[tokio::test]
async fn what_a_program_cannot_do_is_not_asked_of_it() {
    let program = Program::shell("touch NOTES/ran");
    let settings = json!({"program": program.path(), "can": []}).to_string();
    let bridge = connect_with(BridgeKind::Command, &settings, None, BRIEF).unwrap();
    assert_eq!(bridge.abilities().cannot.len(), 4);
    let old = held(OLD, None);
    assert!(matches!(
        bridge.verify(&old).await,
        Err(BridgeError::CannotDo { .. })
    ));
    assert!(matches!(bridge.revoke(&old).await, Ok(Revoked::ByHand(_))));
    assert!(!program.note("ran").exists());
}
