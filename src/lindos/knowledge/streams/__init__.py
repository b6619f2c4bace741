"""Streams of posts: one connector a source, all told apart by their names and followed in the same way.

A connector turns what a source says into changes of the store, with a place to go on from. It trusts nothing it reads.
"""

from lindos.knowledge.streams.backoff import Backoff
from lindos.knowledge.streams.files import JsonLines
from lindos.knowledge.streams.following import News, follow
from lindos.knowledge.streams.lines import exported
from lindos.knowledge.streams.sources import SOURCES, parse_source, parse_sources, place_of
from lindos.knowledge.streams.stream import Batch, Counters, Stream, StreamError

__all__ = [
    "SOURCES",
    "Backoff",
    "Batch",
    "Counters",
    "JsonLines",
    "News",
    "Stream",
    "StreamError",
    "exported",
    "follow",
    "parse_source",
    "parse_sources",
    "place_of",
]
