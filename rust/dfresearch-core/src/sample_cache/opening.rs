//! From a folder to a store that is marked as in use.

use std::fs;
use std::io;
use std::path::Path;

use super::capacity::{Capacity, Reserved, RootLock, is_read_only};
use super::eviction::{self, UseLock};
use super::settings::StoreSettings;
use super::writer::Admission;

/// Makes the store if it is not there, and marks it as in use; none when there is no room for it.
pub(super) fn open_store(
    folder: &Path,
    settings: &StoreSettings,
    capacity: &Capacity,
    admission: &mut Admission,
) -> io::Result<Option<UseLock>> {
    let root = &capacity.root;
    if !root.is_dir() {
        fs::create_dir_all(root)?;
    }
    // Without the lock nobody can evict it either where nothing can be written.
    let _lock = match RootLock::acquire(root) {
        Ok(lock) => Some(lock),
        Err(error) if is_read_only(&error) => None,
        Err(error) => return Err(error),
    };
    let in_use = || io::Error::other("another process has it open or is removing it");
    if StoreSettings::read(folder)?.as_ref() != Some(settings) {
        if folder.exists() && !eviction::evict(root, folder)? {
            let reason = "its settings.json is damaged, and another process has it open: end that first";
            return Err(io::Error::other(reason));
        }
        let length = settings.text().len() as u64;
        let made = capacity.reserve_locked(settings, length, length, |_| {
            fs::create_dir(folder)?;
            settings.write(folder)
        })?;
        if let Reserved::Full(reason) = made {
            (admission.is_closed, admission.is_full) = (true, true);
            admission.note(capacity.full(&reason));
            return Ok(None);
        }
    }
    let lock = UseLock::share(folder)?.ok_or_else(in_use)?;
    lock.touch();
    Ok(Some(lock))
}
