//! Every crossing between Rust memory, libtorch and NumPy; the only file of the binding with unsafe code.

use std::sync::Arc;

use dfresearch_core::loader::BatchAllocator;
use dfresearch_core::preprocess::RgbView;
use dfresearch_core::{DecodeError, Error, Result, RgbImage};
use numpy::{
    PyArray1, PyArray3, PyArray4, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray3, PyReadonlyArray4,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use tch::{Cuda, Device, Kind, Tensor};

use crate::errors::{argument_error, to_exception};

/// A `torch.Tensor` that owns the same storage as `tensor`.
pub fn wrap_tensor<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    let pointer = tensor.pyobject_wrap().map_err(|error| to_exception(py, torch_error(&error)))?;
    // SAFETY: libtorch hands out a new reference to a live Python object, and the interpreter is attached.
    unsafe { Bound::from_owned_ptr_or_err(py, pointer.cast()) }
}

/// An array `[H, W, 3]` that takes over the image's memory.
pub fn image_to_array(py: Python<'_>, image: RgbImage) -> PyResult<Bound<'_, PyArray3<u8>>> {
    let RgbImage { width, height, data } = image;
    PyArray1::from_vec(py, data).reshape([height, width, 3])
}

/// The frames of a clip, one after the other: `[T, H, W, 3]`.
pub struct FrameStack {
    num_frames: usize,
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl FrameStack {
    /// Room for frames whose size the first one tells.
    pub fn new(num_frames: usize) -> Self {
        Self { num_frames, width: 0, height: 0, data: Vec::new() }
    }

    /// A copy of an array `[T, H, W, 3]` of bytes, which need not be contiguous.
    pub fn from_array(frames: &Bound<'_, PyAny>) -> PyResult<Self> {
        let refused = || {
            let reason = "must be a uint8 NumPy array of shape [frames, height, width, 3]";
            argument_error(frames.py(), "frames", reason)
        };
        let array: PyReadonlyArray4<'_, u8> = frames.extract().map_err(|_| refused())?;
        let &[num_frames, height, width, channels] = array.shape() else { return Err(refused()) };
        if channels != 3 || array.is_empty() {
            return Err(refused());
        }
        let data =
            array.to_vec().or_else(|_| array.as_array().iter().copied().map(Ok).collect::<PyResult<_>>())?;
        Ok(Self { num_frames, width, height, data })
    }

    /// How many frames there are in the end.
    pub fn num_frames(&self) -> usize {
        self.num_frames
    }

    /// The frames, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = RgbView<'_>> {
        let frames = self.data.chunks_exact(self.width * self.height * 3);
        frames.map(|data| RgbView { width: self.width, height: self.height, data })
    }

    /// Adds a frame, `height * width * 3` bytes; all have the size of the first one.
    pub fn push(&mut self, width: usize, height: usize, data: &[u8]) -> Result<()> {
        if self.data.is_empty() {
            (self.width, self.height) = (width, height);
            let bytes = data.len().saturating_mul(self.num_frames);
            // There is no file to name: it is the caller's number of frames that does not fit.
            self.data.try_reserve_exact(bytes).map_err(|_| {
                let reason = DecodeError::OutOfMemory { bytes }.to_string();
                Error::argument("num_frames", reason)
            })?;
        }
        self.data.extend_from_slice(data);
        Ok(())
    }

    /// Fills the frames that the clip does not have with its last one.
    pub fn repeat_last(&mut self) {
        let frame = self.width * self.height * 3;
        while frame > 0 && self.data.len() < frame * self.num_frames {
            self.data.extend_from_within(self.data.len() - frame..);
        }
    }

    /// An array `[T, H, W, 3]` that takes over the memory.
    pub fn into_array(self, py: Python<'_>) -> PyResult<Bound<'_, PyArray4<u8>>> {
        PyArray1::from_vec(py, self.data).reshape([self.num_frames, self.height, self.width, 3])
    }
}

/// A copy of an array `[H, W, 3]` of bytes, which need not be contiguous.
pub fn image_from_array(image: &Bound<'_, PyAny>) -> PyResult<RgbImage> {
    let refused = || {
        let reason = "must be a uint8 NumPy array of shape [height, width, 3]";
        argument_error(image.py(), "image", reason)
    };
    let array: PyReadonlyArray3<'_, u8> = image.extract().map_err(|_| refused())?;
    let [height, width, channels] = [array.shape()[0], array.shape()[1], array.shape()[2]];
    if channels != 3 || height == 0 || width == 0 {
        return Err(refused());
    }
    let data =
        array.to_vec().or_else(|_| array.as_array().iter().copied().map(Ok).collect::<PyResult<_>>())?;
    Ok(RgbImage { width, height, data })
}

/// A copy of an array `[n]` of finite floats, which need not be contiguous.
pub fn waveform_from_array(waveform: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let refused = |reason| argument_error(waveform.py(), "waveform", reason);
    let array: PyReadonlyArray1<'_, f32> =
        waveform.extract().map_err(|_| refused("must be a float32 NumPy array of shape [n]"))?;
    let samples =
        array.to_vec().or_else(|_| array.as_array().iter().copied().map(Ok).collect::<PyResult<Vec<_>>>())?;
    if samples.is_empty() {
        return Err(refused("has no samples"));
    }
    if !samples.iter().all(|sample| sample.is_finite()) {
        return Err(refused("has samples that are not finite"));
    }
    Ok(samples)
}

/// Whether a Python object is a `torch.Tensor`.
pub fn is_tensor(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    object.is_instance(&object.py().import("torch")?.getattr("Tensor")?)
}

/// The memory of a contiguous CPU `torch.Tensor`, borrowed for as long as the tensor is.
pub fn contiguous_bytes<'a>(tensor: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    let is_on_cpu: bool = tensor.getattr("is_cpu")?.extract()?;
    if !is_on_cpu || !tensor.call_method0("is_contiguous")?.extract::<bool>()? {
        return Err(argument_error(tensor.py(), "tensor", "must be contiguous and on the CPU"));
    }
    let length: usize = tensor.getattr("nbytes")?.extract()?;
    if length == 0 {
        return Ok(&[]);
    }
    let address: usize = tensor.call_method0("data_ptr")?.extract()?;
    // SAFETY: a contiguous CPU tensor has `nbytes` initialised bytes at `data_ptr`, and they live as long
    // as the reference to it. As everywhere in torch, a tensor must not be resized or written meanwhile.
    Ok(unsafe { std::slice::from_raw_parts(address as *const u8, length) })
}

fn torch_error(error: &tch::TchError) -> Error {
    Error::Loader { reason: format!("libtorch: {error}") }
}

/// Allocates batches in libtorch's own memory, pinned when there is a GPU to copy them to.
pub struct TensorAllocator {
    /// The shape of one sample.
    sample_shape: Vec<i64>,
    element: Kind,
    pin: bool,
}

impl TensorAllocator {
    /// Batches of samples of the given shape and element type.
    pub fn new(sample_shape: &[usize], element: Kind) -> Self {
        let sample_shape = sample_shape.iter().map(|&side| side as i64).collect();
        Self { sample_shape, element, pin: Cuda::is_available() }
    }
}

/// A batch tensor that workers may still be writing to.
pub struct TensorBatch {
    tensor: Tensor,
    /// Shared with every slot: the only owner left means that all of them are gone.
    writers: Arc<()>,
}

impl TensorBatch {
    /// The finished tensor.
    ///
    /// # Errors
    /// [`Error::Loader`] when a slot is still alive, which would be a defect of the loader.
    pub fn into_tensor(self) -> Result<Tensor> {
        let outstanding = |_| Error::Loader { reason: "a batch is still being written".into() };
        Arc::try_unwrap(self.writers).map_err(outstanding)?;
        Ok(self.tensor)
    }
}

/// One sample's bytes in a batch tensor.
pub struct TensorSlot {
    start: *mut u8,
    bytes: usize,
    /// Keeps the storage alive for as long as the slot may be written to.
    _storage: Tensor,
    _writer: Arc<()>,
}

// SAFETY: a slot is the only way to its bytes while it lives (`allocate` hands out disjoint ranges, and
// `TensorBatch::into_tensor` refuses while a slot is left), and libtorch's reference counts are atomic.
unsafe impl Send for TensorSlot {}

impl AsMut<[u8]> for TensorSlot {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: `start..start + bytes` lies inside of the storage that `_storage` keeps alive, and no other slot
        // covers it. What is in there before the pipeline writes is whatever libtorch's allocator left: bytes, of
        // which every value is valid, from memory that the compiler knows nothing of. A slot that fails is dropped.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl BatchAllocator for TensorAllocator {
    type Batch = TensorBatch;
    type Slot = TensorSlot;

    fn allocate(&self, slots: usize, slot_bytes: usize) -> Result<(TensorBatch, Vec<TensorSlot>)> {
        let shape: Vec<i64> = [slots as i64].into_iter().chain(self.sample_shape.iter().copied()).collect();
        // Not zeros: filling would start libtorch's own threads in every worker, for bytes that are written anyhow.
        let mut tensor =
            Tensor::f_empty(&shape, (self.element, Device::Cpu)).map_err(|error| torch_error(&error))?;
        if self.pin {
            tensor = tensor.f_pin_memory(Device::Cuda(0)).map_err(|error| torch_error(&error))?;
        }
        let batch_bytes = tensor.numel() * self.element.elt_size_in_bytes();
        if batch_bytes != slots * slot_bytes {
            let reason = format!("a batch of {batch_bytes} bytes for {slots} samples of {slot_bytes}");
            return Err(Error::Loader { reason });
        }
        let start: *mut u8 = tensor.data_ptr().cast();
        let writers = Arc::new(());
        let slot = |number: usize| TensorSlot {
            // SAFETY: the tensor is contiguous and holds `slots * slot_bytes` bytes, checked above.
            start: unsafe { start.add(number * slot_bytes) },
            bytes: slot_bytes,
            _storage: tensor.shallow_clone(),
            _writer: Arc::clone(&writers),
        };
        let slots = (0..slots).map(slot).collect();
        Ok((TensorBatch { tensor, writers }, slots))
    }

    fn keep(&self, batch: TensorBatch, kept: &[usize]) -> Result<TensorBatch> {
        let kept: Vec<i64> = kept.iter().map(|&position| position as i64).collect();
        let tensor = batch.into_tensor()?;
        let shorter = tensor.f_index_select(0, &Tensor::from_slice(&kept));
        let mut shorter = shorter.map_err(|error| torch_error(&error))?;
        if self.pin {
            shorter = shorter.f_pin_memory(Device::Cuda(0)).map_err(|error| torch_error(&error))?;
        }
        Ok(TensorBatch { tensor: shorter, writers: Arc::new(()) })
    }
}
