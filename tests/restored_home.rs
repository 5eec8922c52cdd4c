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
use crate::rig::{json, until};
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
    // From now on it has no other certificate.
    connects(device).await;
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
        let mut revoked = enroll(&house, "revoked", revoked).await;
        let suspended = enroll(&house, "suspended", suspended).await;
        let file = house.backup().await;
        for device in &mut renewed {
            renew(&house, device).await;
        }
        // One of them has a certificate that the backup does not know.
        renew(&house, &mut revoked[0]).await;
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
    assert_eq!(restored["renewed"], count(&lost.renewed) + 1, "{restored}");
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

impl Lost {
    async fn waiting(&self) -> Vec<Value> {
        let list = self.house.told(&["device", "waiting"]).await;
        list["devices"].as_array().unwrap().clone()
    }

    /// A person confirms one device; it renews, and comes in as any other.
    async fn readmit(&self, device: &mut Device, more: &[&str]) {
        let id = device.id().to_owned();
        let args = [&["device", "readmit", &id], more].concat();
        self.house.told(&args).await;
        let before = self.house.rig.device(&id).await;
        assert_eq!(before.state, "active", "{id}");
        let session = device.connect().await.unwrap();
        let topic = format!("devices/{id}/state");
        let refused = session.publish(&topic, "on").await;
        assert!(refused.is_err(), "{id} may do more than renew");
        device.renew(&session).await.unwrap();
        session.close().await;
        let session = device.connect().await.unwrap();
        session.publish(&topic, "on").await.unwrap();
        session.close().await;
    }
}

/// Waits until a device that is refused is known to wait.
async fn waits(device: &mut Device) {
    let reason = refusal(device).await;
    assert!(!matches!(reason, ClosedReason::Revoked), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_journal_a_person_confirms_each_device_that_the_home_does_not_know() {
    let mut lost = Lost::new().await;
    lost.burn().await;
    for part in lost.parts() {
        fs::remove_file(part).unwrap();
    }
    let began = Instant::now();
    let restored = lost.restore("anew", &[]).await;
    assert_eq!(restored["journal_at"], Value::Null, "{restored}");
    assert_eq!(restored["journal_is_newer"], false, "{restored}");
    let found = lost.house.found("restored").await.unwrap();
    assert_eq!(found["severity"], "critical", "{found}");
    let made_at = restored["made_at"].as_str().unwrap();
    let what = found["what"].as_str().unwrap();
    assert!(
        what.contains(&format!("what happened from {made_at} to")),
        "{what}"
    );
    lost.calm = all_connect(lost.calm).await;
    // What the backup knows of a certificate is all that the home knows: these come in until a person has looked.
    for device in &mut lost.revoked[1..] {
        connects(device).await;
        lost.house.rig.revoke(device.id()).await.unwrap();
        let reason = refusal(device).await;
        assert!(matches!(reason, ClosedReason::Revoked), "{reason:?}");
    }
    for device in &mut lost.suspended {
        lost.house.rig.act(device.id(), "suspend").await.unwrap();
        waits(device).await;
    }
    let (renewed, enrolled) = (&mut lost.renewed, &mut lost.enrolled);
    for device in renewed
        .iter_mut()
        .chain(enrolled)
        .chain([&mut lost.revoked[0]])
    {
        waits(device).await;
    }
    let expected = lost.renewed.len() + lost.enrolled.len() + 1;
    until("all are listed", async || {
        (lost.waiting().await.len() == expected).then_some(())
    })
    .await;
    let found = lost.house.found("devices-waiting").await.unwrap();
    assert_eq!(found["severity"], "high", "{found}");
    let mut renewed = std::mem::take(&mut lost.renewed);
    for device in &mut renewed {
        lost.readmit(device, &[]).await;
    }
    let mut enrolled = std::mem::take(&mut lost.enrolled);
    let args = ["device", "readmit", enrolled[0].id(), "--json"];
    let refused = lost.house.rig.cli(&args).await;
    let why = json(&refused)["error"]["remedy"].to_string();
    assert!(why.contains("Say what it is"), "{why}");
    for device in &mut enrolled {
        let as_what = [
            "--profile",
            "generic",
            "--owner",
            "anna",
            "--purpose",
            "test",
        ];
        lost.readmit(device, &as_what).await;
    }
    // The one that was revoked is not confirmed, and is ended by its name.
    let mut one = lost.revoked.remove(0);
    assert_eq!(lost.waiting().await.len(), 1);
    waits(&mut one).await;
    lost.house.rig.revoke(one.id()).await.unwrap();
    let reason = refusal(&mut one).await;
    assert!(matches!(reason, ClosedReason::Revoked), "{reason:?}");
    let refused = lost
        .house
        .rig
        .cli(&["device", "readmit", one.id(), "--json"])
        .await;
    assert!(!refused.status.success(), "{}", json(&refused));
    say(
        "restored without its journal, each confirmed,",
        began.elapsed(),
    );
    // It holds over a restart, and everybody is in.
    lost.house.rig.restart().await;
    for devices in [renewed, enrolled, std::mem::take(&mut lost.calm)] {
        all_connect(devices).await;
    }
    let log = lost.house.rig.verified_log().await;
    assert!(log.contains(r#""action":"device.readmit""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_lacks_lines_or_was_shortened_says_so() {
    let mut house = House::new().await;
    house
        .told(&["backup", "set", "--to", house.place.to_str().unwrap()])
        .await;
    let mut lamp = house.rig.enroll("lamp").await;
    let file = house.backup().await;
    for _ in 0..2 {
        renew(&house, &mut lamp).await;
    }
    let mut hall = house.rig.enroll("hall").await;
    connects(&mut hall).await;
    let checkpoint = house.rig.work.path().join("checkpoint");
    let note = house.rig.client().get_bytes("/api/v1/log/checkpoint").await;
    fs::write(&checkpoint, note.unwrap()).unwrap();
    house.rig.kill9().await;
    let text = fs::read_to_string(house.rig.data_dir.join("revocations.journal")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let issued: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at].contains(r#"{"issued":"#))
        .collect();
    assert_eq!(issued.len(), 4, "{text}");
    let given = house.rig.work.path().join("given.journal");
    let restore = async |name: &str, left: Vec<&str>| {
        fs::write(&given, left.join("\n") + "\n").unwrap();
        let to = house.rig.work.path().join(name);
        let more = [
            "--journal",
            given.to_str().unwrap(),
            "--checkpoint",
            checkpoint.to_str().unwrap(),
        ];
        let restored = house.restored(&file, &to, &more).await;
        restored["unknown"].as_str().unwrap().to_owned()
    };
    let whole = restore("whole", lines.clone()).await;
    assert!(!whole.contains("missing"), "{whole}");
    let mut holed = lines.clone();
    holed.remove(issued[2]);
    let holed = restore("holed", holed).await;
    assert!(
        holed.contains("Lines of the journal are missing"),
        "{holed}"
    );
    let shortened = restore("shortened", lines[..issued[2]].to_vec()).await;
    assert!(shortened.contains("was shortened"), "{shortened}");
}

/// Length of a time to the second.
const SECOND: usize = "2026-12-01T00:00:00".len();

fn say(what: &str, took: Duration) {
    println!("{what} after {:.1} s", took.as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_gone_holds_up_nothing_and_gets_the_journal_when_it_is_back() {
    let house = House::new().await;
    let place = house.place.to_str().unwrap();
    house.told(&["backup", "set", "--to", place]).await;
    house.rig.enroll("lamp").await;
    let journal = async || house.told(&["backup", "list"]).await["journal"].clone();
    let known = until("the journal is at the place", async || {
        let journal = journal().await;
        let all = journal["behind_since"].is_null() && journal["known_until"].is_string();
        all.then_some(journal)
    })
    .await;
    assert!(
        house.rig.status().await.backed_up_until.is_some(),
        "{known}"
    );
    let away = house.rig.work.path().join("away");
    fs::rename(&house.place, &away).unwrap();
    let mut hall = house.rig.enroll("hall").await;
    connects(&mut hall).await;
    let behind = until("that it is behind is told", async || {
        let journal = journal().await;
        journal["failed"].is_string().then_some(journal)
    })
    .await;
    let why = behind["failed"].as_str().unwrap();
    assert!(why.contains("No such file"), "{why}");
    assert!(behind["behind_since"].is_string(), "{behind}");
    let until_then = house.rig.status().await.backed_up_until.unwrap();
    let since = behind["behind_since"].as_str().unwrap();
    assert!(
        until_then[..SECOND] <= since[..SECOND],
        "{until_then} {behind}"
    );
    fs::rename(&away, &house.place).unwrap();
    house.told(&["backup", "set", "--keep", "14"]).await;
    until("the journal is at the place again", async || {
        let journal = journal().await;
        (journal["behind_since"].is_null() && journal["failed"].is_null()).then_some(())
    })
    .await;
    let hidden = listed(&house.place);
    assert!(
        hidden.iter().all(|name| !name.ends_with(".unfinished")),
        "{hidden:?}"
    );
    for part in hidden.iter().filter(|name| name.contains("-journal-")) {
        let bytes = fs::read(house.place.join(part)).unwrap();
        assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
        let shows = bytes
            .windows(4)
            .any(|four| four == b"hall" || four == b"lamp");
        assert!(!shows, "{part} says who is in the home");
    }
}
