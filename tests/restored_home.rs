//! A machine is lost after its backup: with its journal the home is as it was, and without it a person says who comes in.
//! A sample in `make test`, in full in `make soak`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hearthkey_agent::{ClosedReason, Device};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backup::{House, connects, listed};
use crate::restore::refusal;
use crate::rig::until;
use crate::soak::rounds;

/// Devices that do something at the same time.
const AT_ONCE: usize = 8;

/// A home whose machine is lost, with what happened after the backup.
struct Lost {
    house: House,
    file: PathBuf,
    calm: Vec<Device>,
    renewed: Vec<Device>,
    revoked: Vec<Device>,
    suspended: Vec<Device>,
    enrolled: Vec<Device>,
}

/// How many devices do what.
struct Cast {
    calm: usize,
    renewed: usize,
    revoked: usize,
    suspended: usize,
    enrolled: usize,
}

/// 12 devices, or 300.
fn cast() -> Cast {
    let of = |sample, full| usize::try_from(rounds(sample, full)).unwrap();
    Cast {
        calm: of(6, 247),
        renewed: of(3, 40),
        revoked: of(2, 10),
        suspended: of(1, 3),
        enrolled: of(2, 5),
    }
}

async fn enroll(house: &House, kind: &str, count: usize) -> Vec<Device> {
    let mut devices = Vec::with_capacity(count);
    let names: Vec<String> = (0..count).map(|n| format!("{kind}-{n}")).collect();
    for some in names.chunks(AT_ONCE) {
        let each = some.iter().map(|name| house.rig.enroll(name));
        for mut device in futures(each).await {
            connects(&mut device).await;
            devices.push(device);
        }
    }
    devices
}

/// Waits for all, at the same time, in their order.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut left = false;
        for (one, done) in &mut all {
            if done.is_none() {
                match one.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => left = true,
                }
            }
        }
        match left {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(()),
        }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}

async fn renew(house: &House, device: &mut Device) {
    let session = device.connect().await.unwrap();
    house.rig.act(device.id(), "rotate").await.unwrap();
    device.renew(&session).await.unwrap();
    session.close().await;
}

/// All connect; gives them back.
async fn all_connect(devices: Vec<Device>) -> Vec<Device> {
    let mut tasks = JoinSet::new();
    let mut back = Vec::new();
    for mut device in devices {
        if tasks.len() >= AT_ONCE {
            back.push(tasks.join_next().await.unwrap().unwrap());
        }
        tasks.spawn(async move {
            connects(&mut device).await;
            device
        });
    }
    while let Some(done) = tasks.join_next().await {
        back.push(done.unwrap());
    }
    back
}

impl Lost {
    async fn new() -> Self {
        let Cast {
            calm,
            renewed,
            revoked,
            suspended,
            enrolled,
        } = cast();
        let house = House::new().await;
        house
            .told(&["backup", "set", "--to", house.place.to_str().unwrap()])
            .await;
        let calm = enroll(&house, "calm", calm).await;
        let mut renewed = enroll(&house, "renewed", renewed).await;
        let revoked = enroll(&house, "revoked", revoked).await;
        let suspended = enroll(&house, "suspended", suspended).await;
        let file = house.backup().await;
        for device in &mut renewed {
            renew(&house, device).await;
        }
        for device in &revoked {
            house.rig.revoke(device.id()).await.unwrap();
        }
        for device in &suspended {
            house.rig.act(device.id(), "suspend").await.unwrap();
        }
        let enrolled = enroll(&house, "new", enrolled).await;
        Self {
            house,
            file,
            calm,
            renewed,
            revoked,
            suspended,
            enrolled,
        }
    }

    /// Waits until the place knows everything, and takes the machine away.
    async fn burn(&mut self) {
        let house = &mut self.house;
        until("the journal is where the backups are", async || {
            let list = house.told(&["backup", "list"]).await;
            let journal = &list["journal"];
            let all = journal["behind_since"].is_null() && journal["known_until"].is_string();
            all.then_some(())
        })
        .await;
        house.rig.kill9().await;
        fs::remove_dir_all(&house.rig.data_dir).unwrap();
    }

    /// The files of the journal at the place.
    fn parts(&self) -> Vec<PathBuf> {
        let names = listed(&self.house.place).into_iter();
        let parts = names.filter(|name| name.contains("-journal-"));
        parts.map(|name| self.house.place.join(name)).collect()
    }

    async fn restore(&mut self, to: &str, more: &[&str]) -> Value {
        let to = self.house.rig.work.path().join(to);
        let restored = self.house.restored(&self.file, &to, more).await;
        self.house.rig.data_dir = to;
        self.house.rig.start().await;
        restored
    }
}

fn count(of: &[Device]) -> u64 {
    of.len() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_journal_a_lost_home_is_as_it_was_and_no_device_is_touched() {
    let mut lost = Lost::new().await;
    lost.burn().await;
    assert!(!lost.parts().is_empty());
    let began = Instant::now();
    let restored = lost.restore("anew", &[]).await;
    let place = lost.house.place.to_str().unwrap();
    assert_eq!(restored["journal_at"], place, "{restored}");
    assert_eq!(restored["renewed"], count(&lost.renewed), "{restored}");
    assert_eq!(restored["enrolled"], count(&lost.enrolled), "{restored}");
    assert_eq!(restored["suspended"], count(&lost.suspended), "{restored}");
    assert_eq!(restored["revocations_added"], count(&lost.revoked));
    assert_eq!(restored["doubt"], Value::Null, "{restored}");
    lost.calm = all_connect(lost.calm).await;
    lost.renewed = all_connect(lost.renewed).await;
    lost.enrolled = all_connect(lost.enrolled).await;
    for device in &mut lost.revoked {
        let reason = refusal(device).await;
        assert!(matches!(reason, ClosedReason::Revoked), "{reason:?}");
    }
    for device in &mut lost.suspended {
        let reason = refusal(device).await;
        assert!(!matches!(reason, ClosedReason::Revoked), "{reason:?}");
        let id = device.id().to_owned();
        assert_eq!(lost.house.rig.device(&id).await.state, "suspended");
    }
    say("restored with its journal", began.elapsed());
    // It goes on: a renewal, a backup, and a suspended device that comes back.
    let house = &lost.house;
    renew(house, &mut lost.renewed[0]).await;
    connects(&mut lost.renewed[0]).await;
    for device in &mut lost.suspended {
        house.rig.act(device.id(), "resume").await.unwrap();
        connects(device).await;
    }
    house.backup().await;
    let found = house.found("restored").await.unwrap();
    assert_eq!(found["severity"], "high", "{found}");
    assert!(house.found("journal-not-shipped").await.is_none());
    house.rig.verified_log().await;
}

fn say(what: &str, took: Duration) {
    println!("{what} after {:.1} s", took.as_secs_f64());
}
