//! The Python face of `dfresearch-core`: extracts arguments, releases the interpreter, wraps results.
//!
//! No algorithm lives here. Python prose lives in `python/dfresearch_rs/_native.pyi`.

use pyo3::prelude::*;
use pyo3::types::PySequence;

mod augment;
mod augment_audio;
mod augment_table;
mod catalog;
mod decode;
mod errors;
mod loader;
mod loader_iterator;
mod metric;
mod pipeline;
mod prepare;
mod preprocess;
mod sample_cache;
mod state_dict;
mod store;
mod submission;
mod tensors;
mod values;

/// The extension module `dfresearch_rs._native`.
#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use crate::augment::{
        augment_image, check_operation, color_contrast, color_shift, gaussian_blur, gaussian_noise,
        horizontal_flip, jpeg_compress,
    };
    #[pymodule_export]
    use crate::augment_audio::{
        additive_noise, augment_audio, check_audio_operation, gain, low_pass, mp3_compress, opus_compress,
        reverberation,
    };
    #[pymodule_export]
    use crate::catalog::{ConfigRefresh, load_catalog, refresh_configs};
    #[pymodule_export]
    use crate::decode::{decode_audio, decode_image, decode_video, recompress_image};
    #[pymodule_export]
    use crate::loader::Loader;
    #[pymodule_export]
    use crate::loader_iterator::LoaderIterator;
    #[pymodule_export]
    use crate::metric::{PyScore, blend_robustness, provenance_weights, sn34_score};
    #[pymodule_export]
    use crate::prepare::{PyDatasetOutcome, PyDatasetPlan, PyPrepareProgress, PyPrepareReport};
    #[pymodule_export]
    use crate::prepare::{plan_datasets, prepare_datasets};
    #[pymodule_export]
    use crate::preprocess::{preprocess_audio, preprocess_image, preprocess_video};
    #[pymodule_export]
    use crate::sample_cache::{SampleCacheReport, SampleStore, WarmReport};
    #[pymodule_export]
    use crate::sample_cache::{clear_sample_cache, survey_sample_cache};
    #[pymodule_export]
    use crate::store::{DatasetReport, Samples, StoreReport, gather_samples, quarantine, survey_cache};
    #[pymodule_export]
    use crate::submission::{PyModelConfig, PySubmissionMember, PySubmissionReport};
    #[pymodule_export]
    use crate::submission::{check_model_source, read_model_config, save_safetensors};
    #[pymodule_export]
    use crate::submission::{write_checkpoint, write_submission};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        PySequence::register::<store::Samples>(py)?;
        // Worker threads have to be gone before the interpreter and libtorch are torn down.
        let close_loaders = wrap_pyfunction!(loader_iterator::close_loaders, module)?;
        py.import("atexit")?.call_method1("register", (close_loaders,))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
