//! One offset for each channel, as a change of the light's colour.

use super::CHANNELS;

/// Adds `shifts` to the red, green and blue of every pixel; clips at 0 and 255 and truncates.
pub fn color_shift(image: &mut [u8], shifts: [f32; CHANNELS]) {
    map_channels(image, |channel, value| f64::from(f32::from(value) + shifts[channel]));
}

/// Replaces every value by what `function(channel, value)` says, clipped and truncated.
pub(super) fn map_channels(image: &mut [u8], function: impl Fn(usize, u8) -> f64) {
    let table: [[u8; 256]; CHANNELS] = std::array::from_fn(|channel| {
        std::array::from_fn(|value| function(channel, value as u8).clamp(0.0, 255.0) as u8)
    });
    for pixel in image.as_chunks_mut::<CHANNELS>().0 {
        for (value, channel_table) in pixel.iter_mut().zip(&table) {
            *value = channel_table[usize::from(*value)];
        }
    }
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
