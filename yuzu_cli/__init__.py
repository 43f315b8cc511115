"""Exact in-silico saturation mutagenesis of sequence models, fast, from one command line."""

__version__ = "0.1.0"
