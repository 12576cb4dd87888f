//! All readable files of a modality, in little memory: about 70 bytes beside each file's name.

use crate::samples::list::KnownContent;
use crate::split::{self, MembersView, Side, assign_sides_of};
use crate::store::{ContentHash, FileState};

/// Stands in `group` for files without one.
const NO_GROUP: u32 = u32::MAX;

/// Files by their numbers, in the order of the definitions and of their names; those included that link groups but are
/// no samples.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    dataset: Vec<u32>,
    names: Strings,
    content: Vec<ContentHash>,
    state: Vec<FileState>,
    is_sample: Vec<bool>,
    group: Vec<u32>,
    groups: Strings,
    /// The first file with the same bytes; made by [`Candidates::compare`].
    first_of_content: Vec<u32>,
}

/// Texts one after another.
#[derive(Debug, Default)]
struct Strings {
    text: String,
    /// Where each one ends; it begins where the one before ends.
    ends: Vec<usize>,
}

impl Strings {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    fn get(&self, number: usize) -> &str {
        let begin = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.text[begin..self.ends[number]]
    }

    fn last(&self) -> Option<&str> {
        self.ends.len().checked_sub(1).map(|last| self.get(last))
    }
}

impl Candidates {
    /// Appends a file.
    pub fn push(
        &mut self,
        dataset: usize,
        name: &str,
        content: KnownContent,
        group: Option<&str>,
        is_sample: bool,
    ) {
        self.dataset.push(dataset as u32);
        self.names.push(name);
        self.content.push(content.hash);
        self.state.push(content.state);
        self.is_sample.push(is_sample);
        let group = group.map_or(NO_GROUP, |group| {
            // Members of a group mostly follow each other; where they do not, the split finds that out.
            if self.groups.last() != Some(group) {
                self.groups.push(group);
            }
            self.groups.ends.len() as u32 - 1
        });
        self.group.push(group);
    }

    /// Finds out which files have the same bytes.
    pub fn compare(&mut self) {
        self.first_of_content = split::first_of_content(self.len(), |number| &self.content[number]);
    }

    pub fn len(&self) -> usize {
        self.dataset.len()
    }

    pub fn dataset(&self, number: usize) -> usize {
        self.dataset[number] as usize
    }

    pub fn name(&self, number: usize) -> &str {
        self.names.get(number)
    }

    pub fn content(&self, number: usize) -> &ContentHash {
        &self.content[number]
    }

    /// What is known of the file for the loader.
    pub fn known_content(&self, number: usize) -> KnownContent {
        KnownContent { hash: self.content[number], state: self.state[number] }
    }

    pub fn is_sample(&self, number: usize) -> bool {
        self.is_sample[number]
    }

    pub fn leave_out(&mut self, number: usize) {
        self.is_sample[number] = false;
    }

    /// The first file with the same bytes.
    pub fn first_of_content(&self, number: usize) -> usize {
        self.first_of_content[number] as usize
    }

    /// The side of every file.
    pub fn sides(&self, seed: u64) -> Vec<Side> {
        let view = MembersView {
            first_of_content: &self.first_of_content,
            content: &|number| &self.content[number],
            group: &|number| Some(self.group[number] as usize).filter(|_| self.group[number] != NO_GROUP),
            group_count: self.groups.ends.len(),
            group_name: &|group| self.groups.get(group),
        };
        assign_sides_of(seed, &view)
    }
}
