"""Demonstration data: enough to show that the pipeline learns, no benchmark of anything."""

from dfresearch.demo.audio import MINIMUM_SENTENCES, build_audio_demo
from dfresearch.demo.dataset import DemoReport
from dfresearch.demo.from_photographs import MINIMUM_PHOTOGRAPHS
from dfresearch.demo.image import build_image_demo
from dfresearch.demo.tools import ToolError
from dfresearch.demo.video import build_video_demo

__all__ = [
    "MINIMUM_PHOTOGRAPHS",
    "MINIMUM_SENTENCES",
    "DemoReport",
    "ToolError",
    "build_audio_demo",
    "build_image_demo",
    "build_video_demo",
]
