//! In steady state no sample allocates: buffers come with the first samples, and stay.
//!
//! What C libraries allocate for themselves (libjpeg-turbo, FFmpeg) is not seen here.
#![allow(missing_docs, clippy::unwrap_used, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use dfresearch_core::augment::{AugmentTable, Operation, horizontal_flip, plan, plan_with_limit};
use dfresearch_core::decode::JpegCodec;
use dfresearch_core::loader::{ImagePipeline, Medium, SamplePipeline};
use dfresearch_core::preprocess::{
    AudioCrop, AudioWindow, ImagePreprocess, PreprocessMode, ResizeScratch, RgbView, resize_image,
};
use dfresearch_core::rng::RandomKey;

/// Counts what this thread allocates; the test harness has threads of its own.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count_one() {
    // A thread that is ending has no counter any more, and is not measured.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator; counting touches a `Cell` that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count_one();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIDE: usize = 224;
/// Landscape, portrait, the target's own size, smaller than it: (width, height).
const SIZES: [(usize, usize); 4] = [(640, 480), (300, 500), (SIDE, SIDE), (130, 97)];
/// Samples of an epoch; each draws other operations.
const SAMPLES: u64 = 200;

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn picture(width: usize, height: usize) -> Vec<u8> {
    (0..width * height * 3)
        .map(|place| (place / 3 % width + place / (3 * width) + place * place % 23) as u8)
        .collect()
}

fn jpeg_files() -> Vec<Vec<u8>> {
    let mut codec = JpegCodec::new();
    let file =
        |(width, height)| codec.encode_rgb(&picture(width, height), width, height, 90).unwrap().to_vec();
    SIZES.map(file).to_vec()
}

fn png_files() -> Vec<Vec<u8>> {
    let file = |(width, height): (usize, usize)| {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&picture(width, height)).unwrap();
        writer.finish().unwrap();
        file
    };
    SIZES.map(file).to_vec()
}

/// Every operation that there is for images.
fn table() -> AugmentTable {
    let operations = [
        ("jpeg_compress", 15.0, 95.0),
        ("gaussian_blur", 0.3, 3.0),
        ("gaussian_noise", 3.0, 25.0),
        ("color_shift", 5.0, 30.0),
        ("color_contrast", 0.5, 1.5),
    ];
    let operations = operations.map(|(name, low, high)| Operation::built_in(name, low, high).unwrap());
    AugmentTable::new([(1, operations.to_vec())].into()).unwrap()
}

/// What a worker does with one sample after the other: decode, preprocess, augment, planes.
struct Worker {
    pipeline: ImagePipeline,
    scratch: <ImagePipeline as SamplePipeline>::Scratch,
    record: Vec<u8>,
    slot: Vec<u8>,
}

impl Worker {
    fn new() -> Self {
        let preprocess = ImagePreprocess::new((SIDE, SIDE), PreprocessMode::Competition, true).unwrap();
        let pipeline = ImagePipeline::new(preprocess, Some((table(), 1))).unwrap();
        Self {
            scratch: pipeline.scratch(),
            record: Vec::new(),
            slot: vec![0; pipeline.slot_bytes()],
            pipeline,
        }
    }

    fn epoch(&mut self, files: &[Vec<u8>], epoch: u64) {
        let Self { pipeline, scratch, record, slot } = self;
        let path = Path::new("picture");
        for sample in 0..SAMPLES {
            let bytes = Some(files[sample as usize % files.len()].as_slice());
            pipeline.preprocess(Medium { path, bytes }, scratch, record).unwrap();
            pipeline.finish(path, record, RandomKey { seed: 7, epoch, sample }, scratch, slot).unwrap();
        }
    }
}

#[test]
fn jpeg_files_saved_again_and_augmented_allocate_nothing() {
    let files = jpeg_files();
    let mut worker = Worker::new();
    assert_ne!(allocations(|| worker.epoch(&files, 0)), 0, "the counter does not count");
    assert_eq!(allocations(|| worker.epoch(&files, 1)), 0);
}

/// What the inflater allocates for each file, which cannot be used again: its tables for lengths and distances, and up to
/// two for long codes.
const ALLOCATIONS_A_PNG: usize = 4;

#[test]
fn png_files_allocate_the_tables_of_the_inflater() {
    let files = png_files();
    let mut worker = Worker::new();
    worker.epoch(&files, 0);
    let count = allocations(|| worker.epoch(&files, 1));
    assert!(count <= SAMPLES as usize * ALLOCATIONS_A_PNG, "{count} for {SAMPLES} files");
}

/// What the antialiasing resizer allocates for each image, whatever its size: the weights of every row and column.
const ALLOCATIONS_A_STRETCH: usize = 2 * (SIDE + SIDE);

#[test]
fn frames_allocate_nothing_or_the_weights_of_a_stretch() {
    let pictures = SIZES.map(|(width, height)| (width, height, picture(width, height)));
    for (mode, allowed) in
        [(PreprocessMode::Competition, 0), (PreprocessMode::Stretch, ALLOCATIONS_A_STRETCH * SIZES.len())]
    {
        let (mut scratch, mut out) = (ResizeScratch::default(), vec![0; SIDE * SIDE * 3]);
        let mut resize_all = || {
            for (width, height, data) in &pictures {
                let view = RgbView { width: *width, height: *height, data };
                resize_image(view, (SIDE, SIDE), mode, &mut scratch, &mut out).unwrap();
            }
        };
        resize_all();
        let count = allocations(resize_all);
        assert!(count <= allowed, "{mode:?}: {count}");
    }
}

#[test]
fn plans_flips_and_windows_allocate_nothing() {
    let table = table();
    let recording = vec![0.5; 20_000];
    let window = AudioWindow::new(16_000, 1.0, AudioCrop::Random).unwrap();
    let (mut slot, mut image) = (vec![0.0; window.samples()], picture(SIDE, SIDE));
    let count = allocations(|| {
        for sample in 0..SAMPLES {
            let key = RandomKey { seed: 7, epoch: 0, sample };
            assert!(!plan(&table, 1, key).unwrap().operations.is_empty());
            assert!(plan_with_limit(&table, 1, 1, key).unwrap().operations.len() == 1);
            horizontal_flip(&mut image, SIDE, SIDE).unwrap();
            window.cut(&recording, key, &mut slot);
        }
    });
    assert_eq!(count, 0);
}
