"""The exceptions of dfresearch: each message names the file, sample or argument, what is wrong, and what to do.

A file that does not exist raises Python's own ``FileNotFoundError``, and what the operating
system refuses raises its own ``OSError``.
"""

__all__ = [
    "ArgumentError",
    "AugmentError",
    "CacheIndexError",
    "DecodeError",
    "DefinitionError",
    "DfresearchError",
    "FetchError",
    "InternalError",
    "LoaderError",
    "SubmissionError",
]


class DfresearchError(Exception):
    """The base of every error that dfresearch raises by itself."""


class ArgumentError(DfresearchError, ValueError):
    """An argument is outside of what the call accepts."""


class AugmentError(DfresearchError, ValueError):
    """An augmentation is not defined as it must be, or it failed on an image; the message names the operation."""


class DecodeError(DfresearchError, ValueError):
    """A media file was read, but its content is truncated, corrupt, too large or of an unknown format."""


class DefinitionError(DfresearchError, ValueError):
    """A dataset definition or a manifest is not valid; the message starts with ``file:line``."""


class CacheIndexError(DfresearchError):
    """The index of a cache folder cannot be opened, read or written."""


class FetchError(DfresearchError, RuntimeError):
    """Something could not be fetched; the message starts with its address or name."""


class SubmissionError(DfresearchError, ValueError):
    """A submission is not one that the competition would accept."""


class LoaderError(DfresearchError, RuntimeError):
    """A loader cannot go on."""


class InternalError(DfresearchError, RuntimeError):
    """A defect of dfresearch itself; the message says where it was caught."""
