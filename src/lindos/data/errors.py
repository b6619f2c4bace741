"""The one error of this room."""

from lindos.specs import LindosError


class DataError(LindosError):
    """Text or shards that cannot be used; names the file, the line where there is one, and what to do."""
