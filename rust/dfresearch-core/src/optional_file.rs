//! Files that need not be there.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};

/// The file's content; none when there is no file of this name.
///
/// # Errors
/// [`Error::Io`] when there is one that cannot be read. A link to nothing is such a file: somebody put it there.
pub(crate) fn read_optional_file(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(source) if source.kind() != ErrorKind::NotFound || is_there(path)? => {
            Err(Error::Io { path: path.to_path_buf(), source })
        }
        Err(_) => Ok(None),
    }
}

/// Whether there is anything of this name, readable or not.
///
/// # Errors
/// [`Error::Io`] when that cannot be told, for example because the folder may not be searched.
pub(crate) fn is_there(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(path, error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_file_that_is_not_there_has_no_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("text"), b"text").unwrap();
        symlink("text", file("link")).unwrap();
        assert_eq!(read_optional_file(&file("text")).unwrap(), Some(b"text".to_vec()));
        assert_eq!(read_optional_file(&file("link")).unwrap(), Some(b"text".to_vec()));
        assert_eq!(read_optional_file(&file("nothing")).unwrap(), None);

        // What fails for everybody, root included: a link to nothing, to itself, and a file as a folder.
        symlink("nothing", file("dangling")).unwrap();
        symlink("circle", file("circle")).unwrap();
        for name in ["dangling", "circle", "text/inside", ""] {
            let error = read_optional_file(&file(name)).unwrap_err();
            assert!(matches!(&error, Error::Io { path, .. } if *path == file(name)), "{name}: {error}");
        }
    }
}
