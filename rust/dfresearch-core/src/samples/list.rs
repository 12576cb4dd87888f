//! Many samples in little memory: about 20 bytes beside each file's name, and 56 where its content is known.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::modality::Label;
use crate::store::{ContentHash, FileState};

/// What a file holds, as long as its size and time are what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownContent {
    /// The content.
    pub hash: ContentHash,
    /// When it was read.
    pub state: FileState,
}

/// Samples in a fixed order, each a media file and its label.
///
/// ```
/// use std::path::{Path, PathBuf};
/// use dfresearch_core::{Label, samples::SampleList};
///
/// let samples = SampleList::from_pairs([(PathBuf::from("/photos/cat.jpg"), Label::Real)])?;
/// assert_eq!(samples.len(), 1);
/// assert_eq!(samples.path(0), Path::new("/photos/cat.jpg"));
/// assert_eq!(samples.label(0), Label::Real);
/// # Ok::<(), dfresearch_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SampleList {
    folders: Vec<Folder>,
    /// The folder of every sample.
    folder: Vec<u32>,
    /// Where the name of every sample ends in `names`; it begins where the one before ends.
    name_end: Vec<usize>,
    /// File names relative to their folder, one after another.
    names: String,
    /// What is known of the files, one by one; empty where nothing is known of any.
    contents: Vec<Option<KnownContent>>,
}

/// Samples of one dataset lie in one folder and have one label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Folder {
    dataset: String,
    path: PathBuf,
    label: Label,
}

impl SampleList {
    /// Samples from anywhere, with an empty dataset name.
    ///
    /// # Errors
    /// [`Error::Argument`] for a path that is not valid UTF-8.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (PathBuf, Label)>) -> Result<Self> {
        let mut builder = SampleListBuilder::default();
        let real = builder.add_dataset("", Path::new(""), Label::Real);
        let synthetic = builder.add_dataset("", Path::new(""), Label::Synthetic);
        for (path, label) in pairs {
            let Some(name) = path.to_str() else {
                return Err(Error::argument("samples", format!("{} is not valid UTF-8", path.display())));
            };
            let dataset = match label {
                Label::Real => real,
                Label::Synthetic => synthetic,
            };
            builder.push(dataset, name, None);
        }
        Ok(builder.build())
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.folder.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.folder.is_empty()
    }

    /// The media file of a sample.
    ///
    /// # Panics
    /// When `index` is not below [`SampleList::len`], as indexing a slice does.
    pub fn path(&self, index: usize) -> PathBuf {
        let begin = if index == 0 { 0 } else { self.name_end[index - 1] };
        self.folder_of(index).path.join(&self.names[begin..self.name_end[index]])
    }

    /// The class of a sample. Panics like [`SampleList::path`].
    pub fn label(&self, index: usize) -> Label {
        self.folder_of(index).label
    }

    /// What the file of a sample held when the cache's index read it, where the list comes from an index. Panics like
    /// [`SampleList::path`].
    pub fn known_content(&self, index: usize) -> Option<KnownContent> {
        if self.contents.is_empty() { None } else { self.contents[index] }
    }

    /// The name of the dataset that a sample belongs to. Panics like [`SampleList::path`].
    pub fn dataset(&self, index: usize) -> &str {
        &self.folder_of(index).dataset
    }

    /// The samples at `indices`, in that order. Panics like [`SampleList::path`].
    pub fn select(&self, indices: impl IntoIterator<Item = usize>) -> Self {
        let mut builder =
            SampleListBuilder { list: Self { folders: self.folders.clone(), ..Self::default() } };
        for index in indices {
            let begin = if index == 0 { 0 } else { self.name_end[index - 1] };
            let known = self.known_content(index);
            builder.push(self.folder[index], &self.names[begin..self.name_end[index]], known);
        }
        builder.build()
    }

    /// How many samples have this label.
    pub fn count(&self, label: Label) -> usize {
        self.folder.iter().filter(|&&folder| self.folders[folder as usize].label == label).count()
    }

    fn folder_of(&self, index: usize) -> &Folder {
        &self.folders[self.folder[index] as usize]
    }
}

/// Collects samples for a [`SampleList`].
#[derive(Debug, Default)]
pub struct SampleListBuilder {
    list: SampleList,
}

impl SampleListBuilder {
    /// Announces a dataset and returns the number by which [`SampleListBuilder::push`] knows it.
    pub fn add_dataset(&mut self, name: &str, folder: &Path, label: Label) -> u32 {
        let folder = Folder { dataset: name.to_owned(), path: folder.to_path_buf(), label };
        self.list.folders.push(folder);
        (self.list.folders.len() - 1) as u32
    }

    /// Appends a sample of a dataset; `name` is the file relative to the dataset's folder, `known` what it holds.
    ///
    /// # Panics
    /// Reading the sample panics when `dataset` is not a number that [`SampleListBuilder::add_dataset`] gave.
    pub fn push(&mut self, dataset: u32, name: &str, known: Option<KnownContent>) {
        let contents = &mut self.list.contents;
        if known.is_some() || !contents.is_empty() {
            contents.resize(self.list.folder.len(), None);
            contents.push(known);
        }
        self.list.folder.push(dataset);
        self.list.names.push_str(name);
        self.list.name_end.push(self.list.names.len());
    }

    /// The finished list.
    pub fn build(mut self) -> SampleList {
        self.list.names.shrink_to_fit();
        self.list.name_end.shrink_to_fit();
        self.list.folder.shrink_to_fit();
        self.list.contents.shrink_to_fit();
        self.list
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn known() -> KnownContent {
        KnownContent { hash: ContentHash::of(b"b"), state: FileState { size: 1, modified_ns: 7 } }
    }

    fn two_datasets() -> SampleList {
        let mut builder = SampleListBuilder::default();
        let photos = builder.add_dataset("photos", Path::new("/cache/photos"), Label::Real);
        let renders = builder.add_dataset("renders", Path::new("/cache/renders"), Label::Synthetic);
        builder.push(photos, "a.jpg", None);
        builder.push(renders, "deep/b.png", Some(known()));
        builder.push(photos, "ü.jpg", None);
        builder.build()
    }

    #[test]
    fn every_sample_keeps_its_file_label_and_dataset() {
        let samples = two_datasets();
        let seen: Vec<_> =
            (0..samples.len()).map(|i| (samples.path(i), samples.label(i), samples.dataset(i))).collect();
        assert_eq!(
            seen,
            [
                (PathBuf::from("/cache/photos/a.jpg"), Label::Real, "photos"),
                (PathBuf::from("/cache/renders/deep/b.png"), Label::Synthetic, "renders"),
                (PathBuf::from("/cache/photos/ü.jpg"), Label::Real, "photos"),
            ]
        );
        assert_eq!((samples.count(Label::Real), samples.count(Label::Synthetic)), (2, 1));
    }

    #[test]
    fn a_selection_keeps_the_order_it_is_asked_for() {
        let contents = |samples: &SampleList| -> Vec<_> {
            (0..samples.len()).map(|index| samples.known_content(index)).collect()
        };
        assert_eq!(contents(&two_datasets()), [None, Some(known()), None]);
        assert_eq!(contents(&two_datasets().select([2, 1])), [None, Some(known())]);
        let samples = two_datasets().select([2, 0]);
        assert_eq!(samples.path(0), Path::new("/cache/photos/ü.jpg"));
        assert_eq!(samples.path(1), Path::new("/cache/photos/a.jpg"));
        assert_eq!(samples.len(), 2);
        assert!(two_datasets().select([]).is_empty());
    }

    #[test]
    fn paths_of_pairs_come_back_as_they_were() {
        let pairs = vec![
            (PathBuf::from("relative/x.png"), Label::Synthetic),
            (PathBuf::from("/absolute/y.png"), Label::Real),
        ];
        let samples = SampleList::from_pairs(pairs.clone()).unwrap();
        let back: Vec<_> = (0..samples.len()).map(|i| (samples.path(i), samples.label(i))).collect();
        assert_eq!(back, pairs);
    }
}
