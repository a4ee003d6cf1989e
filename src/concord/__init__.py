"""Concord: find out which way of aligning a language model works on your data, and do it."""

__version__ = "0.1.0"
