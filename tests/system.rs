//! A third-party system behind the `command` connector: a real program. What it takes for working
//! is in a file, and it can be held before and after everything it does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{Rig, until};
use crate::vault::told;

/// A third-party system: `live` holds the values that it takes, one a line.
pub struct System {
    directory: PathBuf,
}

/// Everything that a bridge can do, but for children.
pub const ALL: [&str; 5] = ["verify", "mint", "revoke", "scopes", "two-live"];

const PROGRAM: &str = r#"#!/bin/sh
dir=$(dirname "$0")
read -r said
part() { printf %s "$said" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
verb=$(part do)
echo $$ > "$dir/pid"
gate() { : > "$dir/at-$verb-$1"; while [ -e "$dir/hold-$verb-$1" ]; do sleep 0.02; done; }
forget() { grep -vxF -e "$1" "$dir/live" > "$dir/live.$$"; mv "$dir/live.$$" "$dir/live"; }
gate before
case $verb in
verify)
  if grep -qxF -e "$(part value)" "$dir/live"; then out='{"works":true}'; else out='{"works":false,"why":"it is not known here"}'; fi ;;
mint)
  made="$dir/made-$(part label | tr ' /' '__')"
  [ -e "$made" ] && forget "$(cat "$made")"
  new="minted-$$-$(wc -l < "$dir/live")"
  echo "$new" > "$made"; echo "$new" >> "$dir/live"
  out="{\"value\":\"$new\",\"remote_id\":\"id-$$\"}" ;;
revoke)
  forget "$(part value)"; out='{"gone":true}' ;;
scopes)
  out='{"rights":["lights"]}' ;;
esac
[ -e "$dir/lie-$verb" ] && out=$(cat "$dir/lie-$verb")
gate after
printf '%s\n' "$out"
"#;

impl System {
    /// A system that takes one value, connected to the home as `sys`.
    pub async fn connected(rig: &Rig, first: &str, can: &[&str]) -> Self {
        let directory = rig.work.path().join("system");
        fs::create_dir(&directory).unwrap();
        let program = directory.join("connector");
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(directory.join("live"), format!("{first}\n")).unwrap();
        let system = Self { directory };
        let settings = [
            format!("program={}", program.display()),
            format!("can={}", serde_json::to_string(can).unwrap()),
            "timeout_s=20".to_owned(),
        ];
        let connect = [
            "bridge",
            "connect",
            "command",
            "sys",
            "--env",
            "home",
            "--owner",
            "anna",
            "--purpose",
            "test",
            "--set",
            &settings[0],
            "--set",
            &settings[1],
            "--set",
            &settings[2],
        ];
        told(rig, &connect).await;
        system
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn live(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("live")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub fn takes(&self, values: &[&str]) {
        fs::write(
            self.path("live"),
            values
                .iter()
                .map(|value| format!("{value}\n"))
                .collect::<String>(),
        )
        .unwrap();
    }

    pub fn hold(&self, point: &str) {
        fs::write(self.path(&format!("hold-{point}")), "").unwrap();
        let _ = fs::remove_file(self.path(&format!("at-{point}")));
    }

    pub fn release(&self, point: &str) {
        fs::remove_file(self.path(&format!("hold-{point}"))).unwrap();
    }

    pub async fn is_at(&self, point: &str) {
        let at = self.path(&format!("at-{point}"));
        until(&format!("the bridge is at {point}"), async || {
            at.exists().then_some(())
        })
        .await;
    }

    /// The power goes: the program ends where it is.
    pub fn kill(&self) {
        let pid = fs::read_to_string(self.path("pid"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }

    pub fn lies(&self, verb: &str, said: &str) {
        fs::write(self.path(&format!("lie-{verb}")), said).unwrap();
    }
}
