//! Every augmentation on one 224 x 224 image, and the re-save of JPEGs, one thread.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dfresearch_core::augment::{
    AugmentScratch, AugmentTable, Operation, apply_plan, color_contrast, color_shift, gaussian_blur,
    gaussian_noise, horizontal_flip, jpeg_compress, plan,
};
use dfresearch_core::decode::{ImageLimits, JpegCodec, RgbImage};
use dfresearch_core::preprocess::centre_crop;
use dfresearch_core::rng::{CounterRng, RandomKey};

const SIDE: usize = 224;

/// Smooth shapes with a little texture: what a JPEG encoder expects to see.
fn picture(width: usize, height: usize) -> Vec<u8> {
    let mut image = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let wave = (x as f32 / 19.0).sin() * 60.0 + (y as f32 / 31.0).cos() * 50.0;
            let texture = ((x * 7 + y * 13) % 11) as f32;
            image.extend(
                [128.0 + wave, 120.0 - wave / 2.0, 90.0 + wave / 3.0].map(|value| (value + texture) as u8),
            );
        }
    }
    image
}

fn augment(criterion: &mut Criterion) {
    let image = picture(SIDE, SIDE);
    let AugmentScratch { mut jpeg, mut blur } = AugmentScratch::default();
    let mut group = criterion.benchmark_group("augment_224");
    let mut measure = |name: &str, operation: &mut dyn FnMut(&mut [u8])| {
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || image.clone(),
                |image| operation(black_box(image)),
                BatchSize::LargeInput,
            );
        });
    };
    for quality in [15, 57, 95] {
        measure(&format!("jpeg_compress/quality_{quality}"), &mut |image| {
            jpeg_compress(image, SIDE, SIDE, quality, &mut jpeg).unwrap();
        });
        measure(&format!("jpeg_compress/libjpeg_turbo/quality_{quality}"), &mut |image| {
            jpeg.round_trip_rgb_by_libjpeg(image, SIDE, SIDE, quality).unwrap();
        });
    }
    for sigma in [0.5, 1.0, 3.0] {
        measure(&format!("gaussian_blur/sigma_{sigma}"), &mut |image| {
            gaussian_blur(image, SIDE, SIDE, sigma, &mut blur).unwrap();
        });
    }
    let mut rng = CounterRng::new(RandomKey::default(), 0);
    measure("gaussian_noise", &mut |image| gaussian_noise(image, 6.0, &mut rng).unwrap());
    measure("color_shift", &mut |image| color_shift(image, [9.5, -3.0, 0.5]));
    measure("color_contrast", &mut |image| color_contrast(image, 1.3).unwrap());
    measure("horizontal_flip", &mut |image| horizontal_flip(image, SIDE, SIDE).unwrap());

    let level_2 = [
        ("jpeg_compress", 40.0, 75.0),
        ("gaussian_blur", 0.5, 1.5),
        ("gaussian_noise", 3.0, 10.0),
        ("color_shift", 5.0, 15.0),
    ];
    let operations = level_2.map(|(name, low, high)| Operation::built_in(name, low, high).unwrap());
    let table = AugmentTable::new([(2, operations.to_vec())].into()).unwrap();
    let mut scratch = AugmentScratch::default();
    let mut sample = 0;
    measure("level_2", &mut |image| {
        sample += 1;
        let plan = plan(&table, 2, RandomKey { sample, ..RandomKey::default() }).unwrap();
        apply_plan(&plan, 0, image, SIDE, SIDE, &mut scratch).unwrap();
    });
}

/// The competition's re-save of a JPEG of 1024 x 768: all of it, and the centre crop that a square input looks at.
fn recompress(criterion: &mut Criterion) {
    let (width, height) = (1024, 768);
    let mut jpeg = JpegCodec::new();
    let file = jpeg.encode_rgb(&picture(width, height), width, height, 92).unwrap().to_vec();
    let limits = ImageLimits::default();
    let mut out = RgbImage::default();
    let mut group = criterion.benchmark_group("recompress_1024x768");
    group.bench_function("decode_only", |bencher| {
        bencher.iter(|| jpeg.decode_rgb(black_box(&file), &limits, &mut out).unwrap());
    });
    group.bench_function("whole", |bencher| {
        bencher.iter(|| jpeg.recompress_decode_rgb(black_box(&file), &limits, &mut out).unwrap());
    });
    group.bench_function("centre_crop", |bencher| {
        let crop = |size| centre_crop(size, (SIDE, SIDE));
        bencher.iter(|| jpeg.recompress_decode_region(black_box(&file), &limits, crop, &mut out).unwrap());
    });
    group.bench_function("libjpeg_turbo", |bencher| {
        bencher.iter(|| jpeg.recompress_decode_rgb_by_libjpeg(black_box(&file), &limits, &mut out).unwrap());
    });
}

criterion_group!(benches, augment, recompress);
criterion_main!(benches);
