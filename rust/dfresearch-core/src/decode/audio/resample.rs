//! libswresample with its default options: any format, channels and rate to mono `f32`.
//!
//! The ffmpeg command reaches it through a filter that it inserts by itself (`aresample`). That filter sets nothing
//! but formats, layouts and rates, hands frame after frame to `swr_convert`, and takes what is left at the end in
//! pieces of 4096 samples; so does this.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

use ffmpeg_next::Error as FfmpegError;
use ffmpeg_next::ffi;
use ffmpeg_next::frame;

use crate::ffmpeg::initialise;

/// Samples that are asked for at a time once the input has ended.
const FLUSH_SAMPLES: usize = 4096;

/// What is converted from: everything that libswresample needs to know of its input.
#[derive(Clone, Copy)]
pub struct SampleLayout {
    format: ffi::AVSampleFormat,
    channels: ffi::AVChannelLayout,
    rate: c_int,
}

impl SampleLayout {
    /// Interleaved samples with the usual layout of so many channels.
    #[allow(unsafe_code)]
    pub fn interleaved(format: ffi::AVSampleFormat, channels: usize, rate: u32) -> Self {
        let mut layout = MaybeUninit::<ffi::AVChannelLayout>::zeroed();
        // SAFETY: the call fills the layout, which is plain data; all zeros are a valid one as well.
        let channels = unsafe {
            ffi::av_channel_layout_default(layout.as_mut_ptr(), c_int::try_from(channels).unwrap_or(0));
            layout.assume_init()
        };
        Self { format, channels, rate: c_int::try_from(rate).unwrap_or(0) }
    }

    /// That of a decoded frame; a layout that the file does not tell is the usual one of so many channels. None if
    /// there is none for so many, or if the channels are in an order of their own.
    #[allow(unsafe_code)]
    pub fn of_frame(frame: &frame::Audio) -> Option<Self> {
        // SAFETY: the frame is alive; its layout is copied only where it owns no memory (see below).
        let (layout, rate) = unsafe { ((*frame.as_ptr()).ch_layout, (*frame.as_ptr()).sample_rate) };
        let format = ffi::AVSampleFormat::from(frame.format());
        if layout.order == ffi::AVChannelOrder::AV_CHANNEL_ORDER_CUSTOM {
            return None;
        }
        if layout.order != ffi::AVChannelOrder::AV_CHANNEL_ORDER_UNSPEC {
            return Some(Self { format, channels: layout, rate });
        }
        let usual = Self::interleaved(format, usize::try_from(layout.nb_channels).ok()?, 0);
        let is_known = usual.channels.order != ffi::AVChannelOrder::AV_CHANNEL_ORDER_UNSPEC;
        is_known.then_some(Self { rate, ..usual })
    }

    #[allow(unsafe_code)]
    fn is_same(&self, other: &Self) -> bool {
        // SAFETY: both layouts are valid and only read.
        let compared = unsafe { ffi::av_channel_layout_compare(&self.channels, &other.channels) };
        self.format == other.format && self.rate == other.rate && compared == 0
    }
}

/// A resampler to mono `f32`.
pub struct Resampler {
    context: *mut ffi::SwrContext,
    input: SampleLayout,
    output_rate: u32,
}

// SAFETY: a context belongs to one value and has no ties to the thread that made it.
#[allow(unsafe_code)]
unsafe impl Send for Resampler {}

impl Resampler {
    /// A resampler from `input` to mono `f32` at `output_rate`.
    ///
    /// # Errors
    /// FFmpeg's, for a combination that it cannot convert.
    #[allow(unsafe_code)]
    pub fn new(input: SampleLayout, output_rate: u32) -> Result<Self, FfmpegError> {
        // Plain files come here without FFmpeg having opened them: its log must not go to stderr.
        initialise();
        let mut resampler = Self { context: ptr::null_mut(), input, output_rate };
        let mut mono = SampleLayout::interleaved(input.format, 1, 0).channels;
        let rate = c_int::try_from(output_rate).map_err(|_| FfmpegError::InvalidData)?;
        // SAFETY: both layouts are valid, and the call writes a fresh context into the field that owns it.
        let code = unsafe {
            ffi::swr_alloc_set_opts2(
                &mut resampler.context,
                &mut mono,
                ffi::AVSampleFormat::AV_SAMPLE_FMT_FLT,
                rate,
                &mut resampler.input.channels,
                input.format,
                input.rate,
                0,
                ptr::null_mut(),
            )
        };
        check(code)?;
        resampler.restart()?;
        Ok(resampler)
    }

    /// Whether the resampler converts from `input` to `output_rate`.
    pub fn fits(&self, input: &SampleLayout, output_rate: u32) -> bool {
        self.output_rate == output_rate && self.input.is_same(input)
    }

    /// Forgets all samples, and is as if it were new; the filter, which takes long to compute, is kept.
    ///
    /// # Errors
    /// FFmpeg's.
    #[allow(unsafe_code)]
    pub fn restart(&mut self) -> Result<(), FfmpegError> {
        // SAFETY: the context is alive and has all of its options.
        check(unsafe { ffi::swr_init(self.context) }).map(drop)
    }

    /// Converts a frame of the layout that the resampler was made for.
    ///
    /// # Errors
    /// FFmpeg's.
    #[allow(unsafe_code)]
    pub fn convert(&mut self, frame: &frame::Audio, out: &mut Vec<f32>) -> Result<(), FfmpegError> {
        // SAFETY: the frame's planes hold so many samples of its format and channels, which are the context's.
        unsafe {
            let frame = &*frame.as_ptr();
            self.convert_planes(frame.extended_data.cast(), frame.nb_samples, out)
        }
    }

    /// Converts interleaved samples, given as the bytes of a whole number of them.
    ///
    /// # Errors
    /// FFmpeg's.
    #[allow(unsafe_code)]
    pub fn convert_interleaved(&mut self, bytes: &[u8], out: &mut Vec<f32>) -> Result<(), FfmpegError> {
        let channels = usize::try_from(self.input.channels.nb_channels).unwrap_or(0);
        // SAFETY: the format is a valid one.
        let width = usize::try_from(unsafe { ffi::av_get_bytes_per_sample(self.input.format) }).unwrap_or(0);
        let samples = bytes.len().checked_div(channels * width).ok_or(FfmpegError::InvalidData)?;
        let samples = c_int::try_from(samples).map_err(|_| FfmpegError::InvalidData)?;
        let mut plane = bytes.as_ptr();
        // SAFETY: the one plane of an interleaved format holds so many samples of all channels.
        unsafe { self.convert_planes(&mut plane, samples, out) }
    }

    /// Takes what is left after the last frame.
    ///
    /// # Errors
    /// FFmpeg's.
    #[allow(unsafe_code)]
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), FfmpegError> {
        loop {
            let before = out.len();
            // SAFETY: no input means the end of it.
            unsafe { self.write(ptr::null_mut(), 0, FLUSH_SAMPLES, out)? };
            if out.len() == before {
                return Ok(());
            }
        }
    }

    /// # Safety
    /// `planes` are `samples` samples of the context's input format and channels.
    #[allow(unsafe_code)]
    unsafe fn convert_planes(
        &mut self,
        planes: *mut *const u8,
        samples: c_int,
        out: &mut Vec<f32>,
    ) -> Result<(), FfmpegError> {
        // SAFETY: the context is alive; the planes are the caller's promise.
        unsafe {
            let most = check(ffi::swr_get_out_samples(self.context, samples))?;
            self.write(planes, samples, usize::try_from(most).unwrap_or(0), out)
        }
    }

    /// Appends up to `most` samples to `out`.
    ///
    /// # Safety
    /// As [`Self::convert_planes`]; null planes end the input.
    #[allow(unsafe_code)]
    unsafe fn write(
        &mut self,
        planes: *mut *const u8,
        samples: c_int,
        most: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), FfmpegError> {
        out.try_reserve(most).map_err(|_| FfmpegError::Other { errno: ffmpeg_next::error::ENOMEM })?;
        let room = c_int::try_from(most).map_err(|_| FfmpegError::InvalidData)?;
        let mut target: *mut u8 = out.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: there is room for `most` samples behind the target, and libswresample writes as many as it says.
        unsafe {
            let written = check(ffi::swr_convert(self.context, &mut target, room, planes, samples))?;
            out.set_len(out.len() + usize::try_from(written).unwrap_or(0).min(most));
        }
        Ok(())
    }
}

impl Drop for Resampler {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the context is this value's own, or null, which is allowed.
        unsafe { ffi::swr_free(&mut self.context) };
    }
}

fn check(code: c_int) -> Result<c_int, FfmpegError> {
    if code < 0 { Err(FfmpegError::from(code)) } else { Ok(code) }
}
