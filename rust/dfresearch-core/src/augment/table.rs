//! Augmentation tables: levels, and the operations that each may use; the same for images and waveforms.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// What the operations of the caller's own have, whatever they change.
pub trait NamedOperation: Send + Sync {
    /// The name that errors give.
    fn name(&self) -> &str;
}

/// The built-in operations of one kind of media; each has one parameter.
pub trait BuiltIn: Copy + fmt::Debug + Send + Sync + 'static {
    /// The caller's own operations beside them.
    type Custom: NamedOperation + ?Sized;

    /// What they change, in the plural, for errors.
    const SUBJECT: &'static str;

    /// All of them.
    const ALL: &'static [Self];

    /// The name in the table.
    fn name(self) -> &'static str;

    /// The name of the parameter.
    fn parameter(self) -> &'static str;

    /// The smallest and the largest value of the parameter.
    fn domain(self) -> (f64, f64);

    /// Whether the parameter is a whole number.
    fn is_whole(self) -> bool;

    /// Refuses an operation that this machine lacks the library for.
    ///
    /// # Errors
    /// [`Error::Augment`], naming what is missing.
    fn check_available(self) -> Result<()> {
        Ok(())
    }
}

/// One entry of a table: an operation, and what its parameter is drawn from.
pub enum TableOperation<Kind: BuiltIn> {
    /// A built-in operation.
    BuiltIn {
        /// Which one.
        kind: Kind,
        /// The smallest value of its parameter.
        low: f64,
        /// The largest value of its parameter.
        high: f64,
    },
    /// An operation of the caller's own, which draws for itself.
    Custom(Arc<Kind::Custom>),
}

impl<Kind: BuiltIn> Clone for TableOperation<Kind> {
    fn clone(&self) -> Self {
        match self {
            Self::BuiltIn { kind, low, high } => Self::BuiltIn { kind: *kind, low: *low, high: *high },
            Self::Custom(operation) => Self::Custom(Arc::clone(operation)),
        }
    }
}

impl<Kind: BuiltIn> TableOperation<Kind> {
    /// The built-in operation called `name`, its parameter drawn uniformly between `low` and `high`.
    ///
    /// # Errors
    /// [`Error::Augment`], with the operation's name, for an unknown name, a range the wrong way round, a bound
    /// outside of the operation's domain, a fraction where the parameter is a whole number, or an operation that this
    /// machine lacks the library for.
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
        let Some(kind) = Kind::ALL.iter().copied().find(|kind| kind.name() == name) else {
            let known = Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            return Err(Error::augment(name, format!("no such operation; there are {known}")));
        };
        let parameter = kind.parameter();
        if low > high {
            let reason = format!("{parameter} runs from {low} to {high}: the smaller value comes first");
            return Err(Error::augment(name, reason));
        }
        for bound in [low, high] {
            check_parameter(kind, bound)?;
            if kind.is_whole() && bound.fract() != 0.0 {
                return Err(Error::augment(name, format!("{parameter} {bound} is not a whole number")));
            }
        }
        kind.check_available()?;
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

impl<Kind: BuiltIn> fmt::Debug for TableOperation<Kind> {
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
#[derive(Debug, Clone)]
pub struct LevelTable<Kind: BuiltIn> {
    levels: BTreeMap<u32, Vec<TableOperation<Kind>>>,
}

impl<Kind: BuiltIn> Default for LevelTable<Kind> {
    fn default() -> Self {
        Self { levels: BTreeMap::new() }
    }
}

impl<Kind: BuiltIn> LevelTable<Kind> {
    /// A table of `levels`.
    ///
    /// # Errors
    /// [`Error::Argument`] when level 0, which stands for unchanged samples, has operations.
    pub fn new(levels: BTreeMap<u32, Vec<TableOperation<Kind>>>) -> Result<Self> {
        match levels.get(&0).and_then(|operations| operations.first()) {
            Some(operation) => Err(Error::argument(
                "augment_table",
                format!(
                    "level 0 leaves {} unchanged, so {} needs another level",
                    Kind::SUBJECT,
                    operation.name()
                ),
            )),
            None => Ok(Self { levels }),
        }
    }

    /// The operations of `level`; none for level 0, even in an empty table.
    ///
    /// # Errors
    /// [`Error::Argument`] for a level that the table does not have.
    pub fn operations(&self, level: u32) -> Result<&[TableOperation<Kind>]> {
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

/// Refuses a parameter that its operation does not accept.
pub(crate) fn check_parameter<Kind: BuiltIn>(kind: Kind, value: f64) -> Result<()> {
    let (low, high) = kind.domain();
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let parameter = kind.parameter();
    Err(Error::augment(kind.name(), format!("{parameter} {value} is not between {low} and {high}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{AugmentTable, Operation};
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
