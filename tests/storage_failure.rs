//! The disk is full, or fails: nothing new is issued, what lives goes on, what is revoked is out,
//! and when the disk is well again nobody has to restart anything.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use hearthkey_agent::{Device, EnrollError, Session};
use hearthkey_api::{CallError, ClaimOpened};
use serde_json::Value;
use tempfile::TempDir;

use crate::rig::{Rig, json, until};
use crate::service::SELF;
use crate::stock::Bench;

/// A small disk of its own, unmounted when it is dropped.
pub struct SmallDisk {
    root: PathBuf,
    _place: TempDir,
}

impl SmallDisk {
    /// None where mounting is not permitted.
    pub fn mount() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().to_owned();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"])
            .arg(&root)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self {
                root,
                _place: place,
            }),
            Ok(output) => {
                println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("skipped: mount cannot be run: {error}");
                None
            }
        }
    }

    /// A home on this disk.
    pub async fn rig(&self) -> Rig {
        Rig::at(tempfile::tempdir().unwrap(), self.root.join("home"), None).await
    }

    /// A directory on this disk, which is not made yet.
    pub fn place(&self) -> PathBuf {
        self.root.join("place")
    }

    /// Fills the disk to its last byte.
    pub fn fill(&self) {
        let mut ballast = fs::File::options()
            .create(true)
            .append(true)
            .open(self.root.join("ballast"))
            .unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub fn empty(&self) {
        fs::remove_file(self.root.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.root).status();
    }
}

/// A tracer that makes every durable write of a process fail or hang, detached when it is dropped.
pub struct FailingDisk(Child);

const WRITES: &str = "inject=pwrite64,fdatasync,fsync,ftruncate,write:error=EIO";

impl FailingDisk {
    /// None where tracing is not permitted or strace is not installed.
    async fn of(rig: &Rig) -> Option<Self> {
        let paths = ["hearthkey.db", "hearthkey.db-wal", "revocations.journal"];
        Self::that(rig, WRITES, &paths).await
    }

    /// A disk on which each sync of these files takes a while.
    pub async fn hanging(rig: &Rig, paths: &[&str], for_s: u32) -> Option<Self> {
        let hangs = format!("inject=fdatasync,fsync:delay_enter={for_s}s");
        Self::that(rig, &hangs, paths).await
    }

    async fn that(rig: &Rig, fault: &str, paths: &[&str]) -> Option<Self> {
        let said = rig.work.path().join("strace.log");
        let paths = paths
            .iter()
            .flat_map(|name| ["-P".into(), rig.data_dir.join(name)]);
        let mut child = Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-e",
                fault,
                "-e",
                "trace=pwrite64,fdatasync,fsync,ftruncate,write",
            ])
            .args(paths)
            .args(["-p", &rig.pid().to_string()])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).unwrap())
            .spawn()
            .map_err(|_| println!("skipped: strace is missing (Debian package strace)"))
            .ok()?;
        let pid = rig.pid();
        let attached = until("the tracer to be attached or to give up", async || {
            let gone = child.try_wait().unwrap().is_some();
            (gone || is_traced(pid)).then_some(!gone)
        })
        .await;
        if !attached {
            println!("skipped: {}", fs::read_to_string(&said).unwrap_or_default());
            return None;
        }
        Some(Self(child))
    }
}

/// Whether every thread of a process is traced.
fn is_traced(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let traced =
        |status: String| status.contains("TracerPid:\t") && !status.contains("TracerPid:\t0");
    threads
        .map(|thread| fs::read_to_string(thread.path().join("status")).unwrap_or_default())
        .all(traced)
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        // The tracer lets its process go when it is told to end.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A home with a device that is connected, one to be revoked, and claims to be used.
struct Household {
    rig: Rig,
    lamp: Session,
    hall: Device,
    hall_session: Session,
    open: ClaimOpened,
}

async fn household(mut rig: Rig) -> Household {
    rig.start().await;
    let lamp = rig.enroll("lamp").await.connect().await.unwrap();
    lamp.subscribe(&["devices/lamp/#"]).await.unwrap();
    let mut hall = rig.enroll("hall").await;
    let hall_session = hall.connect().await.unwrap();
    let open = rig.claim("door").await.unwrap();
    crate::vault::added(&rig, "hue/api-key", "home", b"a-value-to-give", &[]).await;
    Household {
        rig,
        lamp,
        hall,
        hall_session,
        open,
    }
}

impl Household {
    /// A connected device publishes and receives.
    async fn lives(&mut self, payload: &'static str) {
        self.lamp
            .publish("devices/lamp/state", payload)
            .await
            .unwrap();
        loop {
            let message = self.lamp.receive().await.expect("the session has ended");
            if message.payload == payload.as_bytes() {
                return;
            }
        }
    }

    async fn issues_nothing(&self) {
        match self.rig.enroll_with(&self.open).await {
            Err(EnrollError::Rejected(rejection)) => {
                assert_eq!(rejection.code, "storage_unavailable");
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
        match self.rig.claim("attic").await {
            Err(CallError::Problem(problem)) => assert_eq!(problem.code, "storage_unavailable"),
            other => panic!("{:?}", other.map(|_| ())),
        }
        assert!(!self.rig.status().await.storage_available);
    }

    /// What cannot be recorded is not given.
    async fn gives_nothing(&self) {
        for command in [
            &["credential", "reveal", "hue/api-key"][..],
            &["credential", "lease", "hue/api-key"],
        ] {
            let why = crate::vault::refused(&self.rig, command).await;
            assert_eq!(why["code"], "storage_unavailable", "{why}");
            assert!(!why.to_string().contains("a-value-to-give"));
        }
    }

    /// A revocation cuts the device although it cannot be written down.
    async fn revokes_in_memory(&mut self) {
        let revoked = self.rig.revoke("hall").await.unwrap();
        assert!(!revoked.durable, "{revoked:?}");
        assert_eq!(revoked.sessions_dropped, 1);
        self.hall_session.closed().await;
        assert!(
            self.hall.connect().await.is_err(),
            "the revoked device is in again"
        );
        assert_eq!(self.rig.status().await.revocations_pending, 1);
    }

    /// With a disk that works again, everything does, without a restart and across one.
    async fn recovers(mut self) {
        until("the revocation to be durable", async || {
            (self.rig.status().await.revocations_pending == 0).then_some(())
        })
        .await;
        assert_eq!(self.rig.device("hall").await.state, "revoked");
        self.rig.enroll_with(&self.open).await.unwrap();
        assert!(self.rig.status().await.storage_available);
        self.lives("after").await;
        assert_eq!(
            crate::rotation::current(&self.rig, "hue/api-key").await.1,
            "a-value-to-give"
        );
        assert!(self.hall.connect().await.is_err());
        let log = self.rig.verified_log().await;
        assert!(log.contains("\"action\":\"device.revoke\""));
        self.rig.kill9().await;
        self.rig.start().await;
        assert_eq!(self.rig.status().await.incident, None);
        assert!(self.hall.connect().await.is_err());
        assert!(self.rig.verified_log().await.starts_with(&log));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_issuing_and_nothing_else_and_needs_no_restart() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut house = household(disk.rig().await).await;
    disk.fill();
    house.lives("full").await;
    house.issues_nothing().await;
    house.gives_nothing().await;
    house.revokes_in_memory().await;
    house.lives("still full").await;
    disk.empty();
    house.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_starts_on_a_full_disk_lets_devices_in_and_cuts_them_off() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut house = household(disk.rig().await).await;
    house.rig.stop().await;
    disk.fill();
    house.rig.start().await;
    house.hall_session = house.hall.connect().await.unwrap();
    // What is left of the room that was kept for the start, and what a change that failed has had of the disk, may be enough
    // for a smaller one: until nothing is left of that.
    disk.fill();
    let (mut tries, mut failed) = (0, 0);
    until("a full disk", async || {
        tries += 1;
        if house.rig.claim(&format!("late-{tries}")).await.is_err() {
            failed += 1;
        }
        (failed == 12).then_some(())
    })
    .await;
    house.issues_nothing().await;
    house.revokes_in_memory().await;
    let found = json(&house.rig.cli(&["check", "--json"]).await);
    let of_disk = |finding: &&Value| finding["kind"] == "storage-unavailable";
    let finding = found.as_array().unwrap().iter().find(of_disk);
    let what = finding.and_then(|finding| finding["what"].as_str());
    assert!(
        what.is_some_and(|what| what.starts_with("The disk is full")),
        "{found}"
    );
    disk.empty();
    until("the revocation to be durable", async || {
        (house.rig.status().await.revocations_pending == 0).then_some(())
    })
    .await;
    house.rig.restart().await;
    assert_eq!(house.rig.device("hall").await.state, "revoked");
    assert!(house.hall.connect().await.is_err());
    let found = json(&house.rig.cli(&["check", "--json"]).await);
    assert!(!found.as_array().unwrap().iter().any(|f| of_disk(&f)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_stops_issuing_and_nothing_else_and_needs_no_restart() {
    let mut house = household(Rig::new().await).await;
    let Some(failing) = FailingDisk::of(&house.rig).await else {
        return;
    };
    house.lives("failing").await;
    house.issues_nothing().await;
    house.gives_nothing().await;
    house.revokes_in_memory().await;
    house.lives("still failing").await;
    drop(failing);
    house.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_retained_while_the_disk_was_full_is_kept_once_it_has_room() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let house = household(disk.rig().await).await;
    let mut rig = house.rig;
    rig.enroll("door").await;
    disk.fill();
    let publish = ["-r", "-t", "devices/door/state", "-m", "shut"];
    if rig
        .mosquitto("mosquitto_pub", "door", &publish)
        .await
        .is_none()
    {
        return;
    }
    until("the gateway to notice that the disk is full", async || {
        (!rig.status().await.storage_available).then_some(())
    })
    .await;
    disk.empty();
    until("the gateway to notice that the disk has room", async || {
        rig.status().await.storage_available.then_some(())
    })
    .await;
    rig.restart().await;
    let receive = ["-t", "devices/door/state", "-C", "1", "-W", "10"];
    let received = rig
        .mosquitto("mosquitto_sub", "door", &receive)
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&received.stdout).trim(), "shut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_only_memory_held_is_gone_with_it_and_said_to_be_not_durable() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut house = household(disk.rig().await).await;
    disk.fill();
    house.revokes_in_memory().await;
    house.rig.kill9().await;
    disk.empty();
    house.rig.start().await;
    // Nobody was told that it would last; revoking again makes it so, torn line or not.
    assert!(house.rig.revoke("hall").await.unwrap().durable);
    house.rig.kill9().await;
    house.rig.start().await;
    assert!(house.hall.connect().await.is_err());
    house.rig.verified_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_no_token_is_made_and_a_revoked_one_is_out_all_the_same() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut rig = disk.rig().await;
    crate::service::listen(&mut rig);
    rig.start().await;
    let front = crate::service::Front::new(&rig).await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    assert_eq!(front.get(SELF, &token, &key).await.status, 200);
    disk.fill();
    let public = front.bench.dir.join("ci.pub");
    let mut tries = 0;
    until("a full disk", async || {
        tries += 1;
        let name = format!("late-{tries}");
        let create = [
            "token", "create", &name, "--env", "home", "--allow", "*:list",
        ];
        let who = ["--owner", "a", "--purpose", "b", "--json", "--key"];
        let create = [&create[..], &who, &[public.to_str().unwrap()]].concat();
        let made = json(&rig.cli(&create).await);
        (made["error"]["code"] == "storage_unavailable").then_some(())
    })
    .await;
    // What is alive is read from memory, and is used on.
    assert_eq!(front.get(SELF, &token, &key).await.status, 200);
    let revoked = json(&rig.cli(&["token", "revoke", "ci", "--json"]).await);
    assert_eq!(revoked["durable"], false, "{revoked}");
    assert_eq!(front.get(SELF, &token, &key).await.code(), "token_revoked");
    disk.empty();
    until("the revocation to be durable", async || {
        (rig.status().await.revocations_pending == 0).then_some(())
    })
    .await;
    rig.restart().await;
    assert_eq!(front.get(SELF, &token, &key).await.code(), "token_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_is_not_sealed_while_an_end_of_access_is_in_memory_alone() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut rig = disk.rig().await;
    rig.start().await;
    rig.enroll("hall").await;
    disk.fill();
    // What a change that failed has had of the disk may be enough for a smaller one: until nothing is left of that.
    let (mut tries, mut failed) = (0, 0);
    until("a full disk", async || {
        tries += 1;
        if rig.claim(&format!("late-{tries}")).await.is_err() {
            failed += 1;
        }
        (failed == 12).then_some(())
    })
    .await;
    let suspended = json(&rig.cli(&["device", "suspend", "hall", "--json"]).await);
    assert_eq!(suspended["durable"], false, "{suspended}");
    let refused = json(&rig.cli(&["seal", "--json"]).await);
    assert_eq!(refused["error"]["code"], "refused", "{refused}");
    let said = refused.to_string();
    assert!(
        said.contains("1 end of access is not saved to disk"),
        "{said}"
    );
    assert!(!rig.status().await.sealed);
    disk.empty();
    until("the suspension to be durable", async || {
        (rig.status().await.revocations_pending == 0).then_some(())
    })
    .await;
    assert!(rig.cli(&["seal"]).await.status.success());
    assert!(rig.status().await.sealed);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_secrets_are_counted_although_the_disk_is_full() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut rig = disk.rig().await;
    rig.start().await;
    let bench = Bench::new(&rig, "bench").await;
    let mut claim = rig.claim("lamp").await.unwrap();
    let csr = bench.csr("lamp", &[]).await;
    let right = std::mem::replace(&mut claim.secret, "0".repeat(32));
    disk.fill();
    let mut tries = 0;
    until("a full disk", async || {
        tries += 1;
        rig.claim(&format!("late-{tries}")).await.err()
    })
    .await;
    for _ in 0..5 {
        bench.ask(&claim, &csr).await;
    }
    claim.secret = right;
    disk.empty();
    let answer = bench.ask(&claim, &csr).await;
    assert!(answer.contains("\"claim_locked\""), "{answer}");
}
