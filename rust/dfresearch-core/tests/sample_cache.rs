//! The sample cache between processes: killed ones, simultaneous ones, forked ones, and ones that may not write.
//!
//! Each test starts this program again, for the one test `child_process`, which does what its parent tells it to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dfresearch_core::Modality;
use dfresearch_core::sample_cache::{SampleCache, survey};
use dfresearch_core::store::ContentHash;

const ROLE: &str = "SAMPLE_CACHE_TEST_ROLE";
const ROOT: &str = "SAMPLE_CACHE_TEST_ROOT";
const START: &str = "SAMPLE_CACHE_TEST_START";

const NO_CAP: u64 = 1 << 40;
const SIGKILL: i32 = 9;

/// How often a process is killed while it writes.
const KILLS: u64 = 50;
/// The numbers of what one process writes begin at multiples of this.
const STRIDE: u64 = 100_000;

fn open(root: &Path) -> SampleCache {
    SampleCache::open(root, Modality::Image, "bytes made of a number", NO_CAP).unwrap()
}

fn content(number: u64) -> ContentHash {
    ContentHash::of(&number.to_le_bytes())
}

/// 1 to 40,000 bytes that differ from number to number.
fn record(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = 1 + next_random(&mut state) % 5000;
    let mut bytes: Vec<u8> = (0..words).flat_map(|_| next_random(&mut state).to_le_bytes()).collect();
    bytes.truncate((words * 8 - next_random(&mut state) % 8) as usize);
    bytes
}

/// Marsaglia's xorshift.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn insert(cache: &SampleCache, number: u64) {
    cache.insert(&content(number), &record(number));
}

/// Whether it is there; then it must be right.
fn is_there(cache: &SampleCache, number: u64) -> bool {
    let found = cache.get(&content(number));
    if let Some(bytes) = found {
        assert!(bytes == record(number), "record {number} is not what was written");
    }
    found.is_some()
}

/// This program as another process.
fn child(program: &Path, role: &str, root: &Path, start: u64) -> Command {
    let mut command = Command::new(program);
    command.args(["child_process", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(ROOT, root).env(START, start.to_string());
    // The test harness writes to the standard output; the error output is ours.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// Waits for a process that must succeed.
fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// What a process does that was started by one of the tests; nothing when there is no such test.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let root = PathBuf::from(std::env::var_os(ROOT).unwrap());
    let start: u64 = std::env::var(START).unwrap().parse().unwrap();
    match role.as_str() {
        "write until killed" => write_until_killed(&root, start),
        "fill and read" => fill_and_read(&root, start),
        "fork" => fork_while_writing(&root),
        "read only" => read_only(&root),
        "nothing there" => nothing_there(&root),
        "small files" => fill_with_small_files(&root),
        other => panic!("no such role: {other}"),
    }
}

/// Tells the parent of a step.
fn tell() {
    std::io::stderr().write_all(b".").unwrap();
}

/// Waits for the parent's word.
fn wait() {
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

fn write_until_killed(root: &Path, start: u64) {
    let cache = open(root);
    for number in start..start + STRIDE {
        insert(&cache, number);
        tell();
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_it_had_kept() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut kept: Vec<(u64, u64)> = Vec::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..KILLS {
        next_random(&mut random);
        let start = (round + 1) * STRIDE;
        let mut writer = child(&this_program(), "write until killed", root, start).spawn().unwrap();
        // A few records are told of; the process is somewhere in one of the next when it is killed.
        let told = random % 100;
        let mut steps = vec![0; told as usize];
        writer.stderr.as_mut().unwrap().read_exact(&mut steps).unwrap();
        (0..random >> 48).for_each(|_| std::hint::spin_loop());
        writer.kill().unwrap();
        let mut rest = Vec::new();
        writer.stderr.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        assert_eq!(writer.wait().unwrap().signal(), Some(SIGKILL), "{}", String::from_utf8_lossy(&rest));
        let told = told + rest.len() as u64;
        kept.push((start, told));

        let cache = open(root);
        for number in start..start + told {
            assert!(is_there(&cache, number), "record {number} of {told} is lost");
        }
        // One more may have been whole when the process died.
        for number in start + told..start + told + 5 {
            is_there(&cache, number);
        }
        insert(&cache, round);
        assert!(is_there(&cache, round));
        assert_eq!(cache.report().damaged, 0);
    }
    let cache = open(root);
    assert!((0..KILLS).all(|round| is_there(&cache, round)));
    for (start, told) in kept {
        assert!((start..start + told).all(|number| is_there(&cache, number)));
    }
    assert_eq!((cache.report().damaged, cache.report().notices), (0, vec![]));
    // The processes died one after the other: one log was enough for them.
    assert!(!cache.report().folder.join("log-001.index").exists());
}

/// What both processes want, beside 50 records of their own.
const SHARED: u64 = 400;
const OWN: u64 = 50;

fn fill_and_read(root: &Path, start: u64) {
    let cache = open(root);
    tell();
    wait();
    let own = start..start + OWN;
    let shared = (0..SHARED).map(|number| (number + start / STRIDE * SHARED / 2) % SHARED);
    for number in own.chain(shared) {
        if number % 16 == 0 {
            cache.refresh();
        }
        if !is_there(&cache, number) {
            insert(&cache, number);
        }
        assert!(is_there(&cache, number));
    }
    tell();
    wait();
    cache.refresh();
    assert!((0..SHARED).all(|number| is_there(&cache, number)));
    for start in [STRIDE, 2 * STRIDE] {
        assert!((start..start + OWN).all(|number| is_there(&cache, number)), "{start}");
    }
    assert_eq!((cache.report().damaged, cache.report().notices), (0, vec![]));
}

#[test]
fn two_processes_fill_and_read_one_cache() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let spawn = |start| child(&this_program(), "fill and read", root, start).spawn().unwrap();
    let mut processes = [spawn(STRIDE), spawn(2 * STRIDE)];
    // Both open before either writes, and both have written before either reads the other's.
    for _ in 0..2 {
        for process in &mut processes {
            process.stderr.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        }
        for process in &mut processes {
            process.stdin.as_mut().unwrap().write_all(b".").unwrap();
        }
    }
    processes.into_iter().for_each(finish);
    let cache = open(root);
    let own = [STRIDE, 2 * STRIDE].into_iter().flat_map(|start| start..start + OWN);
    assert!((0..SHARED).chain(own).all(|number| is_there(&cache, number)));
    assert_eq!((cache.report().records, cache.report().damaged), (SHARED + 2 * OWN, 0));
    let logs = |number| cache.report().folder.join(format!("log-{number:03}.index")).exists();
    assert_eq!([0, 1, 2].map(logs), [true, true, false]);
}

unsafe extern "C" {
    safe fn fork() -> i32;
    safe fn _exit(status: i32) -> !;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
}

fn fork_while_writing(root: &Path) {
    let cache = open(root);
    (0..5).for_each(|number| insert(&cache, number));
    let forked = fork();
    if forked == 0 {
        let reads = (0..5).all(|number| is_there(&cache, number));
        insert(&cache, 7);
        let is_kept = is_there(&cache, 7);
        let says_so = cache.report().records == 5;
        drop(cache);
        _exit(if reads && !is_kept && says_so { 0 } else { 1 });
    }
    let mut status = -1;
    // SAFETY: the status is written to an integer that lives for the call.
    assert_eq!(unsafe { waitpid(forked, &raw mut status, 0) }, forked);
    assert_eq!(status, 0);
    // The log is still the parent's: neither cut off nor free for others.
    let other = open(root);
    insert(&other, 20);
    assert!(cache.report().folder.join("log-001.index").exists());
    (5..10).for_each(|number| insert(&cache, number));
    other.refresh();
    assert!((0..10).chain([20]).all(|number| is_there(&other, number)));
    drop((cache, other));
    assert_eq!((0..30).filter(|&number| is_there(&open(root), number)).count(), 11);
}

#[test]
fn a_forked_child_reads_and_leaves_the_log_to_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    finish(child(&this_program(), "fork", folder.path(), 0).spawn().unwrap());
}

fn read_only(root: &Path) {
    let cache = open(root);
    assert!((0..5).all(|number| is_there(&cache, number)));
    insert(&cache, 9);
    assert!(!is_there(&cache, 9));
    let report = cache.report();
    assert!(report.notices.len() == 1 && report.notices[0].contains("cannot be written"), "{report:?}");
}

fn nothing_there(root: &Path) {
    let error = SampleCache::open(root, Modality::Image, "plain", NO_CAP).unwrap_err().to_string();
    assert!(error.contains(root.to_str().unwrap()), "{error}");
    assert!(error.contains("DFRESEARCH_SAMPLE_CACHE_DIR"), "{error}");
}

/// Takes away the right to write, or gives it again.
fn set_writable(path: &Path, is_writable: bool) {
    let metadata = fs::metadata(path).unwrap();
    let mode = (if metadata.is_dir() { 0o555 } else { 0o444 }) | if is_writable { 0o200 } else { 0 };
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| set_writable(&entry.unwrap().path(), is_writable));
    }
}

#[test]
fn a_folder_that_may_only_be_read_is_read() {
    /// Who owns nothing.
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    let (full, empty) = (folder.path().join("full"), folder.path().join("empty"));
    (0..5).for_each(|number| insert(&open(&full), number));
    fs::create_dir(&empty).unwrap();
    // A place where others may look too.
    let program = folder.path().join("program");
    fs::copy(this_program(), &program).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    [&full, &empty].into_iter().for_each(|root| set_writable(root, false));
    for (role, root) in [("read only", &full), ("nothing there", &empty)] {
        let mut command = child(&program, role, root, 0);
        // Nothing is forbidden to the superuser.
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        finish(command.current_dir("/").spawn().unwrap());
    }
    [&full, &empty].into_iter().for_each(|root| set_writable(root, true));
}

fn fill_with_small_files(root: &Path) {
    let cache = open(root);
    (0..40).for_each(|number| insert(&cache, number));
    let report = cache.report();
    assert!(report.inserted > 3 && report.inserted < 40, "{report:?}");
    assert!(
        report.notices.len() == 1 && report.notices[0].contains("no further samples are kept"),
        "{report:?}"
    );
    assert_eq!((0..40).filter(|&number| is_there(&cache, number)).count() as u64, report.inserted);
    let kept = report.inserted;
    drop(cache);
    assert_eq!(open(root).report().records, kept);
}

#[test]
fn where_files_cannot_grow_what_is_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let program = this_program();
    let limited = child(&program, "small files", folder.path(), 0);
    // 200 KiB a file, and an error instead of the signal.
    let mut shell = Command::new("bash");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\""])
        .arg(&program)
        .args(limited.get_args());
    for (name, value) in limited.get_envs() {
        shell.env(name, value.unwrap());
    }
    finish(shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
}

#[test]
fn a_store_can_be_opened_while_others_look_at_it() {
    let root = tempfile::tempdir().unwrap();
    let open = || SampleCache::open(root.path(), Modality::Image, "plain", 1 << 30);
    drop(open().unwrap());
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let look = || {
            while !is_done.load(Ordering::Relaxed) {
                survey(root.path()).unwrap();
            }
        };
        scope.spawn(look);
        let outcomes: Vec<_> = (0..500).map(|_| open().map(drop)).collect();
        is_done.store(true, Ordering::Relaxed);
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    });
}
