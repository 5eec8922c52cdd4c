//! What a crash has left of new keys.

use std::path::Path;

use hearthkey_store::files::DataDir;
use hearthkey_store::rekey;

/// Puts in place what a crash has left of new keys, if no gateway runs there.
pub(crate) fn finish_what_was_begun(data_dir: &Path) -> std::io::Result<()> {
    let dir = match DataDir::open(data_dir) {
        Ok(dir) if dir.has(rekey::REKEY_DIR)? => dir,
        // What is wrong with the directory is told where it is used.
        _ => return Ok(()),
    };
    let Some(_lock) = dir.lock()? else {
        // Whoever holds it has done this.
        return Ok(());
    };
    if rekey::finish(&dir)? {
        tracing::warn!("the home has new keys: what a crash had left of that is put in place");
    }
    Ok(())
}
