"""Demonstration data: enough to show that the pipeline learns, no benchmark of anything."""

from dfresearch.demo.image import MINIMUM_PHOTOGRAPHS, DemoReport, build_image_demo

__all__ = ["MINIMUM_PHOTOGRAPHS", "DemoReport", "build_image_demo"]
