#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]
use dfresearch_core::decode::JpegCodec;
use std::time::Instant;
fn picture(width: usize, height: usize) -> Vec<u8> {
    let mut image = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let wave = (x as f32 / 19.0).sin() * 60.0 + (y as f32 / 31.0).cos() * 50.0;
            let texture = ((x * 7 + y * 13) % 11) as f32;
            image.extend([128.0 + wave, 120.0 - wave / 2.0, 90.0 + wave / 3.0].map(|value| (value + texture) as u8));
        }
    }
    image
}
fn time(name: &str, mut job: impl FnMut()) -> f64 {
    for _ in 0..100 { job(); }
    let mut all = vec![];
    for _ in 0..60 {
        let start = Instant::now();
        for _ in 0..20 { job(); }
        all.push(start.elapsed().as_secs_f64() / 20.0 * 1e6);
    }
    all.sort_by(f64::total_cmp);
    println!("{name}: median {:.1} us, best {:.1} us", all[30], all[0]);
    all[30]
}
fn main() {
    let mut codec = JpegCodec::new();
    for (w, h) in [(8, 8), (33, 17), (224, 224), (300, 200), (123, 301)] {
        let image = picture(w, h);
        for q in [1, 50, 75, 100] {
            let (mut a, mut b) = (image.clone(), image.clone());
            codec.round_trip_rgb(&mut a, w, h, q).unwrap();
            codec.round_trip_rgb_by_libjpeg(&mut b, w, h, q).unwrap();
            let bad = a.iter().zip(&b).filter(|(a, b)| a != b).count();
            let worst = a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b)).max();
            let first = a.iter().zip(&b).position(|(a, b)| a != b).map(|i| (i / 3 % w, i / 3 / w, i % 3));
            if bad > 0 { println!("{w}x{h} q{q}: {bad} differ, by at most {worst:?}, first at {first:?}"); }
        }
    }
    let image = picture(224, 224);
    let mut work = image.clone();
    for q in [15u8, 57, 95] {
        let theirs = time(&format!("libjpeg-turbo q{q}"), || { work.copy_from_slice(&image); codec.round_trip_rgb_by_libjpeg(&mut work, 224, 224, q).unwrap(); });
        let ours = time(&format!("ours q{q}"), || { work.copy_from_slice(&image); codec.round_trip_rgb(&mut work, 224, 224, q).unwrap(); });
        println!("ratio {:.2}", theirs / ours);
    }
}
