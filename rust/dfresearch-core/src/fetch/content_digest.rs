//! Whether a file's content is the promised one.

use std::io::Read;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::hub::Checksum;
use crate::stop::StopFlag;

const BUFFER_BYTES: usize = 256 * 1024;

/// The checksum of all that `content` gives, of the same kind as `wanted`; `size` is its length in bytes.
///
/// # Errors
/// Those of `content`, wrapped by `wrap`; [`Error::Stopped`](crate::Error::Stopped).
pub(super) fn checksum_like(
    wanted: Checksum,
    size: u64,
    content: &mut dyn Read,
    stop: &StopFlag,
    wrap: &dyn Fn(std::io::Error) -> crate::Error,
) -> Result<Checksum> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut each = |update: &mut dyn FnMut(&[u8])| -> Result<()> {
        loop {
            stop.check()?;
            match content.read(&mut buffer).map_err(wrap)? {
                0 => return Ok(()),
                read => update(&buffer[..read]),
            }
        }
    };
    match wanted {
        Checksum::Sha256(_) => {
            let mut digest = Sha256::new();
            each(&mut |bytes| digest.update(bytes))?;
            Ok(Checksum::Sha256(digest.finalize().into()))
        }
        Checksum::GitBlob(_) => {
            let mut digest = Sha1::new();
            digest.update(format!("blob {size}\0"));
            each(&mut |bytes| digest.update(bytes))?;
            Ok(Checksum::GitBlob(digest.finalize().into()))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `printf hello | sha256sum`, `printf hello | git hash-object --stdin`.
    #[test]
    fn checksums_are_those_of_the_tools() {
        for (wanted, hexadecimal) in [
            (Checksum::Sha256([0; 32]), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
            (Checksum::GitBlob([0; 20]), "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"),
        ] {
            let wrap = |error| crate::Error::io("content", error);
            let sum = checksum_like(wanted, 5, &mut &b"hello"[..], &StopFlag::default(), &wrap).unwrap();
            assert_eq!(sum.to_hex(), hexadecimal);
        }
    }
}
