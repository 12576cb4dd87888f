//! Which operations a sample gets, with which parameters, in which order.

use std::sync::Arc;

use smallvec::SmallVec;

use super::selection::{MAX_OPERATIONS, draw_whole, noise_rng, parameter_rng, select};
use super::{
    AugmentScratch, AugmentTable, CHANNELS, CustomOperation, Operation, OperationKind, check_image,
    color_contrast, color_shift, gaussian_blur, gaussian_noise, jpeg_compress,
};
use crate::error::Result;
use crate::rng::{CounterRng, RandomKey};

/// The share of samples that are flipped, at every level but 0.
const FLIP_PROBABILITY: f64 = 0.5;

/// A stream beside those of the operations.
const FLIP_STREAM: u64 = 1;

/// What happens to one sample; the same for all frames of a clip.
#[derive(Clone, Default)]
pub struct Plan {
    /// The operations, in the order in which they are applied.
    pub operations: SmallVec<[PlannedOperation; MAX_OPERATIONS]>,
    /// Whether the sample is mirrored left to right after the operations. [`apply_plan`] leaves this to its caller,
    /// who writes the pixels elsewhere anyhow.
    pub flip: bool,
    /// Where noise comes from.
    key: RandomKey,
}

/// An operation with its parameters drawn.
#[derive(Clone)]
pub enum PlannedOperation {
    /// JPEG round trip.
    JpegCompress {
        /// 1 to 100.
        quality: u8,
    },
    /// Gaussian blur.
    GaussianBlur {
        /// Standard deviation in pixels.
        sigma: f64,
    },
    /// Gaussian noise, drawn anew for every frame.
    GaussianNoise {
        /// Standard deviation in grey levels.
        sigma: f64,
    },
    /// One offset a channel.
    ColorShift {
        /// Offsets of red, green and blue in grey levels.
        shifts: [f32; CHANNELS],
    },
    /// Contrast about the channel's mean; the mean is the frame's own.
    ColorContrast {
        /// 1 changes nothing.
        factor: f64,
    },
    /// An operation of the caller's own.
    Custom {
        /// The operation.
        operation: Arc<dyn CustomOperation>,
        /// What it draws its parameters from.
        seed: u64,
    },
}

/// Draws what happens to the sample that `key` names: one or two distinct operations of `level`, uniformly, in random
/// order, and a flip for every other sample. Level 0 changes nothing.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a level that the table does not have.
pub fn plan(table: &AugmentTable, level: u32, key: RandomKey) -> Result<Plan> {
    plan_with_limit(table, level, MAX_OPERATIONS, key)
}

/// Like [`plan`], with between one and `max_operations` operations, as far as the level has so many.
///
/// # Errors
/// As [`plan`].
pub fn plan_with_limit(
    table: &AugmentTable,
    level: u32,
    max_operations: usize,
    key: RandomKey,
) -> Result<Plan> {
    let flip = level > 0 && CounterRng::new(key, FLIP_STREAM).uniform() < FLIP_PROBABILITY;
    let operations = select(table.operations(level)?, max_operations, key).into_iter().enumerate();
    let operations = operations.map(|(place, it)| draw_parameters(it, &mut parameter_rng(key, place)));
    Ok(Plan { operations: operations.collect(), flip, key })
}

fn draw_parameters(operation: &Operation, rng: &mut CounterRng) -> PlannedOperation {
    let (kind, low, high) = match operation {
        Operation::BuiltIn { kind, low, high } => (*kind, *low, *high),
        Operation::Custom(operation) => {
            return PlannedOperation::Custom { operation: Arc::clone(operation), seed: rng.next_u64() };
        }
    };
    match kind {
        OperationKind::JpegCompress => {
            PlannedOperation::JpegCompress { quality: draw_whole(low, high, rng) as u8 }
        }
        OperationKind::GaussianBlur => PlannedOperation::GaussianBlur { sigma: rng.range(low, high) },
        OperationKind::GaussianNoise => PlannedOperation::GaussianNoise { sigma: rng.range(low, high) },
        OperationKind::ColorShift => {
            let magnitude = rng.range(low, high);
            let shifts = std::array::from_fn(|_| rng.range(-magnitude, magnitude) as f32);
            PlannedOperation::ColorShift { shifts }
        }
        OperationKind::ColorContrast => PlannedOperation::ColorContrast { factor: rng.range(low, high) },
    }
}

/// Applies the operations of `plan`, but not its flip, to one image `[height, width, 3]` in place.
///
/// `frame` counts the frames of a clip, and is 0 for a still image: the parameters are the clip's, the noise is the
/// frame's.
///
/// # Errors
/// [`Error::Augment`](crate::Error::Augment) from an operation that failed, and
/// [`Error::Argument`](crate::Error::Argument) for an image that is not of the given size.
pub fn apply_plan(
    plan: &Plan,
    frame: u32,
    image: &mut [u8],
    width: usize,
    height: usize,
    scratch: &mut AugmentScratch,
) -> Result<()> {
    check_image(image, width, height)?;
    for (place, operation) in plan.operations.iter().enumerate() {
        match operation {
            PlannedOperation::JpegCompress { quality } => {
                jpeg_compress(image, width, height, *quality, &mut scratch.jpeg)?;
            }
            PlannedOperation::GaussianBlur { sigma } => {
                gaussian_blur(image, width, height, *sigma, &mut scratch.blur)?;
            }
            PlannedOperation::GaussianNoise { sigma } => {
                gaussian_noise(image, *sigma, &mut noise_rng(plan.key, place, frame))?;
            }
            PlannedOperation::ColorShift { shifts } => color_shift(image, *shifts),
            PlannedOperation::ColorContrast { factor } => color_contrast(image, *factor)?,
            PlannedOperation::Custom { operation, seed } => operation.apply(image, width, height, *seed)?,
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn table() -> AugmentTable {
        let ranges = [
            ("jpeg_compress", 40.0, 75.0),
            ("gaussian_blur", 0.5, 1.5),
            ("gaussian_noise", 3.0, 10.0),
            ("color_shift", 5.0, 15.0),
            ("color_contrast", 0.5, 1.5),
        ];
        let operations: Vec<_> =
            ranges.iter().map(|&(name, low, high)| Operation::built_in(name, low, high).unwrap()).collect();
        AugmentTable::new([(1, operations[..1].to_vec()), (2, operations), (3, vec![])].into()).unwrap()
    }

    fn sample(sample: u64) -> RandomKey {
        RandomKey { seed: 5, epoch: 1, sample }
    }

    fn kind(operation: &PlannedOperation) -> usize {
        match operation {
            PlannedOperation::JpegCompress { quality } => {
                assert!((40..=75).contains(quality));
                0
            }
            PlannedOperation::GaussianBlur { sigma } => {
                assert!((0.5..=1.5).contains(sigma));
                1
            }
            PlannedOperation::GaussianNoise { sigma } => {
                assert!((3.0..=10.0).contains(sigma));
                2
            }
            PlannedOperation::ColorShift { shifts } => {
                assert!(shifts.iter().all(|shift| shift.abs() <= 15.0));
                3
            }
            PlannedOperation::ColorContrast { factor } => {
                assert!((0.5..=1.5).contains(factor));
                4
            }
            PlannedOperation::Custom { .. } => 5,
        }
    }

    #[test]
    fn operations_orders_and_flips_are_equally_likely() {
        const SAMPLES: u64 = 40_000;
        let table = table();
        let (mut single, mut pairs, mut flips) = ([0.0; 5], [[0.0; 5]; 5], 0.0);
        for number in 0..SAMPLES {
            let plan = plan(&table, 2, sample(number)).unwrap();
            flips += f64::from(u8::from(plan.flip));
            match plan.operations.as_slice() {
                [one] => single[kind(one)] += 1.0,
                [first, second] => pairs[kind(first)][kind(second)] += 1.0,
                other => assert!(other.len() < 3 && !other.is_empty()),
            }
        }
        // Five standard deviations of a binomial count.
        let close = |count: f64, share: f64| {
            let expected = SAMPLES as f64 * share;
            assert!(
                (count - expected).abs() <= 5.0 * (expected * (1.0 - share)).sqrt(),
                "{count} {expected}"
            );
        };
        close(flips, 0.5);
        for (first, row) in pairs.iter().enumerate() {
            close(single[first], 0.5 / 5.0);
            for (second, &count) in row.iter().enumerate() {
                close(count, if first == second { 0.0 } else { 0.5 / 20.0 });
            }
        }
    }

    #[test]
    fn level_0_changes_nothing_and_an_empty_level_flips() {
        let mut flips = 0;
        for number in 0..100 {
            let none = plan(&table(), 0, sample(number)).unwrap();
            assert!(none.operations.is_empty() && !none.flip);
            let empty = plan(&table(), 3, sample(number)).unwrap();
            assert!(empty.operations.is_empty());
            flips += u32::from(empty.flip);
            assert_eq!(plan(&table(), 1, sample(number)).unwrap().operations.len(), 1);
            assert!(plan_with_limit(&table(), 2, 0, sample(number)).unwrap().operations.is_empty());
        }
        assert!((25..75).contains(&flips));
        assert!(plan(&table(), 4, sample(0)).is_err());
    }

    fn applied(plan: &Plan, frame: u32) -> Vec<u8> {
        let mut image: Vec<u8> = (0..32 * 16 * 3).map(|place| (place * 31 % 200) as u8).collect();
        apply_plan(plan, frame, &mut image, 32, 16, &mut AugmentScratch::default()).unwrap();
        image
    }

    #[test]
    fn a_sample_gets_the_same_pixels_again_and_others_get_others() {
        let table = table();
        for number in 0..50 {
            let first = applied(&plan(&table, 2, sample(number)).unwrap(), 0);
            assert_eq!(first, applied(&plan(&table, 2, sample(number)).unwrap(), 0));
            assert_ne!(first, applied(&plan(&table, 2, sample(number + 1)).unwrap(), 0));
        }
    }

    #[test]
    fn only_noise_changes_from_frame_to_frame() {
        let table = table();
        for number in 0..100 {
            let plan = plan(&table, 2, sample(number)).unwrap();
            let noisy = plan.operations.iter().any(|operation| kind(operation) == 2);
            assert_eq!(applied(&plan, 0) != applied(&plan, 1), noisy);
        }
    }

    #[test]
    fn all_qualities_of_a_range_are_drawn() {
        let operation = Operation::built_in("jpeg_compress", 70.0, 72.0).unwrap();
        let table = AugmentTable::new([(1, vec![operation])].into()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..100 {
            match plan(&table, 1, sample(number)).unwrap().operations.as_slice() {
                [PlannedOperation::JpegCompress { quality }] => seen.insert(*quality),
                _ => false,
            };
        }
        assert_eq!(seen, [70, 71, 72].into());
    }
}
