"""Tools that requests offer: functions of the caller's, and the search for posts. Chats nest them, responses do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema

from lindos.assistant import Grammar, RequestError, SearchWish
from lindos.assistant.arguments import check_schema
from lindos.assistant.functions import Function, calls_grammar
from lindos.server.errors import ApiError
from lindos.server.strict import NEUTRAL, Strict
from lindos.server.v1.messages import FunctionName
from lindos.server.v1.values import No

MAX_TOOLS = 128
MAX_HANDLES = 64
Handle = Annotated[str, Field(min_length=1, max_length=256)]
Handles = Annotated[list[Handle], Field(max_length=MAX_HANDLES)]
SEARCHES = ("x_search", "post_search")


def _is_day(value: str) -> str:
    if len(value) != 10:
        raise ValueError("is a day such as 2026-11-03")
    date.fromisoformat(value)
    return value


Day = Annotated[str, AfterValidator(_is_day), WithJsonSchema({"type": "string", "format": "date"})]


class FunctionShape(Strict):
    """A function on offer."""

    name: FunctionName
    description: Annotated[str, Field(max_length=8192)] | None = None
    parameters: dict[str, Any] | None = None
    """A JSON schema of an object."""
    strict: bool | None = None
    """Whether arguments that do not fit the schema make a call none."""

    def function(self) -> Function:
        return Function(self.name, self.description or "", self.parameters, bool(self.strict))


class ChatFunction(Strict):
    """A function on offer, as chats have it."""

    type: Literal["function"]
    function: FunctionShape

    def offered(self) -> Function:
        return self.function.function()


class FlatFunction(FunctionShape):
    """A function on offer, as responses have it."""

    type: Literal["function"]

    def offered(self) -> Function:
        return self.function()


class SearchTool(Strict):
    """The search for posts, under xAI's name or our own, with xAI's arguments. Only the assistant has it."""

    type: Literal["x_search", "post_search"]
    from_date: Day | None = None
    """The first day in UTC, by when posts were seen here."""
    to_date: Day | None = None
    """The last day."""
    allowed_x_handles: Handles | None = None
    """Posts of these authors only: handles, with or without @, or domains."""
    excluded_x_handles: Handles | None = None
    enable_image_understanding: Annotated[No | None, NEUTRAL] = None
    enable_video_understanding: Annotated[No | None, NEUTRAL] = None

    def wish(self, mode: str, param: str) -> SearchWish:
        """As the assistant has it. Raises ApiError when it contradicts itself."""
        if self.allowed_x_handles and self.excluded_x_handles:
            words = "a search has either allowed_x_handles or excluded_x_handles"
            raise ApiError(400, words, param=f"{param}.excluded_x_handles")
        since = _midnight(date.fromisoformat(self.from_date)) if self.from_date else None
        until = _midnight(date.fromisoformat(self.to_date), 1) if self.to_date else None
        if since and until and until <= since:
            raise ApiError(400, "to_date is before from_date", param=f"{param}.to_date")
        return SearchWish(
            mode=mode,
            since=since,
            until=until,
            authors=tuple(self.allowed_x_handles or ()),
            excluded_authors=tuple(self.excluded_x_handles or ()),
        )


def _midnight(day: date, later: int = 0) -> datetime | None:
    """The beginning of a day, or of one later; None beyond the calendar."""
    try:
        return datetime.combine(day + timedelta(days=later), time(), UTC)
    except OverflowError:
        return None


def _kind(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else None


def _tool_tag(value: Any) -> str | None:
    kind = _kind(value)
    return "Function" if kind == "function" else "SearchTool" if kind in SEARCHES else None


_TOOLS = Discriminator(
    _tool_tag,
    custom_error_type="unsupported_parameter",
    custom_error_message="this server has tools of the types 'function', 'x_search' and 'post_search'",
)
_Search = Annotated[SearchTool, Tag("SearchTool")]
ChatTool = Annotated[Annotated[ChatFunction, Tag("Function")] | _Search, _TOOLS]
ResponseTool = Annotated[Annotated[FlatFunction, Tag("Function")] | _Search, _TOOLS]


class NamedFunction(Strict):
    name: FunctionName


class ChatFunctionChoice(Strict):
    """That one function is to be called."""

    type: Literal["function"]
    function: NamedFunction

    @property
    def name(self) -> str:
        return self.function.name


class FlatFunctionChoice(NamedFunction):
    """That one function is to be called."""

    type: Literal["function"]


class SearchChoice(Strict):
    """That posts are to be searched."""

    type: Literal["x_search", "post_search"]


Way = Literal["none", "auto", "required"]


def _choice_tag(value: Any) -> str | None:
    return "Way" if isinstance(value, str) else _tool_tag(value)


_CHOICES = Discriminator(
    _choice_tag,
    custom_error_type="unsupported_parameter",
    custom_error_message="tool_choice is 'none', 'auto', 'required', or an object that names a function or a search",
)
_Ways = Annotated[Way, Tag("Way")]
_Searching = Annotated[SearchChoice, Tag("SearchTool")]
ChatToolChoice = Annotated[_Ways | Annotated[ChatFunctionChoice, Tag("Function")] | _Searching, _CHOICES]
ResponseToolChoice = Annotated[_Ways | Annotated[FlatFunctionChoice, Tag("Function")] | _Searching, _CHOICES]


def search_of(tools: Sequence[ChatFunction | FlatFunction | SearchTool] | None) -> str | None:
    """Where among the tools the first search for posts is, as an error names it."""
    return next((f"tools.{n}" for n, tool in enumerate(tools or ()) if isinstance(tool, SearchTool)), None)


@dataclass(frozen=True)
class Offer:
    """What one answer may use."""

    functions: tuple[Function, ...] = ()
    """Those the model is told of."""
    forced: tuple[Function, ...] = ()
    """One of these is to be called, whatever the model would rather say; none: it decides."""
    several: bool = True
    """Whether it may make more than one call."""
    search: SearchWish = field(default_factory=SearchWish)

    def grammar(self, wanted: Grammar | None, param: str) -> Grammar | None:
        """What holds the answer to its calls, and otherwise to the format `wanted`. Raises RequestError.

        `param` is what the request calls that format.
        """
        if self.forced:
            return calls_grammar(self.forced, several=self.several)
        if wanted is None or not self.functions:
            return wanted
        if wanted.kind != "json_schema":
            words = "beside functions an answer's format is a JSON schema or json_object: leave one of them out"
            raise RequestError(words, param=param)
        return calls_grammar(self.functions, several=self.several, otherwise=wanted.text)


def offer_of(
    tools: Sequence[ChatFunction | FlatFunction | SearchTool] | None, choice: Any, parallel: bool | None
) -> Offer:
    """What `tools`, `tool_choice` and `parallel_tool_calls` come to. Raises ApiError."""
    functions = tuple(tool.offered() for tool in tools or () if not isinstance(tool, SearchTool))
    searches = [(n, tool) for n, tool in enumerate(tools or ()) if isinstance(tool, SearchTool)]
    names = [function.name for function in functions]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ApiError(400, f"there are two functions '{twice}': their names have to differ", param="tools")
    if len(searches) > 1:
        raise ApiError(400, "one search for posts is enough", param=f"tools.{searches[1][0]}")
    forced: tuple[Function, ...] = ()
    mode = "auto"
    if choice == "none":
        functions, mode = (), "off" if searches else "auto"
    elif choice == "required":
        if not functions and not searches:
            raise ApiError(400, "tool_choice 'required' wants tools", param="tool_choice")
        forced, mode = functions, "on" if not functions else "auto"
    elif isinstance(choice, SearchChoice):
        if not searches:
            raise ApiError(400, f"tool_choice names '{choice.type}', which is not among the tools", param="tool_choice")
        mode = "on"
    elif choice not in (None, "auto"):
        forced = tuple(function for function in functions if function.name == choice.name)
        if not forced:
            words = f"tool_choice names the function '{choice.name}', which is not among the tools"
            raise ApiError(400, words, param="tool_choice")
    if not forced:
        for number, tool in enumerate(tools or ()):
            if not isinstance(tool, SearchTool) and tool.offered().strict and choice != "none":
                check_schema(tool.offered().schema, f"tools.{number}")
    wish = searches[0][1].wish(mode, f"tools.{searches[0][0]}") if searches else SearchWish(mode=mode)
    return Offer(functions, forced, parallel is not False, wish)
