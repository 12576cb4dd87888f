//! Encoded media to pixels and samples, exactly as the competition's own decoders see them.

/// A decoded image: 8-bit RGB, rows from top to bottom, channels interleaved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RgbImage {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height * width * 3` bytes, `[H, W, 3]`.
    pub data: Vec<u8>,
}
