//! What a `Loader` does to one sample, chosen by modality from the constructor's keywords.

use std::sync::Arc;

use dfresearch_core::decode::video::FrameSampling;
use dfresearch_core::loader::{
    AudioPipeline, Epoch, EpochOrder, ImagePipeline, LoaderSettings, SamplePipeline, VideoPipeline,
};
use dfresearch_core::preprocess::{AudioWindow, ImagePreprocess, VideoPreprocess};
use dfresearch_core::samples::SampleList;
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

    fn of(steps: impl SamplePipeline, sample_shape: Vec<usize>, element: Kind) -> Self {
        Self { steps: Arc::new(steps), sample_shape, element }
    }

    /// In words, what happens to every sample.
    pub fn describe(&self) -> String {
        self.steps.describe()
    }

    /// Starts an epoch whose batches are tensors.
    pub fn start(
        &self,
        samples: Arc<SampleList>,
        settings: &LoaderSettings,
        order: EpochOrder,
        epoch: u64,
        first_step: usize,
    ) -> Result<Epoch<TensorAllocator>> {
        let allocator = TensorAllocator::new(&self.sample_shape, self.element);
        self.steps.clone().start(samples, allocator, settings, order, epoch, first_step)
    }
}

/// What a loader needs of a pipeline once it is made, whatever its modality.
trait StartEpoch: Send + Sync {
    fn describe(&self) -> String;
    fn start(
        self: Arc<Self>,
        samples: Arc<SampleList>,
        allocator: TensorAllocator,
        settings: &LoaderSettings,
        order: EpochOrder,
        epoch: u64,
        first_step: usize,
    ) -> Result<Epoch<TensorAllocator>>;
}

impl<P: SamplePipeline> StartEpoch for P {
    fn describe(&self) -> String {
        SamplePipeline::describe(self)
    }

    fn start(
        self: Arc<Self>,
        samples: Arc<SampleList>,
        allocator: TensorAllocator,
        settings: &LoaderSettings,
        order: EpochOrder,
        epoch: u64,
        first_step: usize,
    ) -> Result<Epoch<TensorAllocator>> {
        Epoch::start(samples, self, allocator, settings, order, epoch, first_step)
    }
}
