"""What a server is told when it starts."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from lindos.assistant.talk import ANSWER_TOKENS, TEMPERATURE, TOP_P
from lindos.knowledge.embedding import EmbeddingsMissingError, embedding_files
from lindos.knowledge.streams import StreamError, parse_sources
from lindos.specs import Spec
from lindos.storage import data_directory

DEFAULT_PORT = 8420
_PORT = re.compile(r"(?<!:):\d+$")
Positive = Annotated[float, Field(gt=0)]


class Settings(Spec):
    """How the server listens, guards and answers. Refuses to listen beyond this machine without a key."""

    host: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = DEFAULT_PORT
    """0 takes any free one."""
    api_key: SecretStr | None = None
    """When set, requests to /v1 and /api must carry it (`Authorization: Bearer ...`); the page asks for it once."""
    data: Path = Field(default_factory=data_directory)
    """The folder that holds the database."""
    personas: Path | None = None
    """A folder of own personas; None: the user's."""
    follow: tuple[str, ...] = ()
    """Streams of posts that the server follows itself, named as `lindos posts follow` takes them."""
    meaning: bool = False
    """Whether posts are found by what they mean, too; wants the extra `lindos[embed]`."""

    allowed_hosts: tuple[str, ...] = ()
    """Further names this server may be called by, e.g. those of a reverse proxy on this machine."""
    body_limit: Annotated[int, Field(gt=0)] = 4 << 20
    """Largest request in bytes."""
    heartbeat_seconds: Positive = 15.0
    """How long a stream stays silent before it sends a comment, so that proxies keep it open."""
    linger_seconds: Annotated[float, Field(ge=0)] = 8.0
    """How long an answer on the page goes on when nobody watches it: a reload comes back within this time."""
    save_seconds: Positive = 0.5
    """How often a growing answer is saved."""

    temperature: Annotated[float, Field(ge=0, le=2)] = TEMPERATURE
    """Used where a request names none."""
    top_p: Annotated[float, Field(ge=0, le=1)] = TOP_P
    """Used on the page."""
    answer_tokens: Annotated[int, Field(gt=0)] = ANSWER_TOKENS
    """Longest answer on the page, in tokens; at most half the model's context."""

    @field_validator("follow")
    @classmethod
    def _known_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parse_sources(sources)
        except StreamError as error:
            raise ValueError(str(error)) from None
        return sources

    @field_validator("meaning")
    @classmethod
    def _installed(cls, meaning: bool) -> bool:
        if meaning:
            try:
                embedding_files()
            except EmbeddingsMissingError as error:
                raise ValueError(str(error)) from None
        return meaning

    @field_validator("allowed_hosts")
    @classmethod
    def _plain_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        """Names as they are compared: small letters, no port."""
        return tuple(host.lower().rpartition(":")[0] if _PORT.search(host) else host.lower() for host in hosts)

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.api_key is not None and not _usable(self.api_key.get_secret_value()):
            raise ValueError("the API key must be 8 to 512 visible ASCII characters without spaces")
        if not self.local and self.api_key is None:
            raise ValueError(
                f"listening on {self.host} lets others on the network use this server: "
                "set a key with --api-key or LINDOS_API_KEY, or listen on 127.0.0.1"
            )
        return self

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address always means this machine."""
    name = host.lower().strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _usable(key: str) -> bool:
    return 8 <= len(key) <= 512 and all(33 <= ord(c) < 127 for c in key)
