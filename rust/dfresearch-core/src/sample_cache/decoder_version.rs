//! What decoded a record: nobody has to remember to raise a number.

use std::sync::LazyLock;

use ffmpeg_next::ffi;

/// Names everything in this program and on this machine that decides the bytes of a record, but for the settings of
/// its preprocessing.
///
/// - the sources that decode and preprocess, the locked versions of the crates that do, the compiler and its settings:
///   one digest, taken at build time. A build in whose surroundings no `Cargo.lock` is found has its own time instead,
///   and so shares records with no other build;
/// - the versions of the FFmpeg libraries that were loaded;
/// - the architecture and the features of the processor that decoders choose their ways by, since floating-point sums
///   may round differently on each of them.
///
/// The C library is not named: batches are the same on any run of one build on one machine, and so are records.
pub fn decoder_version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        format!("{}; {}; {}", env!("DFRESEARCH_DECODER_BUILD"), ffmpeg_libraries(), processor())
    });
    &VERSION
}

fn ffmpeg_libraries() -> String {
    let libraries = [
        ("avutil", ffmpeg_next::util::version()),
        ("avcodec", ffmpeg_next::codec::version()),
        ("avformat", ffmpeg_next::format::version()),
        ("swscale", ffmpeg_next::software::scaling::version()),
        ("swresample", ffmpeg_next::software::resampling::version()),
    ];
    // A library's number is made of three: major << 16 | minor << 8 | micro.
    let named = libraries.map(|(name, version)| {
        format!("{name} {}.{}.{}", version >> 16, version >> 8 & 0xff, version & 0xff)
    });
    named.join(" ")
}

fn processor() -> String {
    let features = processor_features().join(" ");
    format!("{} {features}, FFmpeg's flags {:08x}", std::env::consts::ARCH, ffmpeg_processor_flags())
}

#[allow(unsafe_code)]
fn ffmpeg_processor_flags() -> i32 {
    // SAFETY: takes no arguments, and may be called from any thread at any time.
    unsafe { ffi::av_get_cpu_flags() }
}

/// Those that this crate or one of the decoding crates asks for.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn processor_features() -> Vec<&'static str> {
    macro_rules! present {
        ($($feature:tt)*) => { [$((is_x86_feature_detected!($feature), $feature)),*] };
    }
    let features = present!(
        "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "pclmulqdq" "avx" "avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt"
        "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512ifma" "avx512vbmi" "avx512vbmi2" "avx512vnni"
        "avx512bitalg" "avx512vpopcntdq" "gfni"
    );
    features.into_iter().filter_map(|(is_present, feature)| is_present.then_some(feature)).collect()
}

/// Those that this crate or one of the decoding crates asks for.
#[cfg(target_arch = "aarch64")]
fn processor_features() -> Vec<&'static str> {
    macro_rules! present {
        ($($feature:tt)*) => { [$((std::arch::is_aarch64_feature_detected!($feature), $feature)),*] };
    }
    let features = present!("neon" "dotprod" "fp16" "i8mm" "fcma" "sve" "sve2" "crc");
    features.into_iter().filter_map(|(is_present, feature)| is_present.then_some(feature)).collect()
}

/// No decoder is known to choose its ways here.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
fn processor_features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// Modules whose code cannot change the bytes of a record: errors, words, flags, random numbers and hashes.
    const WITHOUT_INFLUENCE: [&str; 7] =
        ["augment", "error", "modality", "rng", "samples", "sample_cache", "store"];

    /// The same of crates: the words of errors, and what goes into the log.
    const CRATES_WITHOUT_INFLUENCE: [&str; 2] = ["thiserror", "tracing"];

    #[test]
    fn it_names_this_build_the_libraries_and_the_processor() {
        let version = decoder_version();
        let (build, rest) = version.split_once("; ").unwrap();
        assert!(build.starts_with("build ") && build.len() == "build ".len() + 32, "{version}");
        assert!(rest.contains("avcodec ") && rest.contains(std::env::consts::ARCH), "{version}");
        assert_eq!(version, decoder_version());
    }

    /// The lists in `build.rs` name everything that the sources in them lean on.
    #[test]
    fn what_decoding_sources_use_is_fingerprinted() {
        let listed: Vec<&str> = env!("DFRESEARCH_DECODER_SOURCES").split(',').collect();
        let crates: Vec<&str> = env!("DFRESEARCH_DECODER_CRATES").split(',').collect();
        let source_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let manifest = fs::read_to_string(source_folder.with_file_name("Cargo.toml")).unwrap();
        let (_, manifest) = manifest.split_once("[dependencies]").unwrap();
        let manifest = manifest.split("\n[").next().unwrap();
        let dependencies: Vec<&str> = manifest
            .lines()
            .filter_map(|line| line.split(['.', ' ']).next())
            .filter(|it| !it.is_empty())
            .collect();
        assert!(dependencies.contains(&"ffmpeg-next"), "{dependencies:?}");
        let mut files = Vec::new();
        listed.iter().for_each(|name| collect(&source_folder.join(name), &mut files));
        assert!(files.len() > 40, "{files:?}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let modules: Vec<&str> = listed.iter().filter_map(|name| name.split(['/', '.']).next()).collect();
            for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
                for used in line.split("crate::").skip(1).map(first_word).filter(|it| starts_lower(it)) {
                    let is_known =
                        modules.contains(&used.as_str()) || WITHOUT_INFLUENCE.contains(&used.as_str());
                    assert!(is_known, "{}: uses crate::{used}, which build.rs does not list", file.display());
                }
                for name in &dependencies {
                    let name = name.replace('-', "_");
                    let is_used =
                        [format!("use {name} "), format!("{name}::")].iter().any(|it| line.contains(it));
                    let is_known = crates.contains(&name.replace('_', "-").as_str())
                        || CRATES_WITHOUT_INFLUENCE.contains(&name.as_str());
                    let file = file.display();
                    assert!(is_known || !is_used, "{file}: uses {name}, which build.rs does not list");
                }
            }
        }
    }

    fn first_word(text: &str) -> String {
        text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
    }

    fn starts_lower(word: &str) -> bool {
        word.starts_with(|letter: char| letter.is_ascii_lowercase())
    }

    fn collect(path: &Path, files: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                collect(&entry.unwrap().path(), files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.contains("tests") {
                files.push(path.to_path_buf());
            }
        }
    }
}
