//! What is done to every sample besides augmentation, one thread: planes, resizing, PNG decoding, the audio window.
//!
//! `DFRESEARCH_BENCH_PNG` may name a folder of PNG files; a drawn picture is decoded otherwise.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dfresearch_core::RgbImage;
use dfresearch_core::decode::{ImageDecoder, ImageLimits};
use dfresearch_core::loader::write_planes;
use dfresearch_core::preprocess::{
    AudioCrop, AudioWindow, BilinearScratch, PreprocessMode, Region, ResizeScratch, RgbView, centre_crop,
    resize_bilinear, resize_image,
};
use dfresearch_core::rng::RandomKey;

const SIDE: usize = 224;
/// How many of a folder's files are decoded: enough to average over kinds of pictures.
const PNG_FILES: usize = 24;

/// Smooth shapes with a little texture.
fn picture(width: usize, height: usize) -> Vec<u8> {
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let pixel = |(x, y): (usize, usize)| {
        let wave = (x as f32 / 19.0).sin() * 60.0 + (y as f32 / 31.0).cos() * 50.0;
        let texture = ((x * 7 + y * 13) % 11) as f32;
        [128.0 + wave, 120.0 - wave / 2.0, 90.0 + wave / 3.0].map(|value| (value + texture) as u8)
    };
    places.flat_map(pixel).collect()
}

fn planes(criterion: &mut Criterion) {
    let pixels = picture(SIDE, SIDE);
    let mut planes = vec![0; pixels.len()];
    let mut group = criterion.benchmark_group("planes_224");
    group.throughput(Throughput::Bytes(pixels.len() as u64));
    group.bench_function("memcpy", |bencher| bencher.iter(|| planes.copy_from_slice(black_box(&pixels))));
    for (name, flip) in [("straight", false), ("flipped", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| write_planes(black_box(&pixels), SIDE, flip, &mut planes));
        });
    }
}

fn resize(criterion: &mut Criterion) {
    let mut out = vec![0; SIDE * SIDE * 3];
    let mut scratch = BilinearScratch::default();
    let mut both = ResizeScratch::default();
    let mut group = criterion.benchmark_group("resize_to_224");
    for (width, height) in [(1024, 768), (512, 512), (224, 224), (160, 120)] {
        let source = picture(width, height);
        let region = centre_crop((height, width), (SIDE, SIDE));
        group.bench_function(format!("competition/{width}x{height}"), |bencher| {
            bencher.iter(|| {
                resize_bilinear(black_box(&source), width, region, (SIDE, SIDE), &mut scratch, &mut out);
            });
        });
        let whole = Region { top: 0, left: 0, height, width };
        group.bench_function(format!("competition/{width}x{height}_whole"), |bencher| {
            bencher.iter(|| {
                resize_bilinear(black_box(&source), width, whole, (SIDE, SIDE), &mut scratch, &mut out);
            });
        });
        group.bench_function(format!("stretch/{width}x{height}"), |bencher| {
            let view = RgbView { width, height, data: &source };
            bencher.iter(|| {
                resize_image(black_box(view), (SIDE, SIDE), PreprocessMode::Stretch, &mut both, &mut out)
            });
        });
    }
}

/// An RGB picture of 1024 x 768 as PNG.
fn drawn_png() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 1024, 768);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&picture(1024, 768)).unwrap();
    writer.finish().unwrap();
    file
}

fn decode_png(criterion: &mut Criterion) {
    let files: Vec<Vec<u8>> = match std::env::var_os("DFRESEARCH_BENCH_PNG") {
        Some(folder) => {
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let mut paths: Vec<PathBuf> =
                entries.filter(|path| path.extension().is_some_and(|it| it == "png")).collect();
            paths.sort();
            paths.iter().take(PNG_FILES).map(|path| std::fs::read(path).unwrap()).collect()
        }
        None => vec![drawn_png()],
    };
    let (mut decoder, mut image) = (ImageDecoder::new(), RgbImage::default());
    let limits = ImageLimits::default();
    let mut group = criterion.benchmark_group("decode_png");
    group.sample_size(10);
    group.throughput(Throughput::Elements(files.len() as u64));
    group.bench_function("files", |bencher| {
        bencher.iter(|| {
            for file in &files {
                decoder.decode(black_box(file), &limits, &mut image).unwrap();
            }
        });
    });
}

fn audio_window(criterion: &mut Criterion) {
    let recording: Vec<f32> = (0..16_000 * 20).map(|place| (place as f32 / 50.0).sin()).collect();
    let window = AudioWindow::new(16_000, 6.0, AudioCrop::Random).unwrap();
    let mut slot = vec![0.0; 96_000];
    criterion.bench_function("audio_window/6_of_20_seconds", |bencher| {
        bencher.iter(|| window.cut(black_box(&recording), RandomKey::default(), &mut slot));
    });
}

criterion_group!(benches, planes, resize, decode_png, audio_window);
criterion_main!(benches);
