"""The API under `/v1`, in the shapes of OpenAI's: responses, chat completions, completions, models."""

from lindos.server.v1.chat import router as chat
from lindos.server.v1.completions import router as completions
from lindos.server.v1.events import router as events
from lindos.server.v1.models import router as models
from lindos.server.v1.responses import router as responses

__all__ = ["chat", "completions", "events", "models", "responses"]
