//! Against libjpeg-turbo, pixel by pixel.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::avx2::Avx2;
use super::avx512::Avx512;
use super::*;
use crate::decode::JpegCodec;

/// What images are made of.
#[derive(Debug, Clone, Copy)]
enum Content {
    Noise,
    /// Noise of nothing but the ends of the range.
    Saturated,
    Smooth,
    /// Shapes with hard edges, gradients, a little grain.
    Photograph,
    /// The signs of a cosine of 8 x 8, as bright as can be: no block has a larger coefficient.
    Basis(usize),
}

const CONTENTS: [Content; 4] = [Content::Noise, Content::Saturated, Content::Smooth, Content::Photograph];

/// An RGB image `[height, width, 3]`.
fn image(content: Content, width: usize, height: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut pixels = Vec::with_capacity(width * height * 3);
    for at in 0..width * height * 3 {
        let (x, y, channel) = (at / 3 % width, at / 3 / width, at % 3);
        let (column, row, shift) = (x as f64, y as f64, seed as f64 % 64.0 + channel as f64);
        let waves = ((column + shift) / 17.0).sin() * 60.0 + ((row - shift) / 23.0).cos() * 60.0 + 128.0;
        pixels.push(match content {
            Content::Noise => random(),
            Content::Saturated => random() / 128 * 255,
            Content::Smooth => waves as u8,
            Content::Photograph => {
                let shade = if (x * 3 + y * 5) / 40 % 3 == channel { 70.0 } else { -40.0 };
                (waves + shade + f64::from(random() / 16)).clamp(0.0, 255.0) as u8
            }
            Content::Basis(place) => {
                let cosine = |position: usize, frequency: usize| {
                    ((2 * (position % 8) + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.0).cos()
                };
                let is_bright = cosine(x, place % 8) * cosine(y, place / 8) > 0.0;
                if is_bright == seed.is_multiple_of(2) { 255 } else { 0 }
            }
        });
    }
    pixels
}

/// Runs everything on both kinds of vectors, as far as this processor has them, with one set of buffers for all.
#[derive(Default)]
struct Comparison {
    oracle: JpegCodec,
    avx2: JpegRoundTrip,
    avx512: JpegRoundTrip,
}

impl Comparison {
    /// Every pixel of the region is as after libjpeg-turbo, every other one as before.
    fn check(&mut self, pixels: &[u8], width: usize, quality: u8, region: Region) {
        let height = pixels.len() / 3 / width;
        let mut expected = pixels.to_vec();
        self.oracle.round_trip_rgb_by_libjpeg(&mut expected, width, height, quality).unwrap();
        for (at, value) in expected.iter_mut().enumerate() {
            let (x, y) = (at / 3 % width, at / 3 / width);
            let columns = region.left..region.left + region.width;
            let rows = region.top..region.top + region.height;
            if !columns.contains(&x) || !rows.contains(&y) {
                *value = pixels[at];
            }
        }
        let mut results = Vec::new();
        if let Some(lanes) = Avx2::detect() {
            let mut result = pixels.to_vec();
            self.avx2.run_with(lanes, &mut result, width, height, quality, region).unwrap();
            results.push(("AVX2", result));
        }
        if let Some(lanes) = Avx512::detect() {
            let mut result = pixels.to_vec();
            self.avx512.run_with(lanes, &mut result, width, height, quality, region).unwrap();
            results.push(("AVX-512", result));
        }
        for (vectors, result) in results {
            let differing = result.iter().zip(&expected).position(|(ours, theirs)| ours != theirs);
            assert_eq!(
                differing.map(|at| (at / 3 % width, at / 3 / width)),
                None,
                "{vectors}, {width}x{height} at quality {quality}, {region:?}"
            );
        }
    }

    fn check_whole(&mut self, content: Content, width: usize, height: usize, quality: u8, seed: u64) {
        let region = Region { top: 0, left: 0, height, width };
        self.check(&image(content, width, height, seed), width, quality, region);
    }
}

#[test]
fn every_quality_equals_libjpeg_turbo() {
    let mut comparison = Comparison::default();
    for quality in 1..=100 {
        for content in CONTENTS {
            comparison.check_whole(content, 93, 51, quality, quality.into());
        }
    }
}

#[test]
fn every_size_equals_libjpeg_turbo() {
    let mut comparison = Comparison::default();
    // A step of the widest vectors is 64 pixels, a strip 16 rows.
    for width in MIN_WIDTH..=133 {
        for height in [1, 2, 3, 8, 9, 15, 16, 17, 18, 32, 33] {
            comparison.check_whole(Content::Noise, width, height, 90, (width * height) as u64);
        }
    }
    for height in 1..=66 {
        for width in [5, 6, 7, 8, 16, 31, 32, 33, 64, 65] {
            comparison.check_whole(Content::Noise, width, height, 90, (width * height) as u64);
        }
    }
}

#[test]
fn the_largest_coefficients_there_are_equal_libjpeg_turbo() {
    let mut comparison = Comparison::default();
    for place in 0..64 {
        for (seed, quality) in [(0, 1), (1, 1), (0, 30), (1, 75), (0, 100), (1, 100)] {
            comparison.check_whole(Content::Basis(place), 37, 19, quality, seed);
        }
    }
}

#[test]
fn training_size_equals_libjpeg_turbo() {
    let mut comparison = Comparison::default();
    for (quality, content) in [15, 40, 57, 75, 95].into_iter().zip(CONTENTS.into_iter().cycle()) {
        comparison.check_whole(content, 224, 224, quality, 7);
    }
}

#[test]
fn narrow_images_are_left_to_libjpeg_turbo() {
    let mut round_trip = JpegRoundTrip::default();
    for width in 1..MIN_WIDTH {
        let mut pixels = image(Content::Noise, width, 9, 3);
        let region = Region { top: 0, left: 0, height: 9, width };
        assert!(!round_trip.run(&mut pixels, width, 9, 10, region).unwrap());
        assert_eq!(pixels, image(Content::Noise, width, 9, 3));
    }
}

#[test]
fn a_region_is_cut_off_at_the_borders_of_the_image() {
    let mut round_trip = JpegRoundTrip::default();
    for (top, left) in [(0, 0), (10, 33), (20, 0), (0, 40), (90, 90)] {
        let mut pixels = image(Content::Noise, 40, 20, 3);
        let mut expected = pixels.clone();
        let cut =
            Region { top, left, height: 20usize.saturating_sub(top), width: 40usize.saturating_sub(left) };
        round_trip
            .run(&mut pixels, 40, 20, 50, Region { height: usize::MAX, width: usize::MAX, ..cut })
            .unwrap();
        round_trip.run(&mut expected, 40, 20, 50, cut).unwrap();
        assert_eq!(pixels, expected, "{cut:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_region_of_any_image_equals_libjpeg_turbo(
        (width, left, region_width) in (MIN_WIDTH..200).prop_flat_map(part),
        (height, top, region_height) in (1usize..150).prop_flat_map(part),
        quality in 1u8..=100,
        content in prop::sample::select(CONTENTS.to_vec()),
        seed: u64,
    ) {
        let region = Region { top, left, height: region_height, width: region_width };
        Comparison::default().check(&image(content, width, height, seed), width, quality, region);
    }
}

/// A side, and a part of it: where it begins and how long it is.
fn part(side: usize) -> impl Strategy<Value = (usize, usize, usize)> {
    (0..side).prop_flat_map(move |start| (Just(side), Just(start), 1..=side - start))
}
