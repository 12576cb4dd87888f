//! Compiles the C shim that stands between Rust and libjpeg's setjmp error handling, and takes the fingerprint of
//! everything in this build that decides what a decoded sample looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// What turns a medium into a record of the sample cache, below `src`. A test compares it with what they use.
const DECODER_SOURCES: [&str; 9] = [
    "decode",
    "preprocess",
    "ffmpeg",
    "jpeg_round_trip",
    "media_file.rs",
    "loader/mod.rs",
    "loader/image.rs",
    "loader/video.rs",
    "loader/audio.rs",
];

/// The crates that they decode and compute with; what these depend on goes in as well.
const DECODER_CRATES: [&str; 14] = [
    "bytemuck",
    "crc32fast",
    "fast_image_resize",
    "fdeflate",
    "ffmpeg-next",
    "flate2",
    "libwebp-sys",
    "multiversion",
    "png",
    "realfft",
    "tiff",
    "turbojpeg-sys",
    "weezl",
    "zip",
];

/// The compiler and its settings, which may change how a sum of floats is rounded.
const COMPILER_SETTINGS: [&str; 4] =
    ["TARGET", "OPT_LEVEL", "CARGO_CFG_TARGET_FEATURE", "CARGO_ENCODED_RUSTFLAGS"];

const LOCK_FILE: &str = "Cargo.lock";

fn main() -> Result<()> {
    compile_jpeg_shim();
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=DFRESEARCH_DECODER_BUILD=build {}", &decoder_fingerprint()?[..32]);
    println!("cargo::rustc-env=DFRESEARCH_DECODER_SOURCES={}", DECODER_SOURCES.join(","));
    println!("cargo::rustc-env=DFRESEARCH_DECODER_CRATES={}", DECODER_CRATES.map(dashed).join(","));
    Ok(())
}

fn compile_jpeg_shim() {
    println!("cargo::rerun-if-changed=src/decode/jpeg_shim.c");
    let mut build = cc::Build::new();
    build.file("src/decode/jpeg_shim.c").warnings(true).extra_warnings(true);
    // The headers of the very libjpeg-turbo that turbojpeg-sys has built.
    for folder in env::var("DEP_TURBOJPEG_INCLUDE").unwrap_or_default().split(',').filter(|it| !it.is_empty())
    {
        build.include(folder);
    }
    build.compile("dfresearch_jpeg_shim");
}

/// Of sources, locked crates and compiler, in hexadecimal digits.
fn decoder_fingerprint() -> Result<String> {
    let mut digest = Sha256::new();
    let mut add = |name: &str, content: &[u8]| {
        for part in [name.as_bytes(), content] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    };
    for name in DECODER_SOURCES {
        let path = PathBuf::from("src").join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        let mut files = BTreeSet::new();
        collect(&path, &mut files);
        if files.is_empty() {
            return Err(Error::other(format!("{}: listed in build.rs, and not there", path.display())));
        }
        for file in files {
            add(&file.to_string_lossy(), &fs::read(&file)?);
        }
    }
    add("crates", locked_crates().unwrap_or_else(time_of_build).as_bytes());
    for name in COMPILER_SETTINGS {
        add(name, env::var(name).unwrap_or_default().as_bytes());
    }
    let compiler = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into())).arg("-vV").output();
    add("compiler", &compiler.map(|output| output.stdout).unwrap_or_default());
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The sources below a path, but for those of tests.
fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name == "tests" || name.ends_with("tests.rs") {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            collect(&entry.path(), files);
        }
    } else if path.is_file() {
        files.insert(path.to_path_buf());
    }
}

/// Name, version and checksum of every crate that decoding leans on; none where they cannot be known.
fn locked_crates() -> Option<String> {
    let lock = lock_file()?;
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(&lock).ok()?;
    let mut packages = BTreeMap::<&str, Vec<&str>>::new();
    for package in text.split("[[package]]").skip(1) {
        packages.entry(quoted_after(package, "name = ")?).or_default().push(package);
    }
    let mut open: Vec<&str> = DECODER_CRATES.to_vec();
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !seen.insert(name) {
            continue;
        }
        for package in packages.get(name)? {
            let dependencies = package.split_once("dependencies = [").map_or("", |(_, rest)| rest);
            let listed = dependencies.split(']').next().unwrap_or_default();
            // A dependency of which there are several versions is followed by its version: all of them are taken.
            open.extend(
                listed.split('"').skip(1).step_by(2).filter_map(|entry| entry.split_whitespace().next()),
            );
        }
    }
    let line = |package: &&str| {
        let field = |name| quoted_after(package, name).unwrap_or_default();
        format!("{} {} {}\n", field("name = "), field("version = "), field("checksum = "))
    };
    Some(seen.iter().filter_map(|name| packages.get(name)).flatten().map(line).collect())
}

fn quoted_after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.split_once(&format!("\n{start}\""))?.1.split('"').next()
}

/// The lock file of the workspace that is being built: that which the output folder lies in, or else this crate does.
fn lock_file() -> Option<PathBuf> {
    let start = |name| env::var_os(name).map(PathBuf::from);
    let above = |folder: PathBuf| {
        let candidates: Vec<PathBuf> = folder.ancestors().skip(1).map(|it| it.join(LOCK_FILE)).collect();
        candidates.into_iter().find(|lock| {
            fs::read_to_string(lock).is_ok_and(|text| text.contains("\nname = \"dfresearch-core\"\n"))
        })
    };
    start("OUT_DIR").and_then(above).or_else(|| start("CARGO_MANIFEST_DIR").and_then(above))
}

/// In the place of what is not known: no two builds have it in common.
fn time_of_build() -> String {
    // Never there, so that Cargo asks again at every build.
    println!("cargo::rerun-if-changed={LOCK_FILE}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("unknown, {} ns", now.as_nanos())
}

fn dashed(name: &str) -> String {
    name.replace('_', "-")
}
