"""Audio detectors, one self-contained file each: the file is also the submission's `model.py`."""
