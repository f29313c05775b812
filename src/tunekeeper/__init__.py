"""Tunekeeper keeps fine-tuned models accurate, current and reliable."""

__version__ = "0.1.0"
