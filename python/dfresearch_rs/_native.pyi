"""The extension module behind ``dfresearch_rs``."""

__version__: str
