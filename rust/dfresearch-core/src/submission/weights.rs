//! `model.safetensors`: written straight from tensor memory, and checked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::files::{PendingFile, refused};
use crate::error::{Error, Result};

/// The header's length field, in bytes; the header itself is padded to a multiple of it.
const LENGTH_FIELD: usize = 8;

/// The longest header that the safetensors library accepts, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// Bytes that are read or checked at a time; a multiple of every element size.
const CHUNK: usize = 1 << 20;

/// What `torch.compile` puts before the names of a module's tensors.
const COMPILED_PREFIX: &str = "_orig_mod";

/// What `DataParallel` and `DistributedDataParallel` put before all names.
const PARALLEL_PREFIX: &str = "module";

/// One tensor: its name, element type, shape and memory (row-major, little-endian).
#[derive(Debug, Clone)]
pub struct TensorData<'a> {
    /// The name in the state dict.
    pub name: String,
    /// The element type in the format's own word: `F32`, `BF16`, `I64`, `BOOL` and so on.
    pub dtype: &'a str,
    /// The shape, empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements' bytes.
    pub bytes: &'a [u8],
}

/// What a weights file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsSummary {
    /// Number of tensors.
    pub tensors: usize,
    /// Number of elements in all tensors.
    pub elements: u64,
    /// Names of the tensors with a NaN or an infinity in them, sorted.
    pub not_finite: Vec<String>,
}

/// The names without the prefixes that wrappers put there, in the same order.
///
/// `_orig_mod` (`torch.compile`) goes wherever it stands. A leading `module` (`DataParallel`) goes
/// only when every name carries it, as often as it does: a submodule of one's own may have that name.
///
/// # Errors
/// [`Error::Argument`] when two tensors end up with one name, or a name becomes empty.
pub fn strip_wrapper_names(names: &[String]) -> Result<Vec<String>> {
    let mut parts: Vec<Vec<&str>> =
        names.iter().map(|name| name.split('.').filter(|&part| part != COMPILED_PREFIX).collect()).collect();
    while !parts.is_empty() && parts.iter().all(|name| name.len() > 1 && name[0] == PARALLEL_PREFIX) {
        for name in &mut parts {
            name.remove(0);
        }
    }
    let stripped: Vec<String> = parts.iter().map(|name| name.join(".")).collect();
    let mut seen = HashMap::new();
    for (name, original) in stripped.iter().zip(names) {
        if name.is_empty() {
            return Err(Error::argument(
                "state_dict",
                format!("{original:?} has no name besides its wrapper's"),
            ));
        }
        if let Some(other) = seen.insert(name, original) {
            let reason = format!("{other:?} and {original:?} would both be stored as {name:?}");
            return Err(Error::argument("state_dict", reason));
        }
    }
    Ok(stripped)
}

/// Writes tensors as a safetensors file, whole or not at all; the same tensors give the same bytes.
///
/// Names lose their wrapper prefixes ([`strip_wrapper_names`]). Tensors that share memory are
/// written out under each name. The bytes go from the tensors' memory to the file without a copy.
///
/// # Errors
/// [`Error::Argument`] for a dtype that the format does not have, for bytes that do not match
/// dtype and shape, and for names that collide; [`Error::Io`] when the disk refuses.
pub fn write_safetensors(path: &Path, tensors: &[TensorData<'_>]) -> Result<()> {
    let names: Vec<String> = tensors.iter().map(|tensor| tensor.name.clone()).collect();
    let names = strip_wrapper_names(&names)?;
    let mut ordered = Vec::with_capacity(tensors.len());
    for (name, tensor) in names.into_iter().zip(tensors) {
        ordered.push((name, dtype_of(tensor)?, tensor));
    }
    // The format's own order: falling alignment, then names.
    ordered.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));

    let mut end = 0;
    let mut infos = Vec::with_capacity(ordered.len());
    for (name, dtype, tensor) in &ordered {
        let start = end;
        end += tensor.bytes.len();
        infos.push((
            name.clone(),
            TensorInfo { dtype: *dtype, shape: tensor.shape.clone(), data_offsets: (start, end) },
        ));
    }
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let invalid =
        |error: &dyn std::fmt::Display| Error::argument("state_dict", format!("not storable: {error}"));
    let metadata = Metadata::new(Some(format), infos).map_err(|error| invalid(&error))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|error| invalid(&error))?;
    header.resize(header.len().next_multiple_of(LENGTH_FIELD), b' ');

    PendingFile::write(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        let mut buffered = std::io::BufWriter::with_capacity(CHUNK, file);
        for (_, _, tensor) in &ordered {
            buffered.write_all(tensor.bytes)?;
        }
        buffered.flush()
    })?
    .commit()
}

fn dtype_of(tensor: &TensorData<'_>) -> Result<Dtype> {
    let refuse = |reason: String| Error::argument("state_dict", format!("{:?}: {reason}", tensor.name));
    let word = serde_json::Value::String(tensor.dtype.to_owned());
    let dtype: Dtype = serde_json::from_value(word)
        .map_err(|_| refuse(format!("safetensors has no dtype {:?}", tensor.dtype)))?;
    let expected = tensor
        .shape
        .iter()
        .try_fold(dtype.bitsize(), |bits, &side| bits.checked_mul(side))
        .ok_or_else(|| refuse(format!("the shape {:?} is beyond any memory", tensor.shape)))?
        / 8;
    if expected != tensor.bytes.len() {
        let reason = format!("{} bytes for {} of shape {:?}", tensor.bytes.len(), tensor.dtype, tensor.shape);
        return Err(refuse(reason));
    }
    Ok(dtype)
}

/// Reads a weights file to its end: the header, the sizes, and every floating-point element.
///
/// # Errors
/// [`Error::Submission`] when the file is no safetensors file or its size does not match its
/// header, [`Error::NotFound`] and [`Error::Io`] when it cannot be read.
pub fn check_weights(path: &Path) -> Result<WeightsSummary> {
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    let size = file.metadata().map_err(|error| Error::io(path, error))?.len();
    let mut reader = BufReader::with_capacity(CHUNK, file);
    let metadata = read_header(path, &mut reader, size)?;
    let infos: BTreeMap<usize, (String, TensorInfo)> = metadata
        .tensors()
        .into_iter()
        // Tensors without elements share their offset with the next one and have nothing to check.
        .filter(|(_, info)| info.data_offsets.0 < info.data_offsets.1)
        .map(|(name, info)| (info.data_offsets.0, (name, info.clone())))
        .collect();
    let mut not_finite = HashSet::new();
    let mut elements = 0;
    let mut buffer = vec![0; CHUNK];
    for (name, info) in infos.into_values() {
        let mut left = info.data_offsets.1 - info.data_offsets.0;
        elements += (left * 8 / info.dtype.bitsize()) as u64;
        while left > 0 {
            let chunk = &mut buffer[..left.min(CHUNK)];
            reader.read_exact(chunk).map_err(|error| Error::io(path, error))?;
            left -= chunk.len();
            if !all_finite(info.dtype, chunk) {
                not_finite.insert(name.clone());
            }
        }
    }
    let mut not_finite: Vec<String> = not_finite.into_iter().collect();
    not_finite.sort();
    Ok(WeightsSummary { tensors: metadata.tensors().len(), elements, not_finite })
}

fn read_header(path: &Path, reader: &mut impl Read, size: u64) -> Result<Metadata> {
    let broken = |reason: String| refused(path, format!("not a safetensors file: {reason}"));
    let mut length = [0; LENGTH_FIELD];
    reader.read_exact(&mut length).map_err(|_| broken(format!("{size} bytes are no header")))?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER || length > size.saturating_sub(LENGTH_FIELD as u64) {
        return Err(broken(format!("a header of {length} bytes does not fit into {size}")));
    }
    let mut header = vec![0; length as usize];
    reader.read_exact(&mut header).map_err(|error| Error::io(path, error))?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| broken(format!("its header is invalid: {error}")))?;
    let expected = LENGTH_FIELD as u64 + length + metadata.data_len() as u64;
    if expected != size {
        return Err(broken(format!("its header announces {expected} bytes, there are {size}")));
    }
    Ok(metadata)
}

/// Whether no element is NaN or infinite: an IEEE number is, when all bits of its exponent are set.
fn all_finite(dtype: Dtype, bytes: &[u8]) -> bool {
    let halves = |exponent: u16| {
        bytes.as_chunks().0.iter().all(|&bytes| u16::from_le_bytes(bytes) & exponent != exponent)
    };
    match dtype {
        Dtype::F16 => halves(0x7C00),
        Dtype::BF16 => halves(0x7F80),
        Dtype::F32 | Dtype::C64 => {
            bytes.as_chunks().0.iter().all(|&bytes| f32::from_le_bytes(bytes).is_finite())
        }
        Dtype::F64 => bytes.as_chunks().0.iter().all(|&bytes| f64::from_le_bytes(bytes).is_finite()),
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn tensor<'a>(name: &str, dtype: &'a str, shape: &[usize], bytes: &'a [u8]) -> TensorData<'a> {
        TensorData { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
    }

    fn strip(names: &[&str]) -> Result<Vec<String>> {
        strip_wrapper_names(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_written_is_what_the_library_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let floats: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensors = [
            tensor("flag", "BOOL", &[3], &[1, 0, 1]),
            tensor("b", "F32", &[2, 1], &floats),
            tensor("e", "I64", &[0, 4], &[]),
        ];
        write_safetensors(&path, &tensors).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.tensor("b").unwrap().data(), floats);
        assert_eq!(read.tensor("b").unwrap().shape(), [2, 1]);
        assert_eq!(read.tensor("flag").unwrap().data(), [1, 0, 1]);
        let summary = check_weights(&path).unwrap();
        assert_eq!(summary, WeightsSummary { tensors: 3, elements: 5, not_finite: vec![] });
        let reversed: Vec<_> = tensors.iter().rev().cloned().collect();
        write_safetensors(&path, &reversed).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn wrappers_leave_no_trace_in_names() {
        assert_eq!(strip(&["module._orig_mod.a.b", "module._orig_mod.c"]).unwrap(), ["a.b", "c"]);
        assert_eq!(strip(&["_orig_mod.module.a", "_orig_mod.module.b"]).unwrap(), ["a", "b"]);
        assert_eq!(strip(&["backbone._orig_mod.conv"]).unwrap(), ["backbone.conv"]);
        assert_eq!(strip(&["module.a", "head"]).unwrap(), ["module.a", "head"]);
        assert_eq!(strip(&["block.module.a"]).unwrap(), ["block.module.a"]);
        let error = strip(&["a._orig_mod.b", "a.b"]).unwrap_err().to_string();
        assert!(error.contains("would both be stored as \"a.b\""), "{error}");
        assert!(strip(&["_orig_mod"]).is_err());
    }

    #[test]
    fn bytes_that_do_not_match_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        for (bad, expected) in [
            (tensor("a", "F32", &[2], &[0; 4]), "4 bytes for F32 of shape [2]"),
            (tensor("a", "F128", &[1], &[0; 16]), "no dtype \"F128\""),
        ] {
            let error = write_safetensors(&path, &[bad]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn numbers_that_are_none_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let nan = f32::NAN.to_le_bytes();
        let infinity = f64::INFINITY.to_le_bytes();
        let tensors = [
            tensor("fine", "F16", &[1], &[0xFF, 0x7B]),
            tensor("half", "F16", &[1], &[0x00, 0x7C]),
            tensor("brain", "BF16", &[1], &[0x80, 0xFF]),
            tensor("single", "F32", &[1], &nan),
            tensor("double", "F64", &[1], &infinity),
            tensor("whole", "I32", &[1], &nan),
        ];
        write_safetensors(&path, &tensors).unwrap();
        assert_eq!(check_weights(&path).unwrap().not_finite, ["brain", "double", "half", "single"]);
    }

    #[test]
    fn a_broken_file_is_named_with_its_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_safetensors(&path, &[tensor("a", "U8", &[4], &[1, 2, 3, 4])]).unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut long = good.clone();
        long.push(0);
        let mut huge = good.clone();
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        for (bytes, expected) in [
            (&good[..good.len() - 1], "announces"),
            (&long[..], "announces"),
            (&good[..5], "no header"),
            (&huge[..], "does not fit"),
            (&b"\x02\0\0\0\0\0\0\0[]"[..], "invalid"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = check_weights(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("model.safetensors"), "{error}");
        }
        assert!(matches!(check_weights(&folder.path().join("none")), Err(Error::NotFound { .. })));
    }
}
