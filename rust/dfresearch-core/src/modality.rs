//! The words that everything else is about: modality, media type and label.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What kind of media a model judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Still images.
    Image,
    /// Video clips, without their sound.
    Video,
    /// Sound recordings.
    Audio,
}

impl Modality {
    /// All modalities, in the order in which they are listed to people.
    pub const ALL: [Self; 3] = [Self::Image, Self::Video, Self::Audio];

    /// The lower-case name used in definitions, folders and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Modality {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|modality| modality.name() == name)
            .ok_or_else(|| Error::argument("modality", format!("{name:?} is none of image, video, audio")))
    }
}

/// Where the media of a dataset come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaType {
    /// Recorded by a camera or a microphone.
    Real,
    /// Made by a generator.
    Synthetic,
    /// Recorded and then altered by a generator.
    Semisynthetic,
}

impl MediaType {
    /// All media types.
    pub const ALL: [Self; 3] = [Self::Real, Self::Synthetic, Self::Semisynthetic];

    /// The lower-case name used in definitions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Synthetic => "synthetic",
            Self::Semisynthetic => "semisynthetic",
        }
    }

    /// The class that the competition scores: everything a generator touched is synthetic.
    pub fn label(self) -> Label {
        match self {
            Self::Real => Label::Real,
            Self::Synthetic | Self::Semisynthetic => Label::Synthetic,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for MediaType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|media_type| media_type.name() == name).ok_or_else(|| {
            Error::argument("media_type", format!("{name:?} is none of real, synthetic, semisynthetic"))
        })
    }
}

/// The class of a sample, as the competition numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i64)]
pub enum Label {
    /// 0: recorded.
    Real = 0,
    /// 1: made or altered by a generator.
    Synthetic = 1,
}

impl Label {
    /// The number that stands in label tensors.
    pub fn index(self) -> i64 {
        self as i64
    }
}

impl TryFrom<i64> for Label {
    type Error = Error;

    fn try_from(index: i64) -> Result<Self> {
        match index {
            0 => Ok(Self::Real),
            1 => Ok(Self::Synthetic),
            _ => Err(Error::argument("label", format!("{index} is neither 0 (real) nor 1 (synthetic)"))),
        }
    }
}
