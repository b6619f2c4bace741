"""The HTTP server: the OpenAI-shaped API under `/v1`, the page and its API, health.

The model runs behind `ChatModel` in another process, so this one never imports torch. Nothing here decides what an
answer says.
"""

from lindos.server.app import create_app
from lindos.server.run import ServerError, listen, serve
from lindos.server.settings import Settings

__all__ = ["ServerError", "Settings", "create_app", "listen", "serve"]
