//! The one clock. Everything else receives the time as an argument.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hearthkey_core::clock_witness::{Agreement, Said, Witnesses};
use hearthkey_core::id::{DeviceId, hex};
use hearthkey_core::posture::witness::ClockDoubted;
use hearthkey_core::time::Timestamp;
use hearthkey_core::trusted_time::{Gained, Reading, Step, TrustedTime};
use rtime_clock::adjtime::{Timex, adjtimex};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};

/// The setting that keeps what home time has gained by itself, beside `last_time`.
pub(crate) const GAINED: &str = "clock_gained";
/// The setting that keeps home time.
pub(crate) const LAST_TIME: &str = "last_time";

/// What the machine says of its time.
struct Machine {
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    /// Whether the kernel says that the wall clock is synchronized; none if that is not known.
    synchronized: Box<dyn Fn() -> Option<bool> + Send + Sync>,
}

/// Home time: see [`hearthkey_core::trusted_time`].
pub(crate) struct Clock {
    time: Mutex<TrustedTime>,
    machine: Machine,
    witnesses: Mutex<Witnesses>,
    /// What tells this machine from others, in the words of its agents.
    this_machine: Option<String>,
}

/// What both clocks show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Both {
    /// Home time.
    pub(crate) home: Timestamp,
    /// The machine's clock.
    pub(crate) machine: Timestamp,
    /// Whether the machine's clock is synchronized; none if that is not known.
    pub(crate) synchronized: Option<bool>,
    /// Why home time does not follow it, if it does not.
    pub(crate) doubted: Option<ClockDoubted>,
}

impl Clock {
    /// Begins with the last durable time, and with what that had gained.
    pub(crate) fn start(last: Option<(Timestamp, Gained)>) -> Self {
        let machine = Machine {
            read: Box::new(read),
            synchronized: Box::new(synchronized),
        };
        Self::of(machine, last)
    }

    fn of(machine: Machine, last: Option<(Timestamp, Gained)>) -> Self {
        let time = TrustedTime::start((machine.read)(), &machine.synchronized, last);
        Self {
            time: Mutex::new(time),
            machine,
            witnesses: Mutex::default(),
            this_machine: this_machine(),
        }
    }

    /// A clock that is set by hand, and believed: both clocks of the machine show this many milliseconds.
    #[cfg(test)]
    pub(crate) fn by_hand(ms: std::sync::Arc<std::sync::atomic::AtomicI64>) -> Self {
        let read = move || {
            let ms = ms.load(std::sync::atomic::Ordering::Relaxed);
            Reading {
                wall: Timestamp::from_ms(ms),
                monotonic_ms: ms,
            }
        };
        let machine = Machine {
            read: Box::new(read),
            synchronized: Box::new(|| Some(true)),
        };
        Self::of(machine, None)
    }

    /// A machine whose wall clock can be set apart from what has passed, and that says this of its synchronization.
    #[cfg(test)]
    pub(crate) fn of_parts(
        passed_ms: std::sync::Arc<std::sync::atomic::AtomicI64>,
        apart_ms: std::sync::Arc<std::sync::atomic::AtomicI64>,
        synchronized: Option<bool>,
    ) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let read = move || {
            let passed_ms = passed_ms.load(Relaxed);
            Reading {
                wall: Timestamp::from_ms(passed_ms + apart_ms.load(Relaxed)),
                monotonic_ms: passed_ms,
            }
        };
        let machine = Machine {
            read: Box::new(read),
            synchronized: Box::new(move || synchronized),
        };
        Self::of(machine, None)
    }

    fn time(&self) -> MutexGuard<'_, TrustedTime> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> Reading {
        (self.machine.read)()
    }

    /// Home time.
    pub(crate) fn now(&self) -> Timestamp {
        let mut time = self.time();
        time.now(self.reading(), &self.machine.synchronized)
    }

    /// Home time, and whether it follows the machine's clock.
    pub(crate) fn now_and_trust(&self) -> (Timestamp, bool) {
        let mut time = self.time();
        let now = time.now(self.reading(), &self.machine.synchronized);
        (now, time.is_trusted())
    }

    /// Whether what time brings may be forgotten and destroyed for good.
    pub(crate) fn is_settled(&self) -> bool {
        self.both();
        self.time().is_settled()
    }

    /// What both clocks show, and whether the machine's is synchronized.
    pub(crate) fn both(&self) -> Both {
        let synchronized = (self.machine.synchronized)();
        let mut time = self.time();
        let reading = self.reading();
        let home = time.follow(reading, || synchronized);
        let machine = reading.wall;
        let doubted = time.doubted().map(|doubted| ClockDoubted {
            doubted,
            machine,
            synchronized,
        });
        Both {
            home,
            machine,
            synchronized,
            doubted,
        }
    }

    /// A person has confirmed the machine's clock, or devices agree with it. None, and nothing happens, if it shows a time before
    /// this program was made.
    pub(crate) fn confirm(&self) -> Option<Step> {
        let synchronized = (self.machine.synchronized)();
        self.time().confirm(self.reading(), synchronized)
    }

    /// The steps of home time that were not written down yet.
    pub(crate) fn take_steps(&self) -> Vec<Step> {
        self.time().take_steps()
    }

    /// What is kept over a restart.
    pub(crate) fn kept(&self) -> (Timestamp, Gained) {
        let mut time = self.time();
        let now = time.now(self.reading(), &self.machine.synchronized);
        (now, time.gained())
    }

    /// A device says what its clock shows. Nothing comes of it if that runs on this machine: it has the clock that is in doubt.
    pub(crate) fn hear(&self, device: &DeviceId, said: &Said) {
        if said.machine.is_some() && said.machine == self.this_machine {
            return;
        }
        let monotonic_ms = self.reading().monotonic_ms;
        let heard = self.witnesses().hear(device.clone(), said, monotonic_ms);
        if heard.is_none() {
            tracing::debug!(%device, "what a device said of the time is not kept");
        }
    }

    /// Which of the devices that may speak agree with the machine's clock.
    pub(crate) fn agreement(&self, may_speak: impl Fn(&DeviceId) -> bool) -> Agreement {
        let reading = self.reading();
        self.witnesses().about(reading, may_speak)
    }

    fn witnesses(&self) -> MutexGuard<'_, Witnesses> {
        self.witnesses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The machine's clock, for a home that does not exist yet.
pub(crate) fn machine_time() -> Timestamp {
    read().wall
}

#[allow(clippy::disallowed_methods)] // This is the clock.
fn read() -> Reading {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    // Counts the time asleep too, so that waking up is not mistaken for a jump.
    let running = clock_gettime(ClockId::Boottime);
    Reading {
        wall: Timestamp::from_ms(i64::try_from(wall).unwrap_or(i64::MAX)),
        monotonic_ms: running.tv_sec.saturating_mul(1000) + running.tv_nsec / 1_000_000,
    }
}

/// That the clock is not synchronized (linux/timex.h).
const STA_UNSYNC: i32 = 0x0040;

/// Whether the kernel says that the wall clock is synchronized: `adjtimex` (adjtimex(2)) without modes, which changes nothing and
/// needs no capability. None where it is not allowed.
pub(crate) fn synchronized() -> Option<bool> {
    let mut timex = Timex::new();
    adjtimex(&mut timex).ok()?;
    Some(timex.0.status & STA_UNSYNC == 0)
}

/// What tells this machine from others until it is started again, in the form that agents say it in (docs/MQTT.md).
fn this_machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digest = Sha256::new()
        .chain_update(b"hearthkey/machine/v1\n")
        .chain_update(boot.trim().as_bytes())
        .finalize();
    Some(hex(&digest[..16]))
}

/// Measures how long something took.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(rustix::time::Timespec);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(clock_gettime(ClockId::Monotonic))
    }

    pub(crate) fn elapsed_us(&self) -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        let us = (now.tv_sec - self.0.tv_sec) * 1_000_000 + (now.tv_nsec - self.0.tv_nsec) / 1000;
        u64::try_from(us).unwrap_or_default()
    }
}
