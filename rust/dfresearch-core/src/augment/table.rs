//! The augmentation table: levels, and the operations that each may use.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// An operation of the caller's own, for experiments.
pub trait CustomOperation: Send + Sync {
    /// The name that errors give.
    fn name(&self) -> &str;

    /// Changes the pixels of `image`, `[height, width, 3]`, in place. `seed` is the same for all frames of a clip.
    ///
    /// # Errors
    /// Whatever the operation refuses; [`Error::Augment`] names it.
    fn apply(&self, image: &mut [u8], width: usize, height: usize, seed: u64) -> Result<()>;
}

/// The operations that are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// JPEG round trip, see [`jpeg_compress`](super::jpeg_compress).
    JpegCompress,
    /// Gaussian blur, see [`gaussian_blur`](super::gaussian_blur).
    GaussianBlur,
    /// Gaussian noise, see [`gaussian_noise`](super::gaussian_noise).
    GaussianNoise,
    /// One offset a channel, see [`color_shift`](super::color_shift).
    ColorShift,
    /// Contrast about the mean, see [`color_contrast`](super::color_contrast).
    ColorContrast,
}

impl OperationKind {
    /// All built-in operations.
    pub const ALL: [Self; 5] =
        [Self::JpegCompress, Self::GaussianBlur, Self::GaussianNoise, Self::ColorShift, Self::ColorContrast];

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::JpegCompress => "jpeg_compress",
            Self::GaussianBlur => "gaussian_blur",
            Self::GaussianNoise => "gaussian_noise",
            Self::ColorShift => "color_shift",
            Self::ColorContrast => "color_contrast",
        }
    }

    /// The name of the parameter.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::JpegCompress => "quality",
            Self::GaussianBlur | Self::GaussianNoise => "sigma",
            Self::ColorShift => "magnitude",
            Self::ColorContrast => "factor",
        }
    }

    /// The smallest and the largest value of the parameter.
    pub fn domain(self) -> (f64, f64) {
        match self {
            Self::JpegCompress => (1.0, 100.0),
            // Below a sigma of 0.17 the kernel is one pixel wide; above 100 it is wider than the images are.
            Self::GaussianBlur => (0.01, 100.0),
            Self::GaussianNoise | Self::ColorShift => (0.0, 255.0),
            Self::ColorContrast => (0.0, 100.0),
        }
    }

    /// Whether the parameter is a whole number.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::JpegCompress)
    }
}

/// One entry of the table: an operation, and what its parameter is drawn from.
#[derive(Clone)]
pub enum Operation {
    /// A built-in operation.
    BuiltIn {
        /// Which one.
        kind: OperationKind,
        /// The smallest value of its parameter.
        low: f64,
        /// The largest value of its parameter.
        high: f64,
    },
    /// An operation of the caller's own, which draws for itself.
    Custom(Arc<dyn CustomOperation>),
}

impl Operation {
    /// The built-in operation called `name`, its parameter drawn uniformly between `low` and `high`.
    ///
    /// # Errors
    /// [`Error::Augment`], with the operation's name, for an unknown name, a range the wrong way round, a bound
    /// outside of the operation's domain, or a fraction where the parameter is a whole number.
    ///
    /// ```
    /// use dfresearch_core::augment::Operation;
    ///
    /// assert!(Operation::built_in("gaussian_blur", 0.5, 1.5).is_ok());
    /// let error = Operation::built_in("gaussian_blur", 1.5, 0.5).err().ok_or("accepted")?;
    /// assert_eq!(error.to_string(), "augmentation gaussian_blur: sigma runs from 1.5 to 0.5: the smaller value comes first");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn built_in(name: &str, low: f64, high: f64) -> Result<Self> {
        let Some(kind) = OperationKind::ALL.into_iter().find(|kind| kind.name() == name) else {
            let known = OperationKind::ALL.map(OperationKind::name).join(", ");
            return Err(Error::augment(name, format!("no such operation; there are {known}")));
        };
        let parameter = kind.parameter();
        if low > high {
            let reason = format!("{parameter} runs from {low} to {high}: the smaller value comes first");
            return Err(Error::augment(name, reason));
        }
        for bound in [low, high] {
            super::check_parameter(kind, bound)?;
            if kind.is_whole() && bound.fract() != 0.0 {
                return Err(Error::augment(name, format!("{parameter} {bound} is not a whole number")));
            }
        }
        Ok(Self::BuiltIn { kind, low, high })
    }

    /// The name of the operation.
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn { kind, .. } => kind.name(),
            Self::Custom(operation) => operation.name(),
        }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn { kind, low, high } => {
                write!(formatter, "{}({}={low}..{high})", kind.name(), kind.parameter())
            }
            Self::Custom(operation) => write!(formatter, "{}(custom)", operation.name()),
        }
    }
}

/// Augmentation levels, each with the operations that one or two are drawn from. Level 0 changes nothing.
#[derive(Debug, Clone, Default)]
pub struct AugmentTable {
    levels: BTreeMap<u32, Vec<Operation>>,
}

impl AugmentTable {
    /// A table of `levels`.
    ///
    /// # Errors
    /// [`Error::Argument`] when level 0, which stands for unchanged images, has operations.
    pub fn new(levels: BTreeMap<u32, Vec<Operation>>) -> Result<Self> {
        match levels.get(&0).and_then(|operations| operations.first()) {
            Some(operation) => Err(Error::argument(
                "augment_table",
                format!("level 0 leaves images unchanged, so {} needs another level", operation.name()),
            )),
            None => Ok(Self { levels }),
        }
    }

    /// The operations of `level`; none for level 0, even in an empty table.
    ///
    /// # Errors
    /// [`Error::Argument`] for a level that the table does not have.
    pub fn operations(&self, level: u32) -> Result<&[Operation]> {
        match self.levels.get(&level) {
            Some(operations) => Ok(operations),
            None if level == 0 => Ok(&[]),
            None => {
                let known: Vec<String> = self.levels.keys().map(u32::to_string).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(Error::argument(
                    "augment_level",
                    format!("{level} is not in the table, whose levels are {known}"),
                ))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refusal(name: &str, low: f64, high: f64) -> String {
        Operation::built_in(name, low, high).unwrap_err().to_string()
    }

    #[test]
    fn bad_entries_are_named() {
        assert_eq!(
            refusal("sharpen", 1.0, 2.0),
            "augmentation sharpen: no such operation; there are jpeg_compress, gaussian_blur, gaussian_noise, \
             color_shift, color_contrast"
        );
        assert_eq!(
            refusal("jpeg_compress", 90.0, 70.0),
            "augmentation jpeg_compress: quality runs from 90 to 70: the smaller value comes first"
        );
        assert_eq!(
            refusal("jpeg_compress", 0.0, 70.0),
            "augmentation jpeg_compress: quality 0 is not between 1 and 100"
        );
        assert!(refusal("jpeg_compress", 10.5, 70.0).contains("quality 10.5 is not a whole number"));
        assert!(refusal("gaussian_blur", 0.0, 1.0).contains("augmentation gaussian_blur: sigma 0"));
        assert!(refusal("gaussian_noise", -1.0, 1.0).contains("augmentation gaussian_noise: sigma -1"));
        assert!(refusal("color_shift", 5.0, f64::NAN).contains("augmentation color_shift: magnitude NaN"));
        assert!(
            refusal("color_contrast", 0.5, f64::INFINITY).contains("augmentation color_contrast: factor inf")
        );
    }

    #[test]
    fn levels_are_looked_up() {
        let blur = Operation::built_in("gaussian_blur", 0.5, 0.5).unwrap();
        let table = AugmentTable::new(BTreeMap::from([(0, vec![]), (7, vec![blur.clone()])])).unwrap();
        assert_eq!(table.operations(7).unwrap().len(), 1);
        assert_eq!(
            table.operations(2).unwrap_err().to_string(),
            "augment_level: 2 is not in the table, whose levels are 0, 7"
        );
        assert!(AugmentTable::default().operations(0).unwrap().is_empty());
        let error = AugmentTable::new(BTreeMap::from([(0, vec![blur])])).unwrap_err();
        assert!(error.to_string().contains("gaussian_blur needs another level"));
    }
}
