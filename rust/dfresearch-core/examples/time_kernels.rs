//! Times one kernel after the other on given pixels, without Python in between: the other half of
//! `benches/bench_kernels.py`.
//!
//! Usage: `time_kernels FOLDER < requests`. A request is a line of words: what to do, the name of a file in the folder
//! to do it with, and parameters. The answer is a line: the median of the repetitions in nanoseconds. What comes out is
//! in the folder's file `out`.
//!
//! | Request | File |
//! |---|---|
//! | `planes FILE WIDTH FLIP` · `flip FILE WIDTH` | raw RGB |
//! | `jpeg FILE WIDTH QUALITY` · `blur FILE WIDTH SIGMA` · `noise FILE WIDTH SIGMA` | raw RGB |
//! | `shift FILE WIDTH RED GREEN BLUE` · `contrast FILE WIDTH FACTOR` | raw RGB |
//! | `resize FILE WIDTH SIDE` | raw RGB |
//! | `decode FILE` | an image file |
#![allow(clippy::print_stdout, reason = "its answers")]

use std::error::Error;
use std::hint::black_box;
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};

use dfresearch_core::RgbImage;
use dfresearch_core::augment::{
    AugmentScratch, color_contrast, color_shift, gaussian_blur, gaussian_noise, horizontal_flip,
    jpeg_compress,
};
use dfresearch_core::decode::{ImageDecoder, ImageLimits};
use dfresearch_core::loader::write_planes;
use dfresearch_core::preprocess::{BilinearScratch, centre_crop, resize_bilinear};
use dfresearch_core::rng::{CounterRng, RandomKey};

/// How long one request measures, and how often at least.
const DURATION: Duration = Duration::from_millis(200);
const FEWEST_REPETITIONS: usize = 11;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let folder = std::env::args_os().nth(1).ok_or("the folder of the files is missing")?;
    for request in std::io::stdin().lock().lines() {
        let request = request?;
        let words: Vec<&str> = request.split_whitespace().collect();
        let (nanoseconds, out) =
            answer(Path::new(&folder), &words).map_err(|error| format!("{request}: {error}"))?;
        std::fs::write(Path::new(&folder).join("out"), out)?;
        println!("{nanoseconds}");
    }
    Ok(())
}

fn answer(folder: &Path, words: &[&str]) -> Outcome<(u128, Vec<u8>)> {
    let &[operation, file, ref parameters @ ..] = words else {
        return Err("an operation and a file are expected".into());
    };
    let pixels = std::fs::read(folder.join(file))?;
    if operation == "decode" {
        let mut decoder = ImageDecoder::new();
        let mut decode =
            |image: &mut RgbImage| Ok(decoder.decode(black_box(&pixels), &ImageLimits::default(), image)?);
        // The image's memory is kept, as the loader keeps it.
        let mut kept = RgbImage::default();
        let (median, ()) = median(|| (), |_| decode(&mut kept))?;
        return Ok((median, kept.data));
    }
    let numbers = parameters.iter().map(|word| word.parse()).collect::<Result<Vec<f64>, _>>()?;
    let &[width, ref numbers @ ..] = numbers.as_slice() else {
        return Err("a width is expected".into());
    };
    let (width, height) = (width as usize, pixels.len() / 3 / width as usize);
    let mut out = pixels.clone();
    let AugmentScratch { mut jpeg, mut blur } = AugmentScratch::default();
    let mut rng = CounterRng::new(RandomKey::default(), 0);
    let median = match (operation, numbers) {
        ("planes", &[flip]) => {
            let write = |_: &mut ()| {
                write_planes(black_box(&pixels), width, flip != 0.0, &mut out);
                Ok(())
            };
            median(|| (), write)?.0
        }
        ("resize", &[side]) => {
            let (side, mut scratch) = (side as usize, BilinearScratch::default());
            let crop = centre_crop((height, width), (side, side));
            out.resize(side * side * 3, 0);
            let resize = |_: &mut ()| {
                resize_bilinear(black_box(&pixels), width, crop, (side, side), &mut scratch, &mut out);
                Ok(())
            };
            median(|| (), resize)?.0
        }
        _ => {
            let change = |image: &mut Vec<u8>| {
                match (operation, numbers) {
                    ("flip", []) => horizontal_flip(image, width, height)?,
                    ("jpeg", &[quality]) => jpeg_compress(image, width, height, quality as u8, &mut jpeg)?,
                    ("blur", &[sigma]) => gaussian_blur(image, width, height, sigma, &mut blur)?,
                    ("noise", &[sigma]) => gaussian_noise(image, sigma, &mut rng)?,
                    ("shift", &[red, green, blue]) => {
                        color_shift(image, [red as f32, green as f32, blue as f32]);
                    }
                    ("contrast", &[factor]) => color_contrast(image, factor)?,
                    _ => return Err("no such operation, or not these parameters".into()),
                }
                Ok(())
            };
            let (median, changed) = median(|| pixels.clone(), change)?;
            out = changed;
            median
        }
    };
    Ok((median, out))
}

/// The median time of `work`, without that of `prepare`; and what the last run made of what was prepared.
fn median<T>(
    mut prepare: impl FnMut() -> T,
    mut work: impl FnMut(&mut T) -> Outcome<()>,
) -> Outcome<(u128, T)> {
    let mut times = Vec::new();
    let start = Instant::now();
    loop {
        let mut prepared = prepare();
        let begin = Instant::now();
        work(&mut prepared)?;
        times.push(begin.elapsed().as_nanos());
        if times.len() >= FEWEST_REPETITIONS && start.elapsed() >= DURATION {
            times.sort_unstable();
            return Ok((times[times.len() / 2], prepared));
        }
    }
}
