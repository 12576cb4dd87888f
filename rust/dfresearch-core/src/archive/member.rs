//! Which members of a zip or tar archive are media.

use super::{Selection, SkipReason};
use crate::store::media_extensions;

/// What is done with a member of this name.
pub(super) enum Verdict {
    /// It is read.
    Take,
    /// Nobody asked for it.
    Ignore,
    /// It is counted.
    Skip(SkipReason),
}

/// Judges a regular file by its name.
pub(super) fn judge(name: &str, selection: &Selection<'_>) -> Verdict {
    let plain = name.strip_prefix("./").unwrap_or(name);
    let contains_one = |parts: &[String]| parts.iter().any(|part| name.contains(part.as_str()));
    let is_named = |members: &std::collections::HashSet<String>| {
        members.contains(name) || members.contains(plain) || members.contains(&format!("./{plain}"))
    };
    if selection.members.is_some_and(|members| !is_named(members))
        || selection.include_members.is_some_and(|parts| !contains_one(parts))
        || selection.exclude_members.is_some_and(contains_one)
    {
        return Verdict::Ignore;
    }
    if leads_outside(name) {
        return Verdict::Skip(SkipReason::PathOutside);
    }
    if plain.split('/').any(|part| part == "__MACOSX") || file_name(plain).starts_with('.') {
        return Verdict::Skip(SkipReason::Hidden);
    }
    let extension = file_name(plain).rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension {
        Some(extension) if media_extensions(selection.modality).contains(&extension.as_str()) => {
            Verdict::Take
        }
        _ => Verdict::Skip(SkipReason::NotMedium),
    }
}

fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Whether a name, taken as a path on any system, would leave the folder that it is unpacked into.
fn leads_outside(name: &str) -> bool {
    let has_drive = matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    name.starts_with('/')
        || has_drive
        || name.contains(['\\', '\0'])
        || name.split('/').any(|part| part == "..")
}

/// A member's name as text: UTF-8, or one character a byte for names of older archives, so that different names stay
/// different.
pub(super) fn text_of(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(name) => name.to_owned(),
        Err(_) => name.iter().copied().map(char::from).collect(),
    }
}
