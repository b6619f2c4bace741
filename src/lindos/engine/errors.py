"""What can go wrong with an engine, as its callers see it. Torch-free."""

from __future__ import annotations

from lindos.specs import LindosError


class EngineError(LindosError):
    """The engine could not start, or could not finish a request; the text says why."""


class QueueFull(EngineError):  # noqa: N818 - callers read it as a state to answer with "try again", not as a fault
    """The engine holds as many requests as it accepts; try again later."""


class RequestError(EngineError):
    """A request that cannot be served as asked: prompt too long, a parameter out of range, no chat template."""

    def __init__(self, message: str, *, param: str | None = None, too_long: bool = False) -> None:
        super().__init__(message)
        self.param = param
        """The parameter that is at fault, where one is."""
        self.too_long = too_long
        """Whether it would do with a shorter prompt."""


class EngineDied(EngineError):  # noqa: N818 - it reports what happened to the process
    """The engine's process ended while requests were pending, or before it was asked."""
