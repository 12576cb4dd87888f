//! How far all datasets are, for whoever watches.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::catalog::DatasetDefinition;
use crate::prepare::plan::most_samples;

/// What is happening to a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatasetState {
    /// Not begun.
    Waiting,
    /// The source is asked what there is.
    Listing,
    /// Media come in.
    Fetching,
    /// Done, well or not.
    Finished,
}

impl DatasetState {
    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Listing => "listing",
            Self::Fetching => "fetching",
            Self::Finished => "finished",
        }
    }
}

/// How far a dataset is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetProgress {
    /// The definition's name.
    pub name: String,
    /// What is happening to it.
    pub state: DatasetState,
    /// Samples that it has, those of earlier runs included.
    pub samples: usize,
    /// Samples that it will have, as far as that is known.
    pub wanted: usize,
    /// Bytes that came over the network in this run.
    pub bytes: u64,
}

/// How far the work is.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareProgress {
    /// Every dataset, in the order of the definitions.
    pub datasets: Vec<DatasetProgress>,
    /// Seconds since the work began.
    pub seconds: f64,
}

/// Where the threads write how far they are.
#[derive(Debug)]
pub(super) struct Board {
    rows: Vec<Row>,
    began: Instant,
}

#[derive(Debug)]
struct Row {
    name: String,
    state: Mutex<DatasetState>,
    samples: AtomicUsize,
    wanted: AtomicUsize,
    bytes: AtomicU64,
}

impl Board {
    pub fn new(definitions: &[DatasetDefinition], max_samples: usize) -> Self {
        let row = |definition: &DatasetDefinition| Row {
            name: definition.name.clone(),
            state: Mutex::new(DatasetState::Waiting),
            samples: AtomicUsize::new(0),
            wanted: AtomicUsize::new(most_samples(definition, max_samples)),
            bytes: AtomicU64::new(0),
        };
        Self { rows: definitions.iter().map(row).collect(), began: Instant::now() }
    }

    pub fn set_state(&self, position: usize, state: DatasetState) {
        *self.rows[position].state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub fn set_samples(&self, position: usize, samples: usize) {
        self.rows[position].samples.store(samples, Ordering::Relaxed);
    }

    pub fn set_wanted(&self, position: usize, wanted: usize) {
        self.rows[position].wanted.store(wanted, Ordering::Relaxed);
    }

    pub fn add_bytes(&self, position: usize, bytes: u64) {
        self.rows[position].bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn bytes(&self, position: usize) -> u64 {
        self.rows[position].bytes.load(Ordering::Relaxed)
    }

    /// The dataset will have no more samples than these.
    pub fn finish(&self, position: usize, samples: usize) {
        self.set_samples(position, samples);
        self.set_wanted(position, samples);
        self.set_state(position, DatasetState::Finished);
    }

    pub fn progress(&self) -> PrepareProgress {
        let row = |row: &Row| DatasetProgress {
            name: row.name.clone(),
            state: *row.state.lock().unwrap_or_else(PoisonError::into_inner),
            samples: row.samples.load(Ordering::Relaxed),
            wanted: row.wanted.load(Ordering::Relaxed),
            bytes: row.bytes.load(Ordering::Relaxed),
        };
        PrepareProgress {
            datasets: self.rows.iter().map(row).collect(),
            seconds: self.began.elapsed().as_secs_f64(),
        }
    }
}
