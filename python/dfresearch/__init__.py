"""Research toolkit for deepfake detectors: models, data, training and experiments."""
