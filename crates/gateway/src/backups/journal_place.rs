//! Where the journal's files lie at the place for backups. What kind of place that is, is known here alone.

use std::io;

use hearthkey_core::backup::Place;
use hearthkey_core::backup::shipped::segment_by_name;
use hearthkey_core::id::HomeId;

use super::place::Directory;

/// Puts a file of the journal there, in place of the one before. Waits for the place.
pub(super) fn put(place: &Place, name: &str, content: &[u8]) -> io::Result<()> {
    Directory::open(place)?.put(name, content)
}

/// Removes the files of a home's journal whose lines are all before a number. Waits for the place.
pub(super) fn remove_before(place: &Place, home: &HomeId, segment: u64) -> io::Result<()> {
    let directory = Directory::open(place)?;
    for name in directory.names()? {
        let is_old = |its: u64| its > 0 && its < segment;
        if segment_by_name(home, &name).is_some_and(is_old) {
            directory.remove(&name)?;
        }
    }
    Ok(())
}
