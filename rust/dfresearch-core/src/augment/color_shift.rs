//! One offset for each channel, as a change of the light's colour.

use super::CHANNELS;
use super::channel_tables::{Affine, map_channels};

/// Adds `shifts` to the red, green and blue of every pixel; clips at 0 and 255 and truncates.
pub fn color_shift(image: &mut [u8], shifts: [f32; CHANNELS]) {
    map_channels(image, Affine { factor: 1.0, offsets: shifts }, |channel, value| {
        f64::from(f32::from(value) + shifts[channel])
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_clip_and_truncate() {
        let mut image = [10, 10, 10, 250, 0, 255];
        color_shift(&mut image, [10.9, -20.0, 0.0]);
        assert_eq!(image, [20, 0, 10, 255, 0, 255]);
        color_shift(&mut image, [-0.5, 0.5, -0.5]);
        assert_eq!(image, [19, 0, 9, 254, 0, 254]);
    }
}
