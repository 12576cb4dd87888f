//! Datasets, decoding, augmentation, batch loading, scores and submissions for deepfake-detector research.
//!
//! ```text
//!  catalog ──► store ──► split ──► loader ─────────────► batches ──► a model ──► probabilities
//!  (which      (files +  (group-   decode ► preprocess                                │
//!   datasets)   index,    aware,    ► augment ► batch                       metric ◄──┘
//!               quaran-   stable)                                       submission (ZIP)
//!               tine)
//! ```
//!
//! Data moves one way. The crate knows nothing of Python, NumPy or libtorch: the binding beside it
//! gives the loader memory to write batches into, and turns errors into exceptions.
#![deny(unsafe_code)]

pub mod archive;
pub mod augment;
pub mod catalog;
pub mod decode;
pub mod error;
pub mod fetch;
pub mod ffmpeg;
pub mod http;
pub mod hub;
mod jpeg_round_trip;
pub mod loader;
pub mod media_file;
pub mod metric;
pub mod modality;
mod optional_file;
pub mod prepare;
pub mod preprocess;
pub mod rng;
pub mod sample_cache;
pub mod samples;
pub mod split;
pub mod stop;
pub mod store;
pub mod submission;

pub use decode::RgbImage;
pub use error::{DecodeError, Error, FetchErrorKind, Result};
pub use modality::{Label, MediaType, Modality};
