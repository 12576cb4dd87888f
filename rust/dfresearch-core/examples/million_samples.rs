//! How long it takes, and how much memory, to list the samples of a large cache that has not changed.
//!
//! ```text
//! cargo run --release --example million_samples -- build FOLDER 1000000 500
//! cargo run --release --example million_samples -- gather FOLDER
//! ```
//!
//! `build` makes real files, images of one pixel in so many datasets, and scans them once.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dfresearch_core::decode::{ImageLimits, read_dimensions};
use dfresearch_core::samples::{LabelledDataset, ScanOptions, survey};
use dfresearch_core::split::{SPLIT_SEED, Split};
use dfresearch_core::store::modality_folder;
use dfresearch_core::{MediaType, Modality};

/// The least that is an image, another one for each number.
fn image(number: u64) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for value in [62u32, 0, 54, 40, 1, 1] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes.extend([1, 2, 3, 0]);
    bytes.extend(number.to_le_bytes());
    bytes
}

fn definitions(cache: &Path) -> Vec<LabelledDataset> {
    let folders = fs::read_dir(modality_folder(cache, Modality::Image)).expect("a cache made by build");
    let mut names: Vec<String> =
        folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let media_types = [MediaType::Real, MediaType::Synthetic];
    let labelled = |(number, name)| LabelledDataset { name, media_type: media_types[number % 2] };
    names.into_iter().enumerate().map(labelled).collect()
}

/// A line of `/proc/self/status`, in KiB.
fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|it| it.strip_prefix(line)).unwrap();
    value.trim_matches(|it: char| !it.is_ascii_digit()).parse().unwrap()
}

fn gather(cache: &Path, rescan: bool) {
    let before = memory("VmRSS:");
    let probe = |bytes: &[u8]| read_dimensions(bytes, &ImageLimits::default());
    let options = ScanOptions { probe: &probe, progress: &|_| Ok(()), rescan };
    let start = Instant::now();
    let survey = survey(cache, Modality::Image, &definitions(cache), &options).unwrap();
    let surveyed = start.elapsed();
    let samples = survey.select(Split::Train, None, SPLIT_SEED).unwrap();
    let gathered = start.elapsed();
    println!(
        "{} files, {} read, {} samples to train: report after {surveyed:.2?}, samples after {gathered:.2?}, \
         {} MiB more at the peak",
        survey.report.samples(),
        survey.report.read,
        samples.len(),
        (memory("VmHWM:") - before) >> 10,
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let cache = Path::new(arguments.get(2).expect("build or gather, and a folder"));
    match arguments[1].as_str() {
        "build" => {
            let (files, datasets): (u64, u64) =
                (arguments[3].parse().unwrap(), arguments[4].parse().unwrap());
            for number in 0..files {
                let folder =
                    modality_folder(cache, Modality::Image).join(format!("set-{:04}", number % datasets));
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(format!("{:06}.bmp", number / datasets)), image(number)).unwrap();
            }
            // A folder that has just changed is not trusted yet.
            std::thread::sleep(Duration::from_secs(3));
            gather(cache, false);
        }
        "gather" => gather(cache, arguments.get(3).is_some_and(|it| it == "--rescan")),
        other => println!("{other}: neither build nor gather"),
    }
}
