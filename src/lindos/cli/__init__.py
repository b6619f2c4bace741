"""The command line: one file a verb, heavy rooms imported only by the verb that needs them."""

from lindos.cli.main import main

__all__ = ["main"]
