//! How far all datasets are, for whoever watches.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::catalog::DatasetDefinition;
use crate::prepare::OutcomeStatus;
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
    /// It is known what would be fetched.
    Planned,
    /// Done, well or not.
    Finished(OutcomeStatus),
}

impl DatasetState {
    /// The word for people; of what is done, the status in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Listing => "listing",
            Self::Fetching => "fetching",
            Self::Planned => "planned",
            Self::Finished(status) => status.name(),
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
    /// Bytes a second that came over the network, since the work began.
    pub bytes_per_second: f64,
    /// Seconds until everything is there, at the rate so far; none while there is no rate.
    pub seconds_left: Option<f64>,
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
    /// Samples that were there before.
    samples_before: AtomicUsize,
    samples: AtomicUsize,
    wanted: AtomicUsize,
    bytes: AtomicU64,
}

impl Board {
    pub fn new(definitions: &[DatasetDefinition], max_samples: usize) -> Self {
        let row = |definition: &DatasetDefinition| Row {
            name: definition.name.clone(),
            state: Mutex::new(DatasetState::Waiting),
            samples_before: AtomicUsize::new(0),
            samples: AtomicUsize::new(0),
            wanted: AtomicUsize::new(most_samples(definition, max_samples)),
            bytes: AtomicU64::new(0),
        };
        Self { rows: definitions.iter().map(row).collect(), began: Instant::now() }
    }

    pub fn set_state(&self, position: usize, state: DatasetState) {
        *self.rows[position].state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The dataset has these samples before anything comes.
    pub fn begin(&self, position: usize, samples: usize) {
        self.rows[position].samples_before.store(samples, Ordering::Relaxed);
        self.set_samples(position, samples);
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
    pub fn finish(&self, position: usize, samples: usize, state: DatasetState) {
        self.set_samples(position, samples);
        self.set_wanted(position, samples);
        self.set_state(position, state);
    }

    pub fn progress(&self) -> PrepareProgress {
        let row = |row: &Row| DatasetProgress {
            name: row.name.clone(),
            state: *row.state.lock().unwrap_or_else(PoisonError::into_inner),
            samples: row.samples.load(Ordering::Relaxed),
            wanted: row.wanted.load(Ordering::Relaxed),
            bytes: row.bytes.load(Ordering::Relaxed),
        };
        let datasets: Vec<DatasetProgress> = self.rows.iter().map(row).collect();
        let seconds = self.began.elapsed().as_secs_f64();
        let bytes: u64 = datasets.iter().map(|dataset| dataset.bytes).sum();
        let before = |row: &Row| row.samples_before.load(Ordering::Relaxed);
        let (mut come, mut left) = (0, 0);
        for (dataset, row) in datasets.iter().zip(&self.rows) {
            if matches!(dataset.state, DatasetState::Listing | DatasetState::Fetching) || dataset.bytes > 0 {
                come += dataset.samples.saturating_sub(before(row));
            }
            left += dataset.wanted.saturating_sub(dataset.samples);
        }
        let seconds_left = (come > 0).then(|| left as f64 * seconds / come as f64);
        PrepareProgress { datasets, bytes_per_second: bytes as f64 / seconds.max(f64::EPSILON), seconds_left }
    }
}
