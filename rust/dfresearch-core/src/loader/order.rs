//! Which samples an epoch goes through, and in which order.

use crate::rng::{CounterRng, RandomKey};

/// One process's share of an epoch: `rank` of `world_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// This process, counted from zero.
    pub rank: usize,
    /// How many processes share the epoch.
    pub world_size: usize,
}

impl Shard {
    /// The whole epoch.
    pub const WHOLE: Self = Self { rank: 0, world_size: 1 };

    /// Samples of this share when `total` samples are shared equally; the remainder is left out.
    pub fn len_of(self, total: usize) -> usize {
        total / self.world_size
    }
}

/// The random stream that orders are drawn from, apart from every stream of a sample.
const ORDER_STREAM: u64 = u64::MAX;

/// The order of one epoch: indices into the sample source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochOrder {
    epoch: u64,
    indices: Vec<u32>,
    batch_size: usize,
    steps: usize,
}

impl EpochOrder {
    /// Orders the `active` samples of an epoch.
    ///
    /// The order is drawn over all samples first and then dealt out to the ranks in turn, so that the
    /// shares are disjoint, equally long, and together the same for any `world_size` up to the remainder.
    pub fn new(active: impl Iterator<Item = u32>, settings: &super::LoaderSettings, epoch: u64) -> Self {
        let mut indices: Vec<u32> = active.collect();
        if settings.shuffle {
            shuffle(&mut indices, settings.seed, epoch);
        }
        let Shard { rank, world_size } = settings.shard;
        let share = settings.shard.len_of(indices.len());
        if world_size > 1 {
            indices = indices.into_iter().skip(rank).step_by(world_size).take(share).collect();
        }
        Self { epoch, indices, batch_size: settings.batch_size, steps: settings.steps(share) }
    }

    /// The epoch's number, by which everything random in it is keyed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Batches of the epoch.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The sample indices of batch `step`; empty past the end.
    pub fn batch(&self, step: usize) -> &[u32] {
        if step >= self.steps {
            return &[];
        }
        let start = step * self.batch_size;
        &self.indices[start..self.indices.len().min(start + self.batch_size)]
    }
}

/// Fisher-Yates, keyed by (seed, epoch).
fn shuffle(indices: &mut [u32], seed: u64, epoch: u64) {
    let mut rng = CounterRng::new(RandomKey { seed, epoch, sample: 0 }, ORDER_STREAM);
    for last in (1..indices.len()).rev() {
        let other = rng.below(last as u64 + 1) as usize;
        indices.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::LoaderSettings;
    use proptest::prelude::*;

    fn settings(batch_size: usize, drop_last: bool, seed: u64, shard: Shard) -> LoaderSettings {
        LoaderSettings { batch_size, shuffle: true, drop_last, num_workers: 1, prefetch: 1, seed, shard }
    }

    proptest! {
        #[test]
        fn every_sample_comes_once(total in 0u32..300, batch in 1usize..40, seed: u64, epoch in 0u64..9) {
            let order = EpochOrder::new(0..total, &settings(batch, false, seed, Shard::WHOLE), epoch);
            let mut seen: Vec<u32> = (0..order.steps()).flat_map(|s| order.batch(s).to_vec()).collect();
            prop_assert!((0..order.steps().saturating_sub(1)).all(|s| order.batch(s).len() == batch));
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..total).collect::<Vec<_>>());
        }

        #[test]
        fn drop_last_leaves_only_whole_batches(total in 0u32..300, batch in 1usize..40, seed: u64) {
            let order = EpochOrder::new(0..total, &settings(batch, true, seed, Shard::WHOLE), 0);
            let total = total as usize;
            if total < batch {
                prop_assert_eq!(order.batch(0).len(), total, "the only batch is not left out");
            } else {
                prop_assert_eq!(order.steps(), total / batch);
                prop_assert!((0..order.steps()).all(|step| order.batch(step).len() == batch));
            }
        }

        #[test]
        fn shares_are_disjoint_equal_and_together_the_same(
            total in 0u32..300, world_size in 1usize..6, seed: u64, epoch in 0u64..9,
        ) {
            let whole = EpochOrder::new(0..total, &settings(1, false, seed, Shard::WHOLE), epoch);
            let used = total as usize / world_size * world_size;
            let mut expected: Vec<u32> = (0..used).map(|step| whole.batch(step)[0]).collect();
            let mut together = Vec::new();
            for rank in 0..world_size {
                let shard = Shard { rank, world_size };
                let order = EpochOrder::new(0..total, &settings(1, false, seed, shard), epoch);
                prop_assert_eq!(order.steps(), total as usize / world_size);
                together.extend((0..order.steps()).map(|step| order.batch(step)[0]));
            }
            expected.sort_unstable();
            together.sort_unstable();
            prop_assert_eq!(together, expected);
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let order = |seed, epoch| EpochOrder::new(0..64, &settings(64, false, seed, Shard::WHOLE), epoch);
        assert_ne!(order(0, 0), order(0, 1));
        assert_ne!(order(0, 0), order(1, 0));
        assert_eq!(order(3, 5), order(3, 5));
    }
}
