//! Two slots for key and certificate: the current pair works until the next one has been seen to.
//!
//! A renewal goes through four steps, each atomic on disk: write `next.key`, write `next.crt`, rename `next.key` over
//! `device.key`, rename `next.crt` over `device.crt`. Opening the slots finishes whatever a crash interrupted.
//! What the disk does not take is owed to it, and done before the next slot is used again.

use std::io::ErrorKind;

use crate::certificate::Leaf;
use crate::directory::{
    CERTIFICATE, DeviceDirectory, DirectoryError, KEY, NEXT_CERTIFICATE, NEXT_KEY,
};
use crate::key::DeviceKey;

/// A key and the certificate for it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) key: DeviceKey,
    pub(crate) leaf: Leaf,
}

/// The device's pairs as they are on disk.
#[derive(Debug)]
pub(crate) struct Slots {
    current: Pair,
    next: Option<Pair>,
    /// Files that have yet to get their other name, in order.
    owed: &'static [(&'static str, &'static str)],
}

/// What makes the next pair on disk the current one.
const PROMOTION: &[(&str, &str)] = &[(NEXT_KEY, KEY), (NEXT_CERTIFICATE, CERTIFICATE)];

impl Slots {
    /// Reads both slots of a device, after finishing or undoing what a crash interrupted.
    pub(crate) fn open(directory: &DeviceDirectory, device: &str) -> Result<Self, DirectoryError> {
        let key = read_key(directory, KEY)?;
        let next_key = read_key(directory, NEXT_KEY)?;
        let certificate = read_leaf(directory, CERTIFICATE)?;
        let next_certificate = read_leaf(directory, NEXT_CERTIFICATE)?;
        let key = key.ok_or_else(|| directory.damaged(KEY, "it is missing"))?;
        match next_certificate {
            // A slot that an earlier identity has left must not take over from this one.
            Some(next) if next.common_name != device => {
                directory.remove(NEXT_CERTIFICATE)?;
                directory.remove(NEXT_KEY)?;
            }
            Some(next) if next.is_for(&key) => {
                // The key had been renamed, its certificate had not.
                directory.rename(NEXT_CERTIFICATE, CERTIFICATE)?;
                return Ok(Self::settled(Pair { key, leaf: next }));
            }
            Some(next) if next_key.as_ref().is_some_and(|key| next.is_for(key)) => {
                let current = current_pair(directory, device, key, certificate)?;
                let next = next_key.map(|key| Pair { key, leaf: next });
                return Ok(Self {
                    next,
                    ..Self::settled(current)
                });
            }
            // A certificate for a key that is not here is of no use.
            Some(_) => directory.remove(NEXT_CERTIFICATE)?,
            None => {}
        }
        let current = current_pair(directory, device, key, certificate)?;
        Ok(Self::settled(current))
    }

    fn settled(current: Pair) -> Self {
        Self {
            current,
            next: None,
            owed: &[],
        }
    }

    /// The pair that has worked.
    pub(crate) fn current(&self) -> &Pair {
        &self.current
    }

    /// The pair that has yet to be seen on a connection.
    pub(crate) fn next(&self) -> Option<&Pair> {
        self.next.as_ref()
    }

    /// The key to renew with. A request that was never answered is repeated with its own key: two keys renewing one
    /// certificate look to the gateway like a copied device.
    pub(crate) fn key_for_renewal(
        &mut self,
        directory: &DeviceDirectory,
    ) -> Result<DeviceKey, DirectoryError> {
        self.settle(directory)?;
        if let Some(key) = read_key(directory, NEXT_KEY)? {
            return Ok(key);
        }
        let key = DeviceKey::generate().map_err(|error| directory.damaged(NEXT_KEY, error))?;
        directory.write(NEXT_KEY, key.to_pem().as_bytes())?;
        Ok(key)
    }

    /// Fills the next slot. The key is on disk already: it was there before the request was made.
    pub(crate) fn fill_next(
        &mut self,
        directory: &DeviceDirectory,
        pair: Pair,
    ) -> Result<(), DirectoryError> {
        directory.write(NEXT_CERTIFICATE, pair.leaf.pem.as_bytes())?;
        self.next = Some(pair);
        Ok(())
    }

    /// Makes the next pair the current one in memory, after a connection with it has succeeded. The disk follows with
    /// `settle`.
    pub(crate) fn promote(&mut self) {
        if let Some(next) = self.next.take() {
            self.current = next;
            self.owed = PROMOTION;
        }
    }

    /// Gives files the names that they are still owed.
    pub(crate) fn settle(&mut self, directory: &DeviceDirectory) -> Result<(), DirectoryError> {
        while let [(from, to), rest @ ..] = self.owed {
            match directory.rename(from, to) {
                Ok(()) => {}
                // It has its name already; the disk had not said so.
                Err(DirectoryError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.owed = rest;
        }
        Ok(())
    }

    /// Drops the next certificate, after the gateway refused it and accepted the current one. Its key stays, for the
    /// next request.
    pub(crate) fn drop_next(&mut self, directory: &DeviceDirectory) -> Result<(), DirectoryError> {
        self.next = None;
        directory.remove(NEXT_CERTIFICATE)
    }
}

fn current_pair(
    directory: &DeviceDirectory,
    device: &str,
    key: DeviceKey,
    leaf: Option<Leaf>,
) -> Result<Pair, DirectoryError> {
    let leaf = leaf.ok_or_else(|| directory.damaged(CERTIFICATE, "it is missing"))?;
    if !leaf.is_for(&key) {
        return Err(directory.damaged(CERTIFICATE, "it is for another key than device.key"));
    }
    leaf.belongs_to(device, &key)
        .map_err(|error| directory.damaged(CERTIFICATE, error))?;
    Ok(Pair { key, leaf })
}

/// Reads a key file, if there is one.
pub(crate) fn read_key(
    directory: &DeviceDirectory,
    name: &str,
) -> Result<Option<DeviceKey>, DirectoryError> {
    directory
        .read(name)?
        .map(|pem| DeviceKey::from_pem(&pem).map_err(|error| directory.damaged(name, error)))
        .transpose()
}

/// Reads a certificate file, if there is one.
pub(crate) fn read_leaf(
    directory: &DeviceDirectory,
    name: &str,
) -> Result<Option<Leaf>, DirectoryError> {
    directory
        .read(name)?
        .map(|pem| {
            let text = std::str::from_utf8(&pem).unwrap_or_default();
            Leaf::from_pem(text).map_err(|error| directory.damaged(name, error))
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_ca::SmallCa;

    struct Story {
        _temp: tempfile::TempDir,
        directory: DeviceDirectory,
        old_serial: String,
        new_serial: String,
        new_key: DeviceKey,
        new_pem: String,
    }

    fn story() -> Story {
        let temp = tempfile::tempdir().unwrap();
        let directory = DeviceDirectory::open_to_enroll(temp.path()).unwrap();
        let ca = SmallCa::new();
        let (old_key, new_key) = (
            DeviceKey::generate().unwrap(),
            DeviceKey::generate().unwrap(),
        );
        let old_pem = ca.device_certificate("lamp-1", &old_key);
        let new_pem = ca.device_certificate("lamp-1", &new_key);
        directory.write(KEY, old_key.to_pem().as_bytes()).unwrap();
        directory.write(CERTIFICATE, old_pem.as_bytes()).unwrap();
        Story {
            _temp: temp,
            directory,
            old_serial: Leaf::from_pem(&old_pem).unwrap().serial,
            new_serial: Leaf::from_pem(&new_pem).unwrap().serial,
            new_key,
            new_pem,
        }
    }

    /// The disk after the first `steps` steps of a renewal.
    fn crashed_after(steps: usize) -> Story {
        let story = story();
        let directory = &story.directory;
        if steps > 0 {
            directory
                .write(NEXT_KEY, story.new_key.to_pem().as_bytes())
                .unwrap();
        }
        if steps > 1 {
            directory
                .write(NEXT_CERTIFICATE, story.new_pem.as_bytes())
                .unwrap();
        }
        if steps > 2 {
            directory.rename(NEXT_KEY, KEY).unwrap();
        }
        if steps > 3 {
            directory.rename(NEXT_CERTIFICATE, CERTIFICATE).unwrap();
        }
        story
    }

    #[test]
    fn a_crash_at_any_step_of_a_renewal_leaves_a_working_pair() {
        for steps in 0..=4 {
            let story = crashed_after(steps);
            let slots = Slots::open(&story.directory, "lamp-1").unwrap();
            let current = slots.current();
            assert!(current.leaf.is_for(&current.key), "after {steps} steps");
            let expected = if steps < 3 {
                &story.old_serial
            } else {
                &story.new_serial
            };
            assert_eq!(&current.leaf.serial, expected, "after {steps} steps");
            let next = slots.next().map(|pair| pair.leaf.serial.clone());
            assert_eq!(
                next,
                (steps == 2).then(|| story.new_serial.clone()),
                "after {steps} steps"
            );
        }
    }

    #[test]
    fn recovery_is_the_same_when_it_crashes_and_runs_again() {
        for steps in 0..=4 {
            let story = crashed_after(steps);
            let first = Slots::open(&story.directory, "lamp-1")
                .unwrap()
                .current()
                .leaf
                .serial
                .clone();
            let again = Slots::open(&story.directory, "lamp-1")
                .unwrap()
                .current()
                .leaf
                .serial
                .clone();
            assert_eq!(first, again);
        }
    }

    #[test]
    fn a_renewal_whose_answer_was_lost_is_repeated_with_the_same_key() {
        let story = crashed_after(1);
        let mut slots = Slots::open(&story.directory, "lamp-1").unwrap();
        let key = slots.key_for_renewal(&story.directory).unwrap();
        assert_eq!(key.public_key_der(), story.new_key.public_key_der());
    }

    #[test]
    fn promoting_replaces_the_pair_on_disk() {
        let story = crashed_after(2);
        let mut slots = Slots::open(&story.directory, "lamp-1").unwrap();
        slots.promote();
        slots.settle(&story.directory).unwrap();
        let slots = Slots::open(&story.directory, "lamp-1").unwrap();
        assert_eq!(slots.current().leaf.serial, story.new_serial);
        assert!(slots.next().is_none());
        assert!(story.directory.read(NEXT_KEY).unwrap().is_none());
    }

    #[test]
    fn a_refused_next_certificate_goes_and_its_key_stays() {
        let story = crashed_after(2);
        Slots::open(&story.directory, "lamp-1")
            .unwrap()
            .drop_next(&story.directory)
            .unwrap();
        let mut slots = Slots::open(&story.directory, "lamp-1").unwrap();
        assert_eq!(slots.current().leaf.serial, story.old_serial);
        assert!(slots.next().is_none());
        let key = slots.key_for_renewal(&story.directory).unwrap();
        assert_eq!(key.public_key_der(), story.new_key.public_key_der());
    }

    #[test]
    fn what_the_disk_did_not_take_is_done_later_and_before_the_next_renewal() {
        let story = crashed_after(2);
        let mut slots = Slots::open(&story.directory, "lamp-1").unwrap();
        // A directory in the way, with something in it, as a disk that fails: also for root.
        let (in_the_way, aside) = (story.directory.path().join(CERTIFICATE), "aside");
        story.directory.rename(CERTIFICATE, aside).unwrap();
        std::fs::create_dir_all(in_the_way.join("x")).unwrap();
        slots.promote();
        assert_eq!(slots.current().leaf.serial, story.new_serial);
        assert!(slots.settle(&story.directory).is_err());
        assert!(slots.key_for_renewal(&story.directory).is_err());
        std::fs::remove_dir_all(&in_the_way).unwrap();
        let key = slots.key_for_renewal(&story.directory).unwrap();
        assert_ne!(key.public_key_der(), story.new_key.public_key_der());
        let again = Slots::open(&story.directory, "lamp-1").unwrap();
        assert_eq!(again.current().leaf.serial, story.new_serial);
    }

    #[test]
    fn a_next_slot_of_another_device_is_dropped_with_its_key() {
        let story = story();
        let (key, directory) = (DeviceKey::generate().unwrap(), &story.directory);
        let foreign = SmallCa::new().device_certificate("lamp-0", &key);
        directory.write(NEXT_KEY, key.to_pem().as_bytes()).unwrap();
        directory
            .write(NEXT_CERTIFICATE, foreign.as_bytes())
            .unwrap();
        let slots = Slots::open(directory, "lamp-1").unwrap();
        assert_eq!(slots.current().leaf.serial, story.old_serial);
        assert!(slots.next().is_none());
        assert!(directory.read(NEXT_KEY).unwrap().is_none());
        assert!(directory.read(NEXT_CERTIFICATE).unwrap().is_none());
        assert!(Slots::open(directory, "lamp-0").is_err());
    }

    #[test]
    fn a_next_certificate_for_no_key_here_is_dropped() {
        let story = story();
        story
            .directory
            .write(NEXT_CERTIFICATE, story.new_pem.as_bytes())
            .unwrap();
        let slots = Slots::open(&story.directory, "lamp-1").unwrap();
        assert_eq!(slots.current().leaf.serial, story.old_serial);
        assert!(story.directory.read(NEXT_CERTIFICATE).unwrap().is_none());
    }
}
