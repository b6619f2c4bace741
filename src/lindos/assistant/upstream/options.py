"""Where an upstream is, how it is spoken to, and how long it is waited for."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from lindos.assistant.upstream.dialect import Kind
from lindos.specs import Spec, SpecError

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class UpstreamOptions(Spec):
    """One server that speaks OpenAI's API."""

    url: str
    """Its base address, `https://api.example.com/v1` say; without a path, `/v1` is meant."""
    model: str | None = None
    """The model's name there; None: the one it lists."""
    kind: Kind = "openai"
    key: SecretStr | None = None
    """Goes as `Authorization: Bearer`; never logged, shown, or sent to where a redirect points."""
    context: Count | None = None
    """Longest prompt and answer together, in tokens; None: what the server tells."""
    max_requests: Count = 256
    """Requests under way at a time; one more is QueueFull."""

    connect_seconds: Seconds = 10.0
    first_token_seconds: Seconds = 300.0
    """From sending a request to its first token, the upstream's queue included."""
    between_tokens_seconds: Seconds = 60.0
    total_seconds: Seconds = 3600.0
    accept_seconds: Seconds = 10.0
    """How long `submit` waits to hear whether the request is taken; later refusals are raised by the answer."""

    retries: Annotated[int, Field(ge=0)] = 3
    """How often a request that has not begun is tried again here."""
    backoff_seconds: Seconds = 0.5
    """Before the first of these; doubled for each further one, a random part taken off."""
    retry_after_seconds: Seconds = 20.0
    """An upstream that wants to be left alone for longer is called full at once."""
    probe_seconds: Seconds = 10.0
    """How often one that says nothing is asked whether it is still there."""

    max_answer_bytes: Count = 32 << 20
    """Longest answer, as it comes over the wire; a longer one is broken off."""

    @field_validator("url")
    @classmethod
    def _usable(cls, url: str) -> str:
        try:
            parts = urlsplit(url.strip())
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise ValueError(f"'{url}' is no address: give one like http://127.0.0.1:8000/v1") from None
        if not usable or any(c.isspace() or ord(c) < 33 for c in url.strip()):
            raise ValueError(f"'{url}' is no address: give one like http://127.0.0.1:8000/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("an address carries no user and password: name the key's variable (--upstream-key-env)")
        if parts.query or parts.fragment:
            raise ValueError(f"'{url}' has a query or fragment, which the address of an API does not")
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"

    @field_validator("key")
    @classmethod
    def _one_line(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value() if key is not None else "x"
        if not text or not all(33 <= ord(c) < 127 for c in text):
            raise ValueError("an API key is visible ASCII without spaces")
        return key

    @property
    def root(self) -> str:
        """Its address without a path."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def local(self) -> bool:
        """Whether it is on this machine, where no proxy is asked."""
        host = (urlsplit(self.url).hostname or "").lower()
        return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")


def key_from(variable: str) -> SecretStr:
    """The API key in an environment variable. Raises SpecError when it is not set."""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise SpecError(f"the environment has no variable {variable}, which should hold the upstream's API key; set it")
    return SecretStr(value)
