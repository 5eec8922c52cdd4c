//! Room on the disk that is kept for opening a home.
//!
//! SQLite opens no database without an index of its write-ahead log beside it, and takes that away when the home closes. A
//! home that was closed before others filled the disk opens all the same, with the room that it kept.

use super::DataDir;

/// The file that keeps the room: its content says nothing.
pub const ROOM_FILE: &str = "hearthkey.room";
/// The index has 32 KiB; the rest is for what a file system adds.
const ROOM_BYTES: usize = 64 * 1024;

impl DataDir {
    /// Keeps room for opening the home once more, if it is not kept yet and there is any.
    pub(crate) fn keep_room(&self) {
        let kept = self.read(ROOM_FILE).ok().flatten();
        if kept.is_some_and(|kept| kept.len() == ROOM_BYTES) {
            return;
        }
        if let Err(error) = self.replace(ROOM_FILE, &vec![0; ROOM_BYTES]) {
            tracing::warn!(%error, "no room is kept for opening the home while the disk is full");
            // A part of it would take what little there is.
            let _ = self.remove(&format!("{ROOM_FILE}.new"));
        }
    }

    /// Gives up the room that was kept. Whether there was any.
    pub(crate) fn give_up_room(&self) -> bool {
        self.has(ROOM_FILE).unwrap_or_default() && self.remove(ROOM_FILE).is_ok()
    }

    /// How much of the disk is free for this user, in bytes.
    pub(crate) fn free_bytes(&self) -> std::io::Result<u64> {
        let disk = rustix::fs::fstatvfs(&self.handle)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::data_dir;
    use super::*;

    #[test]
    fn room_is_kept_until_it_is_given_up() {
        let (place, dir) = data_dir();
        assert!(!dir.give_up_room());
        dir.keep_room();
        dir.keep_room();
        let kept = std::fs::metadata(place.path().join(ROOM_FILE)).unwrap();
        assert_eq!(kept.len(), ROOM_BYTES as u64);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
        assert!(dir.give_up_room());
        assert!(!dir.give_up_room());
    }
}
