//! The steps of a commit, each of them harmless to repeat.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{DatasetWriter, PendingSample, Session, not_begun};
use crate::error::{Error, Result};
use crate::store::durable::{replace_file, sync_folder};
use crate::store::files::media_state;
use crate::store::index::FileRecord;
use crate::store::manifest::{FetchedLine, MANIFEST_FILE};

/// Flushes that wait for the disk at the same time: file systems answer many with one write.
const FLUSHING_THREADS: usize = 8;

/// What a commit does, in this order.
pub(super) const STEPS: [fn(&mut DatasetWriter) -> Result<()>; 6] = [
    DatasetWriter::flush_media,
    DatasetWriter::place_media,
    DatasetWriter::flush_folder,
    // Before the lines: what was refused or failed ahead of a sample is never forgotten while the sample is known.
    DatasetWriter::write_state,
    DatasetWriter::write_manifest,
    DatasetWriter::write_index,
];

impl DatasetWriter {
    /// Puts every accepted sample into the folder, for good. May be called again after it has failed, for example
    /// because the disk was full.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Index`]; [`Error::Argument`] before [`DatasetWriter::begin`].
    pub fn commit(&mut self) -> Result<()> {
        let session = self.session.as_ref().ok_or_else(not_begun)?;
        if session.pending.is_empty() {
            return if session.is_state_new { self.write_state() } else { Ok(()) };
        }
        STEPS.iter().try_for_each(|step| step(self))?;
        if let Some(session) = &mut self.session {
            session.settle();
        }
        Ok(())
    }

    fn session(&mut self) -> Result<&mut Session> {
        self.session.as_mut().ok_or_else(not_begun)
    }

    fn flush_media(&mut self) -> Result<()> {
        let pending = &self.session()?.pending;
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        thread::scope(|scope| {
            for _ in 0..FLUSHING_THREADS.min(pending.len()) {
                scope.spawn(|| {
                    while let Some(sample) = pending.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if !sample.is_placed
                            && let Err(error) = sample.staged.sync()
                            && let Ok(mut failure) = failure.lock()
                        {
                            failure.get_or_insert(error);
                        }
                    }
                });
            }
        });
        failure.into_inner().ok().flatten().map_or(Ok(()), Err)
    }

    fn place_media(&mut self) -> Result<()> {
        let folder = self.folder.clone();
        for sample in &mut self.session()?.pending {
            if !sample.is_placed {
                sample.staged.place(&folder.join(&sample.line.file))?;
                sample.is_placed = true;
            }
        }
        Ok(())
    }

    fn flush_folder(&mut self) -> Result<()> {
        sync_folder(&self.folder)
    }

    fn write_manifest(&mut self) -> Result<()> {
        let path = self.folder.join(MANIFEST_FILE);
        let session = self.session()?;
        let mut appended = String::new();
        let mut replaced = false;
        for PendingSample { number, line, .. } in &session.pending {
            match session.lines.get(*number) {
                Some(before) => replaced |= before != line,
                None => appended += &to_text(line).map_err(|error| Error::io(&path, error))?,
            }
        }
        if replaced {
            return self.rewrite_manifest();
        }
        if appended.is_empty() {
            return Ok(());
        }
        let is_first = session.manifest_length == 0;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| Error::io(&path, error))?;
        let length = file.metadata().map_err(|error| Error::io(&path, error))?.len();
        if length != session.manifest_length && !session.is_manifest_ahead {
            let reason = "somebody else has written to it during the fetch; run prepare.py again";
            return Err(Error::io(&path, io::Error::other(reason)));
        }
        session.is_manifest_ahead = true;
        append(&mut file, session.manifest_length, appended.as_bytes())
            .map_err(|error| Error::io(&path, error))?;
        if is_first { sync_folder(&self.folder) } else { Ok(()) }
    }

    /// Writes all of the manifest anew: a medium that came back is another one than it was.
    fn rewrite_manifest(&mut self) -> Result<()> {
        let path = self.folder.join(MANIFEST_FILE);
        let session = self.session()?;
        let mut lines = session.lines.clone();
        for PendingSample { number, line, .. } in &session.pending {
            match lines.get_mut(*number) {
                Some(before) => before.clone_from(line),
                None => lines.push(line.clone()),
            }
        }
        let (text, _) = super::recovery::split_manifest(&path, session.manifest_length)?;
        let mut text = text.foreign;
        for line in &lines {
            text += &to_text(line).map_err(|error| Error::io(&path, error))?;
        }
        replace_file(&path, text.as_bytes())?;
        // Should a later step fail, this one finds nothing to do.
        session.lines = lines;
        session.manifest_length = text.len() as u64;
        Ok(())
    }

    pub(super) fn write_state(&mut self) -> Result<()> {
        let state = self.state.as_mut().ok_or_else(not_begun)?;
        let session = self.session.as_mut().ok_or_else(not_begun)?;
        state.reopen();
        state.samples = session.committed.len() + session.pending.len();
        state.write(&self.folder)?;
        session.is_state_new = false;
        Ok(())
    }

    fn write_index(&mut self) -> Result<()> {
        let (modality, dataset, folder) = (self.modality(), self.dataset.name.clone(), self.folder.clone());
        let state = self.state.clone();
        let session = self.session()?;
        let mut rows = Vec::with_capacity(session.pending.len());
        for PendingSample { staged, line, .. } in &session.pending {
            let path = folder.join(&line.file);
            let state = media_state(&path, modality).map_err(|error| Error::io(&path, error))?;
            let record = FileRecord {
                size: state.size,
                modified_ns: state.modified_ns,
                content: Some(staged.content()),
                accepted: true,
                group: line.group.clone(),
                origin: Some(line.origin.clone()),
                ..FileRecord::default()
            };
            rows.push((line.file.as_str(), record.with_properties(staged.properties().clone())));
        }
        let rows: Vec<(&str, &FileRecord)> = rows.iter().map(|(name, record)| (*name, record)).collect();
        session.index.update(modality, &dataset, &rows, &[])?;
        session.index.set_fetch(modality, &dataset, state.as_ref())
    }
}

impl Session {
    /// Takes what was pending for committed.
    fn settle(&mut self) {
        for PendingSample { number, line, .. } in std::mem::take(&mut self.pending) {
            self.committed.push(line.origin.clone());
            if number == self.lines.len() {
                self.manifest_length += to_text(&line).map_or(0, |text| text.len() as u64);
                self.lines.push(line);
            }
        }
        self.pending_bytes = 0;
        self.is_manifest_ahead = false;
    }
}

fn to_text(line: &FetchedLine) -> io::Result<String> {
    Ok(line.to_text()?)
}

/// Writes behind the first `length` bytes, and makes sure that nothing else follows them.
fn append(file: &mut File, length: u64, text: &[u8]) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    file.write_all(text)?;
    file.sync_data()
}
