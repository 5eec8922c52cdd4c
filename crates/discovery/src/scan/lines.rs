//! What git prints, line by line.

use std::io::{self, BufRead, Read};

/// The longest line of git's that is read, in bytes: an object's header, or a path.
pub(super) const LINE_MAX_BYTES: u64 = 64 * 1024;

/// The bytes up to an end mark, without it; nothing at the end of what git says.
pub(super) fn line(from: &mut impl BufRead, end: u8) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.by_ref()
        .take(LINE_MAX_BYTES)
        .read_until(end, &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(last) if last == end => Ok(Some(line)),
        Some(_) => Err(io::Error::other("git's answer is cut off")),
    }
}
