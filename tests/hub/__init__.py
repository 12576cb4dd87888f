"""Local servers that datasets are fetched from in tests."""

from .exchange import Exchange, Record
from .huggingface import HuggingFaceHub
from .modelscope import ModelScopeHub
from .repository import Commit, Content, Repository

__all__ = ["Commit", "Content", "Exchange", "HuggingFaceHub", "ModelScopeHub", "Record", "Repository"]
