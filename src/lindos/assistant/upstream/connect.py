"""One model from one address or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lindos.assistant.model import ChatModel, Loading
from lindos.assistant.replicas import Replicas
from lindos.assistant.upstream.model import UpstreamChatModel
from lindos.assistant.upstream.options import UpstreamOptions
from lindos.specs import SpecError


def connect(upstreams: Sequence[UpstreamOptions], *, on_progress: Callable[[Loading], None] | None = None) -> ChatModel:
    """Begin to ask for the upstreams and return at once: one as it is, several as the Replicas of one model.

    Raises SpecError when there is none, or one is named twice.
    """
    urls = [options.url for options in upstreams]
    if not urls:
        raise SpecError("name at least one upstream")
    if len(set(urls)) < len(urls):
        raise SpecError(f"an upstream is named twice: {', '.join(urls)}")
    if len(upstreams) == 1:
        return UpstreamChatModel.start(upstreams[0], on_progress=on_progress)
    # A request that did not begin goes to another replica at once, instead of being tried again at the same one.
    alike = [options.model_copy(update={"retries": 0}) for options in upstreams]
    models = [UpstreamChatModel.start(options, on_progress=on_progress) for options in alike]
    return Replicas(models, labels=urls)
