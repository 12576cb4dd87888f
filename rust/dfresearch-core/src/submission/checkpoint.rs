//! The three files of a checkpoint, replaced together.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::{folder_of, refused, sync_folder, temporary_beside, write_whole};
use super::weights::{TensorData, write_safetensors};
use super::{CONFIG_FILE, SOURCE_FILE, WEIGHTS_FILE, check_model_source, parse_config};
use crate::error::{Error, Result};

/// Replaces `model_config.yaml`, `model.py` and `model.safetensors` of a checkpoint folder together.
///
/// The files are written and flushed in a temporary folder beside `folder`, which is then exchanged
/// with it in one step: whoever looks, a crash included, sees the old three files or the new three.
/// Other files of the folder are kept. Where the file system cannot exchange two folders, the old
/// one is renamed away first; a crash between the two renames then leaves it complete under its
/// `.partial` name.
///
/// `config` is YAML text; tensors are stored under their names without wrapper prefixes.
///
/// # Errors
/// [`Error::Submission`] when the configuration or the source is not acceptable or two tensors end
/// up with one name, [`Error::Io`] when the disk refuses; the old checkpoint is then untouched.
pub fn replace_checkpoint(
    folder: &Path,
    config: &str,
    model_source: &str,
    tensors: &[TensorData<'_>],
) -> Result<()> {
    let parsed = parse_config(&folder.join(CONFIG_FILE), config)?;
    check_model_source(&folder.join(SOURCE_FILE), model_source, &parsed.model_keywords)?;
    // Through a symbolic link: the folders to exchange must lie on one file system.
    let folder = match fs::canonicalize(folder) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => folder.to_path_buf(),
        Err(error) => return Err(Error::io(folder, error)),
    };
    if folder.exists() && !folder.is_dir() {
        return Err(refused(&folder, "is a file where the checkpoint's folder should be"));
    }
    let parent = folder_of(&folder);
    fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;

    let mut fresh = TemporaryFolder::create(&folder)?;
    write_whole(&fresh.path.join(CONFIG_FILE), config.as_bytes())?;
    write_whole(&fresh.path.join(SOURCE_FILE), model_source.as_bytes())?;
    write_safetensors(&fresh.path.join(WEIGHTS_FILE), tensors)?;
    swap(&fresh.path, &folder)?;
    // From here on the old files lie there, and with them perhaps files that are nobody's but the user's.
    fresh.disposable = false;
    sync_folder(parent)?;
    keep_other_files(&fresh.path, &folder)?;
    fresh.disposable = true;
    Ok(())
}

/// A folder that goes away with everything in it, as long as it is disposable.
pub(crate) struct TemporaryFolder {
    pub path: PathBuf,
    pub disposable: bool,
}

impl TemporaryFolder {
    pub fn create(beside: &Path) -> Result<Self> {
        let path = temporary_beside(beside);
        fs::create_dir(&path).map_err(|error| Error::io(&path, error))?;
        Ok(Self { path, disposable: true })
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if self.disposable {
            // Nobody is left to tell; the name says that it is a leftover.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Puts `fresh` in the place of `folder`; what `folder` was then lies at `fresh`.
pub(crate) fn swap(fresh: &Path, folder: &Path) -> Result<()> {
    if !folder.exists() {
        return fs::rename(fresh, folder).map_err(|error| Error::io(folder, error));
    }
    if exchange(fresh, folder).is_ok() {
        return Ok(());
    }
    let aside = temporary_beside(folder);
    let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(|error| Error::io(from, error));
    rename(folder, &aside)?;
    if let Err(error) = rename(fresh, folder) {
        rename(&aside, folder)?;
        return Err(error);
    }
    rename(&aside, fresh)
}

#[cfg(target_os = "linux")]
fn exchange(left: &Path, right: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, left, CWD, right, RenameFlags::EXCHANGE).map_err(Into::into)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_left: &Path, _right: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Moves what else lay in the old folder into the new one.
fn keep_other_files(old: &Path, folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(old) else {
        // There was no old folder.
        return Ok(());
    };
    for entry in entries {
        let entry = entry.map_err(|error| Error::io(old, error))?;
        let destination = folder.join(entry.file_name());
        if !destination.exists() {
            fs::rename(entry.path(), &destination).map_err(|error| Error::io(&destination, error))?;
        }
    }
    sync_folder(folder)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const SOURCE: &str =
        "import torch\n\ndef load_model(weights_path, num_classes=2):\n    return torch.nn.Identity()\n";

    fn config(version: &str) -> String {
        format!(
            "name: dfresearch-tiny\nversion: {version}\nmodality: image\npreprocessing:\n  resize: [8, 8]\n\
             model:\n  num_classes: 2\n  weights_file: model.safetensors\n"
        )
    }

    fn weights(value: &[u8; 1]) -> [TensorData<'_>; 1] {
        [TensorData { name: "a".to_owned(), dtype: "U8", shape: vec![1], bytes: value }]
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn three_files_come_together_and_the_others_stay() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("checkpoints/image");
        replace_checkpoint(&folder, &config("1"), SOURCE, &weights(&[1])).unwrap();
        assert_eq!(names(&folder), [SOURCE_FILE, WEIGHTS_FILE, CONFIG_FILE]);
        fs::write(folder.join("notes.txt"), "kept").unwrap();
        fs::create_dir(folder.join("plots")).unwrap();
        fs::write(folder.join("plots/a.png"), "kept").unwrap();
        replace_checkpoint(&folder, &config("2"), SOURCE, &weights(&[2])).unwrap();
        assert_eq!(fs::read_to_string(folder.join(CONFIG_FILE)).unwrap(), config("2"));
        assert_eq!(fs::read(folder.join(WEIGHTS_FILE)).unwrap().last(), Some(&2));
        assert_eq!(fs::read_to_string(folder.join("notes.txt")).unwrap(), "kept");
        assert_eq!(fs::read_to_string(folder.join("plots/a.png")).unwrap(), "kept");
        assert_eq!(names(&root.path().join("checkpoints")), ["image"]);
    }

    #[test]
    fn a_refused_checkpoint_leaves_the_old_one() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("image");
        replace_checkpoint(&folder, &config("1"), SOURCE, &weights(&[1])).unwrap();
        let before = fs::read(folder.join(WEIGHTS_FILE)).unwrap();
        let wrong = [TensorData { name: "a".to_owned(), dtype: "F32", shape: vec![1], bytes: &[1] }];
        assert!(replace_checkpoint(&folder, &config("2"), SOURCE, &wrong).is_err());
        assert!(replace_checkpoint(&folder, "name: [", SOURCE, &weights(&[2])).is_err());
        assert!(replace_checkpoint(&folder, &config("2"), "import os\n", &weights(&[2])).is_err());
        assert_eq!(fs::read_to_string(folder.join(CONFIG_FILE)).unwrap(), config("1"));
        assert_eq!(fs::read(folder.join(WEIGHTS_FILE)).unwrap(), before);
        assert_eq!(names(root.path()), ["image"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_stays_one() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("disk")).unwrap();
        let link = root.path().join("image");
        std::os::unix::fs::symlink(root.path().join("disk"), &link).unwrap();
        replace_checkpoint(&link, &config("1"), SOURCE, &weights(&[1])).unwrap();
        assert!(link.is_symlink());
        assert_eq!(names(&root.path().join("disk")).len(), 3);
    }

    #[test]
    fn a_file_in_the_folders_place_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("image");
        fs::write(&path, "a file").unwrap();
        let error = replace_checkpoint(&path, &config("1"), SOURCE, &weights(&[1])).unwrap_err();
        assert!(error.to_string().contains("is a file"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    }
}
