//! Compiles the C shim that stands between Rust and libjpeg's setjmp error handling.

use std::env;

fn main() {
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
