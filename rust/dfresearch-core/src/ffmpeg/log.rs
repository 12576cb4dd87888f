//! FFmpeg's log as `tracing` events, and the last complaint of this thread as the reason of an error.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::catch_unwind;
use std::ptr;

use ffmpeg_next::ffi;

/// How C hands on the arguments of a `printf`: on x86-64 an array, which decays to a pointer.
#[cfg(target_arch = "x86_64")]
type Arguments = *mut ffi::__va_list_tag;
#[cfg(not(target_arch = "x86_64"))]
type Arguments = ffi::va_list;

/// Longer messages are cut off.
const LINE_BYTES: usize = 1024;

thread_local! {
    static LAST_COMPLAINT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes the place of FFmpeg's own log, which writes to stderr.
#[allow(unsafe_code)]
pub fn forward_to_tracing() {
    // SAFETY: the callback is a function of this library, which is never unloaded, and may be called from any thread.
    unsafe { ffi::av_log_set_callback(Some(forward)) };
}

/// Forgets what FFmpeg said on this thread until now.
pub fn forget_complaints() {
    LAST_COMPLAINT.with_borrow_mut(|last| *last = None);
}

/// What FFmpeg complained of last on this thread, in one line.
pub fn take_complaint() -> Option<String> {
    LAST_COMPLAINT.with_borrow_mut(Option::take)
}

#[allow(unsafe_code)]
unsafe extern "C" fn forward(
    context: *mut c_void,
    level: c_int,
    format: *const c_char,
    arguments: Arguments,
) {
    if level > ffi::AV_LOG_INFO && !tracing::enabled!(target: "ffmpeg", tracing::Level::TRACE) {
        return;
    }
    let mut line: [c_char; LINE_BYTES] = [0; LINE_BYTES];
    let mut print_prefix: c_int = 0;
    // SAFETY: FFmpeg calls with a context, format and arguments that belong together; the line is written
    // within its size and ended by a zero.
    let line = unsafe {
        let size = LINE_BYTES as c_int;
        let start = line.as_mut_ptr();
        ffi::av_log_format_line2(
            context,
            level,
            format,
            arguments,
            start,
            size,
            ptr::addr_of_mut!(print_prefix),
        );
        CStr::from_ptr(start)
    };
    let message = line.to_string_lossy();
    // A subscriber that panics must not unwind into C.
    let _ = catch_unwind(|| emit(level, message.trim()));
}

fn emit(level: c_int, message: &str) {
    if message.is_empty() {
        return;
    }
    if level <= ffi::AV_LOG_ERROR {
        LAST_COMPLAINT.with_borrow_mut(|last| *last = Some(message.to_owned()));
    }
    // A damaged file is the caller's to report; FFmpeg's view of it is a detail.
    match level {
        _ if level <= ffi::AV_LOG_ERROR => tracing::warn!(target: "ffmpeg", "{message}"),
        _ if level <= ffi::AV_LOG_WARNING => tracing::info!(target: "ffmpeg", "{message}"),
        _ if level <= ffi::AV_LOG_INFO => tracing::debug!(target: "ffmpeg", "{message}"),
        _ => tracing::trace!(target: "ffmpeg", "{message}"),
    }
}
