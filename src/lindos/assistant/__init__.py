"""The assistant: its personas, and `ChatModel`, the one door to any model that answers.

Torch-free: the model runs in the engine's process. Nothing here knows HTTP or pages.
"""

from lindos.assistant.answer import AssistantAnswer
from lindos.assistant.ask import Ask, SearchWish
from lindos.assistant.assistant import Assistant
from lindos.assistant.basis import Basis, Citation, Cut, EventBasis, EventState, Form, Source, Standing
from lindos.assistant.bundled import bundled_model, find_model
from lindos.assistant.engine_model import EngineChatModel
from lindos.assistant.model import (
    Answer,
    ChatModel,
    Chunk,
    EngineDied,
    EngineError,
    EngineOptions,
    Grammar,
    Loading,
    ModelInfo,
    QueueFull,
    RequestError,
    Sampling,
    Stats,
    TokenLogprob,
    Usage,
    writes_itself,
)
from lindos.assistant.persona import DEFAULT_PERSONA, Persona, personas
from lindos.assistant.policy import Policy, Verdict
from lindos.assistant.policy_report import Report, check_policy
from lindos.assistant.replicas import Replicas
from lindos.assistant.settlement import Event, Events
from lindos.assistant.talk import chat_sampling, told
from lindos.assistant.upstream import UpstreamChatModel, UpstreamOptions, connect, key_from

__all__ = [
    "DEFAULT_PERSONA",
    "Answer",
    "Ask",
    "Assistant",
    "AssistantAnswer",
    "Basis",
    "ChatModel",
    "Chunk",
    "Citation",
    "Cut",
    "EngineChatModel",
    "EngineDied",
    "EngineError",
    "EngineOptions",
    "Event",
    "EventBasis",
    "EventState",
    "Events",
    "Form",
    "Grammar",
    "Loading",
    "ModelInfo",
    "Persona",
    "Policy",
    "QueueFull",
    "Replicas",
    "Report",
    "RequestError",
    "Sampling",
    "SearchWish",
    "Source",
    "Standing",
    "Stats",
    "TokenLogprob",
    "UpstreamChatModel",
    "UpstreamOptions",
    "Usage",
    "Verdict",
    "bundled_model",
    "chat_sampling",
    "check_policy",
    "connect",
    "find_model",
    "key_from",
    "personas",
    "told",
    "writes_itself",
]
