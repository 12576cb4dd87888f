//! The one place where the interpreter is released and where core errors become Python exceptions.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use dfresearch_core::Error;
use dfresearch_core::stop::StopFlag;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// The module in which the exception classes are written down.
const EXCEPTIONS: &str = "dfresearch_rs.errors";

/// The number that every platform gives to "no such file or directory".
const NO_SUCH_FILE: i32 = 2;

/// Between two looks at whether a signal came.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(20);

/// Runs `work` with the interpreter released; errors and panics come back as exceptions.
pub fn run_detached<T, F>(py: Python<'_>, work: F) -> PyResult<T>
where
    F: FnOnce() -> dfresearch_core::Result<T> + Send,
    T: Send,
{
    match py.detach(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(to_exception(py, error)),
        Err(panic) => Err(exception(py, "InternalError", format!("panic: {}", panic_message(&*panic)))),
    }
}

/// The same for work that Ctrl-C ends: the exception that a signal raises is returned once the work has stopped.
pub fn run_until_signal<T, F>(py: Python<'_>, work: F) -> PyResult<T>
where
    F: FnOnce(&StopFlag) -> dfresearch_core::Result<T> + Send,
    T: Send,
{
    run_watched(py, |py| py.check_signals(), work)
}

/// The same for work that `watch` looks at from time to time, on this thread; what it raises ends the work.
pub fn run_watched<T, F, W>(py: Python<'_>, mut watch: W, work: F) -> PyResult<T>
where
    F: FnOnce(&StopFlag) -> dfresearch_core::Result<T> + Send,
    W: FnMut(Python<'_>) -> PyResult<()> + Send,
    T: Send,
{
    let mut raised = None;
    let result = run_detached(py, || {
        let stop = StopFlag::default();
        thread::scope(|scope| {
            let worker = scope.spawn(|| work(&stop));
            while !worker.is_finished() {
                if !stop.is_stopped()
                    && let Err(exception) = Python::attach(&mut watch)
                {
                    raised.get_or_insert(exception);
                    stop.stop();
                }
                thread::sleep(SIGNAL_INTERVAL);
            }
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    });
    raised.map_or(result, Err)
}

/// An argument that cannot be extracted or that the binding itself refuses.
pub fn argument_error(py: Python<'_>, argument: &'static str, reason: impl Into<String>) -> PyErr {
    to_exception(py, Error::argument(argument, reason))
}

/// Turns a core error into the exception of its kind.
pub fn to_exception(py: Python<'_>, error: Error) -> PyErr {
    let class = match &error {
        Error::NotFound { path } => return no_such_file(path),
        Error::Io { path, source } => return os_error(path, source),
        Error::Decode { .. } => "DecodeError",
        Error::Definition { .. } => "DefinitionError",
        Error::Argument { .. } => "ArgumentError",
        Error::Augment { .. } => "AugmentError",
        Error::Index { .. } => "CacheIndexError",
        Error::Submission { .. } => "SubmissionError",
        Error::Loader { .. } => "LoaderError",
        Error::Fetch { .. } => "FetchError",
        _ => "DfresearchError",
    };
    exception(py, class, error.to_string())
}

fn no_such_file(path: &Path) -> PyErr {
    PyOSError::new_err((NO_SUCH_FILE, "No such file or directory", path.to_path_buf()))
}

/// `OSError(errno, reason, path)`, from which Python itself chooses the subclass.
fn os_error(path: &Path, source: &std::io::Error) -> PyErr {
    match source.raw_os_error() {
        Some(errno) => PyOSError::new_err((errno, source.to_string(), path.to_path_buf())),
        None => PyOSError::new_err(format!("{}: {source}", path.display())),
    }
}

fn exception(py: Python<'_>, class: &'static str, message: String) -> PyErr {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let class = MODULE
        .get_or_try_init(py, || py.import(EXCEPTIONS).map(Bound::unbind))
        .and_then(|module| module.bind(py).getattr(class))
        .and_then(|class| class.cast_into::<PyType>().map_err(PyErr::from));
    match class {
        Ok(class) => PyErr::from_type(class, message),
        Err(error) => error,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
