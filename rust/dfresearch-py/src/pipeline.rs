//! What a `Loader` does to one sample, chosen by modality from the constructor's keywords.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use dfresearch_core::decode::video::FrameSampling;
use dfresearch_core::loader::{
    self, AudioPipeline, Epoch, EpochOrder, ImagePipeline, LoaderSettings, RecordCache, SamplePipeline,
    VideoPipeline, WarmReport,
};
use dfresearch_core::preprocess::{AudioWindow, ImagePreprocess, VideoPreprocess};
use dfresearch_core::sample_cache::{SampleCache, default_max_bytes};
use dfresearch_core::samples::SampleList;
use dfresearch_core::stop::StopFlag;
use dfresearch_core::{Modality, Result};
use pyo3::prelude::*;
use tch::Kind;

use crate::augment::extract_augment;
use crate::augment_audio::extract_audio_augment;
use crate::errors::run_detached;
use crate::tensors::TensorAllocator;

/// Channels of an RGB frame.
const CHANNELS: usize = 3;

/// The keywords of `Loader` that say what happens to a sample; those of other modalities have no effect.
pub struct PipelineKeywords<'a, 'py> {
    pub modality: &'a str,
    pub size: [usize; 2],
    pub mode: &'a str,
    pub recompress: bool,
    pub sampling: &'a str,
    pub num_frames: usize,
    pub frame_rate: Option<f64>,
    pub sample_rate: u32,
    pub duration_seconds: f64,
    pub crop: &'a str,
    pub augment: Option<&'a Bound<'py, PyAny>>,
}

/// A pipeline of any modality, and the tensor that it makes of one sample.
pub struct Pipeline {
    steps: Arc<dyn StartEpoch>,
    sample_shape: Vec<usize>,
    element: Kind,
}

impl Pipeline {
    /// The pipeline of `keywords.modality`.
    pub fn new(py: Python<'_>, keywords: &PipelineKeywords<'_, '_>) -> PyResult<Self> {
        let PipelineKeywords { size, mode, recompress, sampling, num_frames, frame_rate, .. } = *keywords;
        let PipelineKeywords { sample_rate, duration_seconds, crop, .. } = *keywords;
        let [height, width] = size;
        match run_detached(py, || keywords.modality.parse())? {
            Modality::Image => {
                let augment = keywords.augment.map(extract_augment).transpose()?;
                let steps = run_detached(py, || {
                    let preprocess = ImagePreprocess::new(size.into(), mode.parse()?, recompress)?;
                    ImagePipeline::new(preprocess, augment)
                })?;
                Ok(Self::of(steps, vec![CHANNELS, height, width], Kind::Uint8))
            }
            Modality::Video => {
                let augment = keywords.augment.map(extract_augment).transpose()?;
                let steps = run_detached(py, || {
                    let sampling = FrameSampling::parse(sampling, frame_rate)?;
                    let preprocess = VideoPreprocess::new(size.into(), mode.parse()?, num_frames, sampling)?;
                    VideoPipeline::new(preprocess, augment)
                })?;
                Ok(Self::of(steps, vec![num_frames, CHANNELS, height, width], Kind::Uint8))
            }
            Modality::Audio => {
                let augment = keywords.augment.map(extract_audio_augment).transpose()?;
                let (window, steps) = run_detached(py, || {
                    let window = AudioWindow::new(sample_rate, duration_seconds, crop.parse()?)?;
                    Ok((window, AudioPipeline::new(window, augment)?))
                })?;
                Ok(Self::of(steps, vec![window.samples()], Kind::Float))
            }
        }
    }

    /// Fills the cache with the records of these samples; see [`loader::warm`].
    pub fn warm(
        &self,
        samples: &SampleList,
        cache: &RecordCache,
        num_workers: usize,
        done: &AtomicUsize,
        stop: &StopFlag,
    ) -> Result<WarmReport> {
        self.steps.warm(samples, cache, num_workers, done, stop)
    }

    fn of(steps: impl SamplePipeline, sample_shape: Vec<usize>, element: Kind) -> Self {
        Self { steps: Arc::new(steps), sample_shape, element }
    }

    /// In words, what happens to every sample.
    pub fn describe(&self) -> String {
        self.steps.describe()
    }

    /// Opens the sample cache's records of this pipeline for `samples`; there may be `max_bytes` on the disk in all.
    pub fn open_cache(
        &self,
        samples: Arc<SampleList>,
        folder: &Path,
        max_bytes: Option<u64>,
    ) -> Result<RecordCache> {
        let max_bytes = max_bytes.map_or_else(|| default_max_bytes(folder), Ok)?;
        let (modality, preprocessing) = (self.steps.modality(), self.steps.describe_preprocessing());
        let store = SampleCache::open(folder, modality, &preprocessing, max_bytes)?;
        Ok(RecordCache::new(store, samples))
    }

    /// Starts an epoch whose batches are tensors.
    pub fn start(
        &self,
        samples: Arc<SampleList>,
        cache: Option<Arc<RecordCache>>,
        settings: &LoaderSettings,
        order: EpochOrder,
        first_step: usize,
    ) -> Result<Epoch<TensorAllocator>> {
        let allocator = TensorAllocator::new(&self.sample_shape, self.element);
        self.steps.clone().start(samples, allocator, cache, settings, order, first_step)
    }
}

/// What a loader needs of a pipeline once it is made, whatever its modality.
trait StartEpoch: Send + Sync {
    fn modality(&self) -> Modality;
    fn describe(&self) -> String;
    fn describe_preprocessing(&self) -> String;
    fn warm(
        &self,
        samples: &SampleList,
        cache: &RecordCache,
        num_workers: usize,
        done: &AtomicUsize,
        stop: &StopFlag,
    ) -> Result<WarmReport>;
    fn start(
        self: Arc<Self>,
        samples: Arc<SampleList>,
        allocator: TensorAllocator,
        cache: Option<Arc<RecordCache>>,
        settings: &LoaderSettings,
        order: EpochOrder,
        first_step: usize,
    ) -> Result<Epoch<TensorAllocator>>;
}

impl<P: SamplePipeline> StartEpoch for P {
    fn modality(&self) -> Modality {
        SamplePipeline::modality(self)
    }

    fn describe(&self) -> String {
        SamplePipeline::describe(self)
    }

    fn describe_preprocessing(&self) -> String {
        SamplePipeline::describe_preprocessing(self)
    }

    fn warm(
        &self,
        samples: &SampleList,
        cache: &RecordCache,
        num_workers: usize,
        done: &AtomicUsize,
        stop: &StopFlag,
    ) -> Result<WarmReport> {
        loader::warm(samples, self, cache, num_workers, done, stop)
    }

    fn start(
        self: Arc<Self>,
        samples: Arc<SampleList>,
        allocator: TensorAllocator,
        cache: Option<Arc<RecordCache>>,
        settings: &LoaderSettings,
        order: EpochOrder,
        first_step: usize,
    ) -> Result<Epoch<TensorAllocator>> {
        Epoch::start(samples, self, allocator, cache, settings, order, first_step)
    }
}
