//! What the records of a store are, in words: written beside them and compared in full before they are believed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::entry::Checksums;
use crate::modality::Modality;

/// In the folder of a store.
pub(super) const SETTINGS_FILE: &str = "settings.json";
/// What becomes [`SETTINGS_FILE`] when it is whole.
pub(super) const UNFINISHED_SETTINGS_FILE: &str = ".settings.json.unfinished";

/// Raised when the form of indexes and records changes.
const RECORD_LAYOUT: u32 = 1;

/// Hexadecimal digits in the name of a store.
const NAME_DIGITS: usize = 16;

/// Everything that a record is a function of, besides the content of the medium.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// What the records were made of.
    pub modality: Modality,
    /// What happens to a medium before augmentation, in the words of the pipeline.
    pub preprocessing: String,
    /// What decoded them: see [`decoder_version`](super::decoder_version).
    pub decoder_version: String,
    /// The version of the files' own form.
    pub record_layout: u32,
}

impl StoreSettings {
    /// Of records that this program makes, on this machine.
    pub(super) fn new(modality: Modality, preprocessing: &str, decoder_version: &str) -> Self {
        let (preprocessing, decoder_version) = (preprocessing.to_owned(), decoder_version.to_owned());
        Self { modality, preprocessing, decoder_version, record_layout: RECORD_LAYOUT }
    }

    /// Whether this program makes such records, on this machine.
    pub fn is_current(&self) -> bool {
        self.decoder_version == super::decoder_version() && self.record_layout == RECORD_LAYOUT
    }

    /// Whether the same program makes both, be it with other preprocessing.
    pub(super) fn has_decoder_of(&self, other: &Self) -> bool {
        self.decoder_version == other.decoder_version && self.record_layout == other.record_layout
    }

    /// The name of the store's folder.
    pub(super) fn folder_name(&self) -> String {
        let digest = Sha256::digest(self.text().as_bytes());
        let mut name = format!("{}-", self.modality);
        for byte in &digest[..NAME_DIGITS / 2] {
            name.push_str(&format!("{byte:02x}"));
        }
        name
    }

    /// Whether a folder's name is that of a store.
    pub(super) fn is_folder_name(name: &str) -> bool {
        let Some((modality, digits)) = name.split_once('-') else { return false };
        modality.parse::<Modality>().is_ok()
            && digits.len() == NAME_DIGITS
            && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    pub(super) fn checksums(&self) -> Checksums {
        Checksums::new(self.text().as_bytes())
    }

    /// What [`write`](Self::write) will write.
    pub(super) fn text(&self) -> String {
        let json = serde_json::json!({
            "modality": self.modality,
            "preprocessing": self.preprocessing,
            "decoder_version": self.decoder_version,
            "record_layout": self.record_layout,
        });
        format!("{json:#}\n")
    }

    /// The settings of the store in this folder; none when none are there that can be understood.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(SETTINGS_FILE)) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the settings into the store's folder, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let unfinished = folder.join(UNFINISHED_SETTINGS_FILE);
        let mut file = File::create(&unfinished)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, folder.join(SETTINGS_FILE))?;
        File::open(folder)?.sync_all()
    }
}
