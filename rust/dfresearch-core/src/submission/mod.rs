//! What is handed in: `model_config.yaml`, `model.py` and `model.safetensors`, in a folder and as a ZIP.
//!
//! ```text
//!  training ──► replace_checkpoint ──► results/checkpoints/{modality}/ ──► stage_submission ──► ZIP under a
//!               (three files, all           model_config.yaml                (checked, written,   temporary name
//!                or none)                   model.py                          read back)              │
//!                                           model.safetensors                                         ▼
//!                                                                             the caller loads it ─► commit
//! ```

mod archive;
pub(crate) mod checkpoint;
mod config;
pub(crate) mod files;
mod policy;
mod weights;

pub use archive::{Member, Report, StagedSubmission, check_checkpoint, stage_submission, write_submission};
pub use checkpoint::replace_checkpoint;
pub use config::{ModelConfig, Preprocessing, parse_config, read_config, yaml_of, yaml_of_json};
pub use policy::{ModelSource, check_model_source};
pub use weights::{TensorData, WeightsSummary, check_weights, strip_wrapper_names, write_safetensors};

/// The configuration's name in a checkpoint folder and in the ZIP.
pub const CONFIG_FILE: &str = "model_config.yaml";

/// The model source's name in a checkpoint folder and in the ZIP.
pub const SOURCE_FILE: &str = "model.py";

/// The weights' name in a checkpoint folder and in the ZIP.
pub const WEIGHTS_FILE: &str = "model.safetensors";
