//! Endpoints and tokens, from the environment.

use std::path::PathBuf;

use super::Environment;
use crate::error::{Error, Result};
use crate::http;
use crate::optional_file::read_optional_file;

/// A variable that is set, without the white space around it; one that is empty counts as not set.
pub(super) fn text(environment: Environment<'_>, name: &'static str) -> Result<Option<String>> {
    let Some(value) = environment(name) else { return Ok(None) };
    let value = value.into_string().map_err(|_| Error::argument(name, "the variable is not UTF-8"))?;
    Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty()))
}

/// The first endpoint that is set, without a slash at its end.
pub(super) fn endpoint(environment: Environment<'_>, names: &[&'static str]) -> Result<Option<String>> {
    for name in names {
        if let Some(value) = text(environment, name)? {
            http::parse_address(&value).map_err(|error| Error::argument(name, error.to_string()))?;
            return Ok(Some(value.trim_end_matches('/').to_owned()));
        }
    }
    Ok(None)
}

/// A token that can stand in a header.
pub(super) fn token(environment: Environment<'_>, name: &'static str) -> Result<Option<String>> {
    text(environment, name)?.map(|value| checked(name, value)).transpose()
}

/// The token for the Hugging Face hub, where the official tools look for it.
pub(super) fn hugging_face_token(environment: Environment<'_>) -> Result<Option<String>> {
    if let Some(token) = token(environment, "HF_TOKEN")? {
        return Ok(Some(token));
    }
    let set = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // A file of settings has no shell that would do it.
    let folder = |name: &str| {
        let path = set(name)?;
        match (path.strip_prefix("~"), set("HOME")) {
            (Ok(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(path),
        }
    };
    let file = folder("HF_TOKEN_PATH")
        .or_else(|| Some(folder("HF_HOME")?.join("token")))
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface/token")))
        .or_else(|| Some(folder("HOME")?.join(".cache/huggingface/token")));
    let Some(file) = file else { return Ok(None) };
    let Some(content) = read_optional_file(&file)? else { return Ok(None) };
    let wrong = |reason: &str| Error::argument("HF_TOKEN", format!("{}: {reason}", file.display()));
    let content = String::from_utf8(content).map_err(|_| wrong("the token is not text"))?;
    match content.trim() {
        "" => Ok(None),
        token => checked("HF_TOKEN", token.to_owned()).map(Some).map_err(|_| wrong("not one token")),
    }
}

/// # Errors
/// [`Error::Argument`], which does not repeat the token.
fn checked(name: &'static str, token: String) -> Result<String> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(token)
    } else {
        Err(Error::argument(name, "a token is one word of ASCII letters, digits and signs"))
    }
}
