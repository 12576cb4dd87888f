//! The quantisation tables of a quality, and division by them without dividing.

use super::lanes::Lanes;

/// Rows of eight factors or coefficients.
type Rows<T> = [[T; 8]; 8];

/// Table K.1 of ITU-T T.81, luminance.
const LUMINANCE: Rows<u16> = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
];

/// Table K.2 of ITU-T T.81, chrominance.
const CHROMINANCE: Rows<u16> = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
];

/// The forward transform leaves its coefficients eight times too large.
const TRANSFORM_SCALE: u16 = 8;

/// One component's quantisation: `round(coefficient / factor) * factor` for all 64 coefficients.
#[derive(Debug, Clone, Default)]
pub(super) struct Quantiser {
    factors: Rows<i16>,
    reciprocals: Rows<i16>,
    scales: Rows<i16>,
}

/// Division of a number by a constant, rounded to nearest, halves away from zero.
///
/// ```text
///   number * reciprocal >> 16      by the instruction that keeps the upper half of a product
///          * scale, rounded, >> 15     by the one that rounds; the scale stands for a shift, which vectors do not
///                                  have with another distance for every number
/// ```
///
/// The reciprocal is `2^(16 + shift) / divisor`, rounded up, or one more if that is a whole number. Its excess moves a
/// quotient away from zero, by less than `1 / divisor` for numbers under 2^14: too little to reach the next half, but
/// enough to take a negative half, which the rounding sends up, to the other side.
struct Divisor {
    reciprocal: i16,
    scale: i16,
}

impl Divisor {
    /// `divisor` is from 8 to 2040.
    fn new(divisor: u16) -> Self {
        // The largest shift that leaves the reciprocal positive in 16 bits.
        let shift = divisor.ilog2() - if divisor.is_power_of_two() { 2 } else { 1 };
        let reciprocal = (1u32 << (16 + shift)) / u32::from(divisor) + 1;
        Self { reciprocal: reciprocal as i16, scale: 1 << (15 - shift) }
    }
}

impl Quantiser {
    /// Luminance and chrominance of `quality` from 1 to 100, as the IJG's library scales the standard's tables.
    pub(super) fn of_quality(quality: u8) -> [Self; 2] {
        let quality = u16::from(quality.clamp(1, 100));
        let percent = if quality < 50 { 5000 / quality } else { 200 - quality * 2 };
        [Self::new(&LUMINANCE, percent), Self::new(&CHROMINANCE, percent)]
    }

    fn new(table: &Rows<u16>, percent: u16) -> Self {
        let mut quantiser = Self::default();
        for (row, factors) in table.iter().enumerate() {
            for (column, &factor) in factors.iter().enumerate() {
                let scaled = (u32::from(factor) * u32::from(percent) + 50) / 100;
                // Factors of a baseline JPEG have 8 bits.
                let factor = scaled.clamp(1, 255) as u16;
                let Divisor { reciprocal, scale } = Divisor::new(factor * TRANSFORM_SCALE);
                quantiser.factors[row][column] = factor as i16;
                quantiser.reciprocals[row][column] = reciprocal;
                quantiser.scales[row][column] = scale;
            }
        }
        quantiser
    }

    /// Quantises coefficients of row `row` of all blocks, as the forward transform leaves them, and restores them to
    /// what a decoder gets.
    #[inline(always)]
    pub(super) fn restore_row<L: Lanes>(&self, lanes: L, row: usize, coefficients: L::Vector) -> L::Vector {
        let product = lanes.multiply_high(coefficients, lanes.splat_row(&self.reciprocals[row]));
        let quotient = lanes.multiply_rounded(product, lanes.splat_row(&self.scales[row]));
        lanes.multiply_low(quotient, lanes.splat_row(&self.factors[row]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_is_rounded_to_nearest() {
        for divisor in (1..=255).map(|factor| factor * TRANSFORM_SCALE) {
            let Divisor { reciprocal, scale } = Divisor::new(divisor);
            // 64 samples of -128 sum up to 8192; what rounding adds in both passes of the transform is a few units.
            for number in -9000..=9000i32 {
                let product = (number * i32::from(reciprocal)) >> 16;
                let quotient = (product * i32::from(scale) + (1 << 14)) >> 15;
                let rounded = (number.abs() + i32::from(divisor) / 2) / i32::from(divisor) * number.signum();
                assert_eq!(quotient, rounded, "{number} / {divisor}");
            }
        }
    }

    #[test]
    fn tables_are_scaled_by_the_quality() {
        let [luminance, chrominance] = Quantiser::of_quality(50);
        assert_eq!(luminance.factors[7], LUMINANCE[7].map(|factor| factor as i16));
        assert_eq!(chrominance.factors[3], CHROMINANCE[3].map(|factor| factor as i16));
        assert_eq!(Quantiser::of_quality(100)[0].factors, [[1; 8]; 8]);
        assert_eq!(Quantiser::of_quality(1)[1].factors, [[255; 8]; 8]);
        // (16 * 50 + 50) / 100
        assert_eq!(Quantiser::of_quality(75)[0].factors[0][0], 8);
    }
}
