//! Which samples train a model and which ones judge it.
//!
//! A sample belongs to a group: what the dataset's manifest names for the file (one photograph, one
//! speaker), or else its own content hash. A group draws its side from a hash of its name and the split
//! seed, so that no other file has a say in it. Two things would be wrong with that alone:
//!
//! * The same bytes may stand in two groups, and must not stand on both sides. Such groups are linked, and
//!   everything that is linked goes to one side.
//! * A dataset that is added later may link groups that were drawn to different sides. A sample that a
//!   model has been trained on must not come back as one that judges it.
//!
//! Both are met by one rule: **linked groups train as soon as one of them is drawn to train.** More files
//! can only add links and groups, hence can only move a sample from validation to training, never back.
//!
//! ```text
//!   group     drew          bytes shared with      side
//!   photo-1   validation    -                      validation
//!   photo-2   validation    photo-3                train
//!   photo-3   train         photo-2                train
//! ```
//!
//! Limits: taking files away, or renaming groups in a manifest, may undo a link and return its validation
//! groups to validation. Where many groups are linked, slightly less than 20 % validates. Group names are
//! shared by all datasets of a modality (the crops of one photograph stand in a real and in a synthetic
//! dataset), so that a name like `1`, used for different things in two datasets, makes one group of both.

mod parallel;
mod sameness;

use std::hash::{DefaultHasher, Hash, Hasher};

use sha2::{Digest, Sha256};

use self::sameness::first_equal;
use crate::store::ContentHash;

pub(crate) use self::parallel::compute_all;

/// The seed of the split. It never follows the seed of a training run: results stay comparable.
pub const SPLIT_SEED: u64 = 42;

/// The share of groups that validates.
pub const VALIDATION_SHARE: f64 = 0.2;

/// Tells the draw of a group from the rank of a sample, so that a cap by rank leaves the share as it is.
const PLACE_DOMAIN: &[u8] = b"dfresearch split place";
const RANK_DOMAIN: &[u8] = b"dfresearch sample rank";

/// Keeps a manifest's name apart from a content hash that happens to have the same bytes.
const NAMED_GROUP: &[u8] = b"name:";
const CONTENT_GROUP: &[u8] = b"content:";

/// The part of the samples that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What a model is trained on.
    Train,
    /// What a model is judged by.
    Validation,
    /// Both.
    All,
}

impl Split {
    /// `train` and `val` name a part; every other name stands for all samples.
    pub fn from_name(name: &str) -> Self {
        match name {
            "train" => Self::Train,
            "val" => Self::Validation,
            _ => Self::All,
        }
    }

    /// Whether a sample of this side belongs to the part.
    pub fn contains(self, side: Side) -> bool {
        match self {
            Self::Train => side == Side::Train,
            Self::Validation => side == Side::Validation,
            Self::All => true,
        }
    }
}

/// The side of the split that a sample is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// Trains.
    Train,
    /// Validates.
    #[default]
    Validation,
}

/// What decides a file's side.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The hash of the file's bytes.
    pub content: ContentHash,
    /// The group that the manifest names for the file; without one, the content is the group.
    pub group: Option<&'a str>,
}

/// The side that a group draws by itself: a function of the seed and the group's name.
fn draw(seed: u64, kind: &[u8], name: &[u8]) -> Side {
    let uniform = hash_u64(PLACE_DOMAIN, seed, &[kind, name]) as f64 / 2f64.powi(64);
    if uniform < VALIDATION_SHARE { Side::Validation } else { Side::Train }
}

/// The position of a sample in the order in which samples are taken: a function of the seed and its content.
pub fn rank(seed: u64, content: &ContentHash) -> u64 {
    hash_u64(RANK_DOMAIN, seed, &[content.as_bytes()])
}

fn hash_u64(domain: &[u8], seed: u64, parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(domain);
    hasher.update(seed.to_le_bytes());
    for part in parts {
        hasher.update(part);
    }
    let digest = hasher.finalize();
    digest.iter().take(8).fold(0, |value, &byte| (value << 8) | u64::from(byte))
}

/// The side of every member, in their order. See the module's page for the rule.
///
/// ```
/// use dfresearch_core::split::{Member, SPLIT_SEED, assign_sides};
/// use dfresearch_core::store::ContentHash;
///
/// let crops = [b"left half", b"right one"].map(|bytes| Member {
///     content: ContentHash::of(bytes),
///     group: Some("one photograph"),
/// });
/// let sides = assign_sides(SPLIT_SEED, &crops);
/// assert_eq!(sides[0], sides[1]);
/// ```
pub fn assign_sides(seed: u64, members: &[Member<'_>]) -> Vec<Side> {
    let first_of_content = first_of_content(members.len(), |number| &members[number].content);
    let mut names = Vec::new();
    let mut groups = Vec::with_capacity(members.len());
    for member in members {
        groups.push(member.group.map(|_| names.len()));
        names.extend(member.group);
    }
    let view = MembersView {
        first_of_content: &first_of_content,
        content: &|number| &members[number].content,
        group: &|number| groups[number],
        group_count: names.len(),
        group_name: &|group| names[group],
    };
    assign_sides_of(seed, &view)
}

/// For each of `count` files, the first one with the same bytes.
pub(crate) fn first_of_content<'a>(count: usize, content: impl Fn(usize) -> &'a ContentHash) -> Vec<u32> {
    let prefix = |number| {
        let bytes = content(number).as_bytes();
        bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    };
    first_equal(count, prefix, |one, other| content(one).cmp(content(other)))
}

/// Files wherever they are kept, by their numbers.
pub(crate) struct MembersView<'a> {
    /// The first file with the same bytes.
    pub first_of_content: &'a [u32],
    pub content: &'a (dyn Fn(usize) -> &'a ContentHash + Sync),
    /// The number of the group that the manifest names for the file.
    pub group: &'a (dyn Fn(usize) -> Option<usize> + Sync),
    /// Several groups may have one name, and are one then.
    pub group_count: usize,
    pub group_name: &'a (dyn Fn(usize) -> &'a str + Sync),
}

/// The side of every file, in their order.
pub(crate) fn assign_sides_of(seed: u64, members: &MembersView<'_>) -> Vec<Side> {
    let count = members.first_of_content.len();
    // Only a file's own group draws: the content of a file with a named group is a mere link.
    let mut sides = compute_all(count, |number| match (members.group)(number) {
        None => draw(seed, CONTENT_GROUP, (members.content)(number).as_bytes()),
        Some(_) => Side::Validation,
    });
    if members.group_count == 0 {
        return sides;
    }
    let hash = |group: usize| {
        let mut hasher = DefaultHasher::new();
        (members.group_name)(group).hash(&mut hasher);
        hasher.finish()
    };
    let name = members.group_name;
    let first_of_name = first_equal(members.group_count, hash, |one, other| name(one).cmp(name(other)));
    let drawn = compute_all(members.group_count, |group| draw(seed, NAMED_GROUP, name(group).as_bytes()));

    // Contents come first, then groups.
    let mut links = Links::new(count + members.group_count);
    for (number, &content) in members.first_of_content.iter().enumerate() {
        if let Some(group) = (members.group)(number) {
            let group = first_of_name[group] as usize;
            links.join(content as usize, count + group);
            if drawn[group] == Side::Train {
                links.set_train(count + group);
            }
        } else if sides[number] == Side::Train {
            links.set_train(content as usize);
        }
    }
    for (side, &content) in sides.iter_mut().zip(members.first_of_content) {
        *side = if links.trains(content as usize) { Side::Train } else { Side::Validation };
    }
    sides
}

/// Union-find over contents and groups; the root of a set knows whether one of its groups was drawn to train.
struct Links {
    parent: Vec<u32>,
    train: Vec<bool>,
}

impl Links {
    fn new(count: usize) -> Self {
        Self { parent: (0..count as u32).collect(), train: vec![false; count] }
    }

    fn root(&mut self, mut node: usize) -> usize {
        while self.parent[node] as usize != node {
            self.parent[node] = self.parent[self.parent[node] as usize];
            node = self.parent[node] as usize;
        }
        node
    }

    fn join(&mut self, first: usize, second: usize) {
        let (first, second) = (self.root(first), self.root(second));
        let train = self.train[first] || self.train[second];
        self.parent[second] = first as u32;
        self.train[first] = train;
    }

    fn set_train(&mut self, node: usize) {
        let root = self.root(node);
        self.train[root] = true;
    }

    fn trains(&mut self, node: usize) -> bool {
        let root = self.root(node);
        self.train[root]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(number: u32) -> ContentHash {
        ContentHash::of(&number.to_le_bytes())
    }

    /// Files drawn from few contents and few groups, so that they are linked often.
    fn files() -> impl Strategy<Value = Vec<(u32, Option<u8>)>> {
        prop::collection::vec((0..40u32, prop::option::of(0..12u8)), 0..60)
    }

    fn sides(seed: u64, files: &[(u32, Option<u8>)]) -> Vec<Side> {
        let names: Vec<Option<String>> =
            files.iter().map(|file| file.1.map(|group| format!("group {group}"))).collect();
        let members: Vec<Member<'_>> = files
            .iter()
            .zip(&names)
            .map(|(file, name)| Member { content: content(file.0), group: name.as_deref() })
            .collect();
        assign_sides(seed, &members)
    }

    proptest! {
        #[test]
        fn equal_bytes_and_members_of_a_group_share_a_side(seed in any::<u64>(), files in files()) {
            let sides = sides(seed, &files);
            for (first, first_side) in files.iter().zip(&sides) {
                for (second, second_side) in files.iter().zip(&sides) {
                    if first.0 == second.0 || (first.1.is_some() && first.1 == second.1) {
                        prop_assert_eq!(first_side, second_side);
                    }
                }
            }
        }

        #[test]
        fn added_files_never_move_a_sample_from_train_to_validation(
            seed in any::<u64>(), before in files(), added in files()
        ) {
            let sides_before = sides(seed, &before);
            let after: Vec<_> = before.iter().chain(&added).copied().collect();
            for (old, new) in sides_before.iter().zip(sides(seed, &after)) {
                prop_assert!(*old == Side::Validation || new == Side::Train);
            }
        }

        #[test]
        fn the_order_of_files_has_no_say(seed in any::<u64>(), files in files()) {
            let reversed: Vec<_> = files.iter().rev().copied().collect();
            let mut of_reversed = sides(seed, &reversed);
            of_reversed.reverse();
            prop_assert_eq!(sides(seed, &files), of_reversed);
        }

        #[test]
        fn unlinked_files_never_move_at_all(seed in any::<u64>(), before in 1..40u32, added in 40..80u32) {
            let before: Vec<_> = (0..before).map(|number| (number, None)).collect();
            let after: Vec<_> = (0..added).map(|number| (number, None)).collect();
            let sides_after = sides(seed, &after);
            prop_assert_eq!(sides(seed, &before), &sides_after[..before.len()]);
        }
    }

    #[test]
    fn a_fifth_validates_and_a_cap_by_rank_keeps_the_share() {
        let mut ranked: Vec<(u64, Side)> = (0..20_000)
            .map(|number| {
                let content = content(number);
                let side = assign_sides(SPLIT_SEED, &[Member { content, group: None }])[0];
                (rank(SPLIT_SEED, &content), side)
            })
            .collect();
        ranked.sort_by_key(|entry| entry.0);
        for count in [20_000, 4_000] {
            let share = ranked[..count].iter().filter(|entry| entry.1 == Side::Validation).count() as f64
                / count as f64;
            // Five standard deviations of a binomial draw of 4,000.
            assert!((share - VALIDATION_SHARE).abs() < 0.032, "{share} of {count}");
        }
    }

    #[test]
    fn every_seed_draws_another_split() {
        let members: Vec<_> =
            (0..200).map(|number| Member { content: content(number), group: None }).collect();
        assert_ne!(assign_sides(1, &members), assign_sides(2, &members));
    }

    #[test]
    fn linked_groups_train_when_one_of_them_does() {
        let drawn = |side: Side| {
            (0..)
                .map(|n: u32| format!("group {n}"))
                .filter(move |name| draw(SPLIT_SEED, NAMED_GROUP, name.as_bytes()) == side)
        };
        let validating: Vec<String> = drawn(Side::Validation).take(2).collect();
        let training = drawn(Side::Train).next().unwrap();
        let member = |number, group| Member { content: content(number), group: Some(group) };
        let apart = [member(1, validating[0].as_str()), member(2, &training)];
        assert_eq!(assign_sides(SPLIT_SEED, &apart), [Side::Validation, Side::Train]);
        let linked = [apart[0], apart[1], member(1, &training)];
        assert_eq!(assign_sides(SPLIT_SEED, &linked), [Side::Train; 3]);
        let both = [member(1, validating[0].as_str()), member(1, &validating[1])];
        assert_eq!(assign_sides(SPLIT_SEED, &both), [Side::Validation; 2]);
    }

    #[test]
    fn the_split_is_the_same_in_every_version() {
        let places: String = (0..40)
            .map(|number| {
                match assign_sides(SPLIT_SEED, &[Member { content: content(number), group: None }])[0] {
                    Side::Train => 't',
                    Side::Validation => 'v',
                }
            })
            .collect();
        // Computed with Python's hashlib.
        assert_eq!(places, "ttttvtttttttvvvtttvvttttttvttttttvtvvttt");
        assert_eq!(rank(SPLIT_SEED, &content(0)), 13_965_078_511_592_713_123);
    }

    #[test]
    fn other_names_stand_for_all_samples() {
        assert_eq!(Split::from_name("train"), Split::Train);
        assert_eq!(Split::from_name("val"), Split::Validation);
        assert_eq!(Split::from_name("test"), Split::All);
        assert!(Split::All.contains(Side::Validation) && Split::All.contains(Side::Train));
        assert!(!Split::Train.contains(Side::Validation));
    }
}
