//! A machine that is told to trust the home, and to do so no more: its system store, and the browser's.

use tokio::process::Command;

use crate::rig::{Rig, hearthkey};
use crate::service::{Front, home};
use crate::stock::said;

/// What the machine does, in a file system of its own: nothing of the real one is changed.
const MACHINE: &str = r#"
set -eu
mount -t tmpfs none /usr/local/share/ca-certificates
cp -a /etc/ssl/certs "$HOME/certs"
mount --bind "$HOME/certs" /etc/ssl/certs
known() { curl -s --max-time 20 "$URL/api/v1/health" >/dev/null && echo known || echo unknown; }
browser() { certutil -L -d "sql:$HOME/.pki/nssdb" | grep -c '^hearthkey-.* C,,' || true; }
echo "before: $(known)"
wrong=$(printf %064d 0)
"$HEARTHKEY" trust install --fingerprint "$wrong" >"$HOME/wrong" 2>&1 && echo "wrong: trusted"
echo "after a wrong fingerprint: $(known)"
"$HEARTHKEY" trust install --fingerprint "$("$HEARTHKEY" trust fingerprint)"
echo "installed: $(known), $(browser) in the browser"
"$HEARTHKEY" trust install --remove >/dev/null
echo "removed: $(known), $(browser) in the browser"
"#;

async fn machine(rig: &Rig, front: &Front) -> std::process::Output {
    let place = rig.work.path().join("machine");
    std::fs::create_dir(&place).unwrap();
    Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", MACHINE])
        .env("HOME", &place)
        .env("HEARTHKEY", hearthkey().as_std().get_program())
        .env("HEARTHKEY_GATEWAY", &front.url)
        .env("HEARTHKEY_ROOT", front.bench.dir.join("ca.pem"))
        .env("URL", &front.url)
        .output()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_trusts_the_home_once_its_fingerprint_was_compared_and_until_it_is_taken_out() {
    let (rig, front) = home().await;
    let able = ["--map-root-user", "--mount", "true"];
    let able = Command::new("unshare").args(able).output().await;
    if !able.is_ok_and(|done| done.status.success()) {
        println!("skipped: this machine makes no file system of one's own (unshare --mount)");
        return;
    }
    let done = machine(&rig, &front).await;
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{}", said(&done));
    for line in [
        "before: unknown",
        "after a wrong fingerprint: unknown",
        "installed: known, 1 in the browser",
        "removed: unknown, 0 in the browser",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}:\n{told}");
    }
    assert!(told.contains("Trusted in /usr/local/share/ca-certificates/hearthkey-"));
    let wrong = std::fs::read_to_string(rig.work.path().join("machine/wrong")).unwrap();
    assert!(
        wrong.contains("The root certificate is a different one. Nothing was changed."),
        "{wrong}"
    );
}
