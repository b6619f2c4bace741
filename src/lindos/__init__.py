"""Lindos plans, trains, serves and talks to Grok-class mixture-of-experts language models."""

__version__ = "0.1.0"
