//! Which operations of a level a sample gets, in which order, and what each draws from.

use smallvec::SmallVec;

use super::table::{BuiltIn, TableOperation};
use crate::rng::{CounterRng, RandomKey};

/// How many operations a sample gets at most.
pub const MAX_OPERATIONS: usize = 2;

/// Operations of a level among which a choice allocates nothing: several times the kinds that there are.
const OPERATIONS_WITHOUT_ALLOCATION: usize = 16;

// Streams of a sample's random numbers. An operation's stream is its place in the plan; noise adds the frame.
const SELECTION_STREAM: u64 = 0;
const PARAMETER_STREAM: u64 = 1 << 32;
const NOISE_STREAM: u64 = 2 << 32;

/// Between one and `max_operations` distinct operations in random order, as far as there are so many.
pub(super) fn select<Kind: BuiltIn>(
    operations: &[TableOperation<Kind>],
    max_operations: usize,
    key: RandomKey,
) -> SmallVec<[&TableOperation<Kind>; OPERATIONS_WITHOUT_ALLOCATION]> {
    let mut rng = CounterRng::new(key, SELECTION_STREAM);
    let mut candidates: SmallVec<[_; OPERATIONS_WITHOUT_ALLOCATION]> = operations.iter().collect();
    let limit = candidates.len().min(max_operations);
    let count = if limit == 0 { 0 } else { 1 + rng.below(limit as u64) as usize };
    for place in 0..count {
        // One step of a Fisher-Yates shuffle: all choices and all orders are equally likely.
        let pick = place + rng.below((candidates.len() - place) as u64) as usize;
        candidates.swap(place, pick);
    }
    candidates.truncate(count);
    candidates
}

/// What the operation at `place` of a sample's plan draws its parameters from.
pub(super) fn parameter_rng(key: RandomKey, place: usize) -> CounterRng {
    CounterRng::new(key, PARAMETER_STREAM + place as u64)
}

/// What the operation at `place` of a sample's plan draws noise from: another stream for every frame of a clip.
pub(super) fn noise_rng(key: RandomKey, place: usize, frame: u32) -> CounterRng {
    CounterRng::new(key, NOISE_STREAM + ((place as u64) << 32) + u64::from(frame))
}

/// A whole number from `low` to `high`, which are whole numbers themselves, both included.
pub(super) fn draw_whole(low: f64, high: f64, rng: &mut CounterRng) -> u64 {
    low as u64 + rng.below((high - low) as u64 + 1)
}
