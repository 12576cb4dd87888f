//! The competition's weighting by provenance, and its blend with the robustness pass.

use crate::error::{Error, Result};

/// Share of the plain score when a robustness pass was run.
pub const BASE_SHARE: f64 = 0.8;

/// Share of the robustness pass.
pub const ROBUST_SHARE: f64 = 0.2;

/// The score with the robustness pass blended in: `0.8 * base + 0.2 * robust`.
pub fn blend_robustness(base: f64, robust: f64) -> f64 {
    BASE_SHARE * base + ROBUST_SHARE * robust
}

/// Where the competition has a dataset from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provenance {
    /// Anybody can download it.
    Public,
    /// Held back by the competition: `-holdout-` stands in the dataset's name.
    Holdout,
    /// Made by the competition's generators: `gasstation` stands in the dataset's name.
    Gasstation,
}

impl Provenance {
    /// The provenance that a dataset's name tells; `gasstation` wins where both words stand.
    pub fn of_dataset(name: &str) -> Self {
        if name.contains("gasstation") {
            Self::Gasstation
        } else if name.contains("-holdout-") {
            Self::Holdout
        } else {
            Self::Public
        }
    }
}

/// What part of the score each provenance is given; any scale, they are renormalised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProvenanceShares {
    /// Share of the public datasets.
    pub public: f64,
    /// Share of the held-out datasets.
    pub holdout: f64,
    /// Share of the gasstation datasets.
    pub gasstation: f64,
}

impl ProvenanceShares {
    fn share(&self, provenance: Provenance) -> f64 {
        match provenance {
            Provenance::Public => self.public,
            Provenance::Holdout => self.holdout,
            Provenance::Gasstation => self.gasstation,
        }
    }
}

/// Weights that give every provenance its share of the score, one a sample; they add up to the
/// number of samples.
///
/// The weight of a sample is the share of its class, renormalised over the classes present,
/// times the number of all samples over that of its class.
///
/// # Errors
/// [`Error::Argument`] when a share is negative or not finite, or no class that is present has one.
pub fn provenance_weights(provenances: &[Provenance], shares: ProvenanceShares) -> Result<Vec<f64>> {
    const CLASSES: [Provenance; 3] = [Provenance::Public, Provenance::Holdout, Provenance::Gasstation];
    if CLASSES.iter().any(|&class| !shares.share(class).is_finite() || shares.share(class) < 0.0) {
        return Err(Error::argument("shares", "every share must be a finite number of at least 0"));
    }
    let counts = CLASSES.map(|class| provenances.iter().filter(|&&other| other == class).count());
    let present: f64 = CLASSES
        .iter()
        .zip(counts)
        .filter(|&(_, count)| count > 0)
        .map(|(&class, _)| shares.share(class))
        .sum();
    if !provenances.is_empty() && present == 0.0 {
        return Err(Error::argument("shares", "none of the provenances that are present has a share"));
    }
    let total = provenances.len() as f64;
    let weight = |class: Provenance| shares.share(class) / present * total / counts[class as usize] as f64;
    Ok(provenances.iter().map(|&class| weight(class)).collect())
}
