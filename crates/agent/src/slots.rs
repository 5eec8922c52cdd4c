//! Two slots for key and certificate: the current pair works until the next one has been seen to.
//!
//! A renewal goes through four steps, each atomic on disk: write `next.key`, write `next.crt`, rename `next.key` over
//! `device.key`, rename `next.crt` over `device.crt`. Opening the slots finishes whatever a crash interrupted.

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
}

impl Slots {
    /// Reads both slots, after finishing or undoing what a crash interrupted.
    pub(crate) fn open(directory: &DeviceDirectory) -> Result<Self, DirectoryError> {
        let key = read_key(directory, KEY)?;
        let next_key = read_key(directory, NEXT_KEY)?;
        let certificate = read_leaf(directory, CERTIFICATE)?;
        let next_certificate = read_leaf(directory, NEXT_CERTIFICATE)?;
        let key = key.ok_or_else(|| directory.damaged(KEY, "it is missing"))?;
        match next_certificate {
            Some(next) if next.is_for(&key) => {
                // The key had been renamed, its certificate had not.
                directory.rename(NEXT_CERTIFICATE, CERTIFICATE)?;
                return Ok(Self::settled(Pair { key, leaf: next }));
            }
            Some(next) if next_key.as_ref().is_some_and(|key| next.is_for(key)) => {
                let current = current_pair(directory, key, certificate)?;
                let next = next_key.map(|key| Pair { key, leaf: next });
                return Ok(Self { current, next });
            }
            // A certificate for a key that is not here is of no use.
            Some(_) => directory.remove(NEXT_CERTIFICATE)?,
            None => {}
        }
        Ok(Self::settled(current_pair(directory, key, certificate)?))
    }

    fn settled(current: Pair) -> Self {
        Self {
            current,
            next: None,
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
        &self,
        directory: &DeviceDirectory,
    ) -> Result<DeviceKey, DirectoryError> {
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

    /// Makes the next pair the current one, after a connection with it has succeeded.
    pub(crate) fn promote(&mut self, directory: &DeviceDirectory) -> Result<(), DirectoryError> {
        let Some(next) = self.next.take() else {
            return Ok(());
        };
        // From the first rename on, the current certificate in memory is the new one, whatever the disk does.
        self.current = next;
        directory.rename(NEXT_KEY, KEY)?;
        directory.rename(NEXT_CERTIFICATE, CERTIFICATE)
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
    key: DeviceKey,
    leaf: Option<Leaf>,
) -> Result<Pair, DirectoryError> {
    let leaf = leaf.ok_or_else(|| directory.damaged(CERTIFICATE, "it is missing"))?;
    if !leaf.is_for(&key) {
        return Err(directory.damaged(CERTIFICATE, "it is for another key than device.key"));
    }
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
        let directory = DeviceDirectory::open(temp.path()).unwrap();
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
            let slots = Slots::open(&story.directory).unwrap();
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
            let first = Slots::open(&story.directory)
                .unwrap()
                .current()
                .leaf
                .serial
                .clone();
            let again = Slots::open(&story.directory)
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
        let slots = Slots::open(&story.directory).unwrap();
        let key = slots.key_for_renewal(&story.directory).unwrap();
        assert_eq!(key.public_key_der(), story.new_key.public_key_der());
    }

    #[test]
    fn promoting_replaces_the_pair_on_disk() {
        let story = crashed_after(2);
        Slots::open(&story.directory)
            .unwrap()
            .promote(&story.directory)
            .unwrap();
        let slots = Slots::open(&story.directory).unwrap();
        assert_eq!(slots.current().leaf.serial, story.new_serial);
        assert!(slots.next().is_none());
        assert!(story.directory.read(NEXT_KEY).unwrap().is_none());
    }

    #[test]
    fn a_refused_next_certificate_goes_and_its_key_stays() {
        let story = crashed_after(2);
        Slots::open(&story.directory)
            .unwrap()
            .drop_next(&story.directory)
            .unwrap();
        let slots = Slots::open(&story.directory).unwrap();
        assert_eq!(slots.current().leaf.serial, story.old_serial);
        assert!(slots.next().is_none());
        let key = slots.key_for_renewal(&story.directory).unwrap();
        assert_eq!(key.public_key_der(), story.new_key.public_key_der());
    }

    #[test]
    fn a_next_certificate_for_no_key_here_is_dropped() {
        let story = story();
        story
            .directory
            .write(NEXT_CERTIFICATE, story.new_pem.as_bytes())
            .unwrap();
        let slots = Slots::open(&story.directory).unwrap();
        assert_eq!(slots.current().leaf.serial, story.old_serial);
        assert!(story.directory.read(NEXT_CERTIFICATE).unwrap().is_none());
    }
}
