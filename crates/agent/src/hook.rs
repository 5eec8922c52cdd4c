//! The owner's program that runs after a renewal: no shell, no inherited environment, no more than a minute.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::event::Event;
use crate::explain::without_number;
use crate::moment::Moment;

const PATIENCE: Duration = Duration::from_secs(60);
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the hook to its end, or ends it after a minute. Its output goes to standard error's place only: standard
/// output is the agent's own.
pub(crate) async fn run(hook: &Path, directory: &Path, device: &str, not_after: Moment) -> Event {
    let path = std::env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    let spawned = Command::new(hook)
        .env_clear()
        .env("PATH", path)
        .env("HEARTHKEY_DIR", directory)
        .env("HEARTHKEY_DEVICE", device)
        .env("HEARTHKEY_NOT_AFTER", not_after.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return failed(&format!("{}: {}", hook.display(), why_not(&error))),
    };
    match tokio::time::timeout(PATIENCE, child.wait()).await {
        Ok(Ok(status)) => Event::HookFinished {
            exit_status: status.code(),
        },
        Ok(Err(error)) => failed(without_number(&error.to_string())),
        Err(_) => failed(&format!(
            "it did not end within {} s, and was ended",
            PATIENCE.as_secs()
        )),
    }
}

/// Why a hook could not be run if it were needed now, if that can be seen before.
pub(crate) fn unfit(hook: &Path) -> Option<Event> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    let found = match hook.components().count() {
        // A name alone is looked for where the system will.
        1 if !hook.is_absolute() => std::env::split_paths(&path)
            .map(|directory| directory.join(hook))
            .find_map(|place| place.metadata().ok()),
        _ => hook.metadata().ok(),
    };
    let kind = match found {
        None => ErrorKind::NotFound,
        Some(about) if !about.is_file() || about.permissions().mode() & 0o111 == 0 => {
            ErrorKind::PermissionDenied
        }
        Some(_) => return None,
    };
    let why = format!("{}: {}", hook.display(), why_not(&kind.into()));
    Some(Event::HookFailed { why })
}

/// Why a program could not be started, as a shell says it.
fn why_not(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            "command not found: give --hook the path of a program that is there".to_owned()
        }
        ErrorKind::PermissionDenied => {
            "it may not be executed: give it the right with chmod +x".to_owned()
        }
        _ => without_number(&error.to_string()).to_owned(),
    }
}

fn failed(why: &str) -> Event {
    Event::HookFailed {
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_hook_sees_the_device_and_nothing_of_the_agents_environment() {
        let temp = tempfile::tempdir().unwrap();
        let hook = temp.path().join("hook");
        let script =
            "#!/bin/sh\nenv -u PWD -u _ -u SHLVL | sort > \"$HEARTHKEY_DIR/seen\"\nexit 3\n";
        std::fs::write(&hook, script).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).unwrap();
        let event = run(&hook, temp.path(), "lamp-1", Moment::from_unix_s(0)).await;
        assert_eq!(
            event,
            Event::HookFinished {
                exit_status: Some(3)
            }
        );
        let seen = std::fs::read_to_string(temp.path().join("seen")).unwrap();
        let names: Vec<_> = seen
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let keys: Vec<_> = names.iter().map(|(key, _)| *key).collect();
        assert_eq!(
            keys,
            [
                "HEARTHKEY_DEVICE",
                "HEARTHKEY_DIR",
                "HEARTHKEY_NOT_AFTER",
                "PATH"
            ]
        );
        assert!(names.contains(&("HEARTHKEY_NOT_AFTER", "1970-01-01T00:00:00Z")));
    }

    #[test]
    fn a_hook_that_could_not_run_is_known_before_it_is_needed() {
        let temp = tempfile::tempdir().unwrap();
        assert!(unfit(Path::new("/nowhere/hook")).is_some());
        assert!(unfit(Path::new("no-such-program-anywhere")).is_some());
        assert!(unfit(temp.path()).is_some());
        assert_eq!(unfit(Path::new("sh")), None);
        assert_eq!(unfit(Path::new("/bin/sh")), None);
    }

    #[tokio::test]
    async fn a_hook_that_is_not_there_is_an_error_event() {
        let event = run(
            Path::new("/nowhere/hook"),
            Path::new("/"),
            "lamp-1",
            Moment::from_unix_s(0),
        )
        .await;
        let Event::HookFailed { why } = event else {
            panic!("{event:?}")
        };
        assert_eq!(
            why,
            "/nowhere/hook: command not found: give --hook the path of a program that is there"
        );
    }

    #[tokio::test]
    async fn a_hook_without_the_right_to_be_executed_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let hook = temp.path().join("hook");
        std::fs::write(&hook, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o600)).unwrap();
        let event = run(&hook, temp.path(), "lamp-1", Moment::from_unix_s(0)).await;
        assert!(
            matches!(&event, Event::HookFailed { why } if why.contains("may not be executed")),
            "{event:?}"
        );
    }
}
