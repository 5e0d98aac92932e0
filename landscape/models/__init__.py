"""Flax modules and what they are made of: classifiers that can be cut at any layer, and the convolution they use."""
