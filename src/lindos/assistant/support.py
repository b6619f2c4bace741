"""Support: whether the posts an answer may cite, or the register, carry what a sentence says, and which of them do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lindos.assistant.basis import Source
from lindos.assistant.evidence import carries, needs_support
from lindos.assistant.marks import without_links
from lindos.assistant.moments import carried_by_register
from lindos.assistant.settlement import Scene
from lindos.assistant.settlement.together import together


class Support:
    """What sentences of one answer may rest on. The addresses in them are looked at elsewhere (see marks.py)."""

    def __init__(self, scene: Scene, sources: Sequence[Source]) -> None:
        self._scene = scene
        self._sources = sources

    def missing(self, text: str, numbers: Sequence[int]) -> Literal["unsupported", "unknown_citation"] | None:
        """Why a sentence that cites `numbers` is not supported; None: it is, or says nothing that has to be."""
        text = without_links(text, ())
        unknown = any(not 0 < number <= len(self._sources) for number in numbers)
        if not needs_support(text, self._scene.cast):
            # What it says cannot be counted: that it is somebody's is all that is known, where there is somebody.
            return "unknown_citation" if unknown and self._sources and not self._own(numbers) else None
        if self._in_register(text) or self._carriers(text, numbers):
            return None
        return "unknown_citation" if unknown else "unsupported"

    def cited(self, text: str, numbers: Sequence[int]) -> list[Source]:
        """The sources of a sentence: those that carry it, else those it cites itself."""
        text = without_links(text, ())
        found = self._carriers(text, numbers) if needs_support(text, self._scene.cast) else []
        return found or self._own(numbers)

    def carries(self, text: str, more: str) -> bool:
        """Whether the sources together with `more` have every name and number of a text."""
        text = without_links(text, ())
        if not needs_support(text, self._scene.cast) or self._in_register(text):
            return True
        all_of_it = "\n".join([more, *(source.text for source in self._sources)])
        return carries(all_of_it, text, self._scene.cast)

    def _own(self, numbers: Sequence[int]) -> list[Source]:
        known = dict.fromkeys(number for number in numbers if 0 < number <= len(self._sources))
        return [self._sources[number - 1] for number in known]

    def _in_register(self, text: str) -> bool:
        scene = self._scene
        near = scene.standings if scene.mode == "strict" else together(scene.standings).near(text)
        return any(carried_by_register(standing, text, scene.cast, scene.now) for standing in near)

    def _carriers(self, text: str, numbers: Sequence[int]) -> list[Source]:
        """The sources that carry a sentence: of those it cites, else of all."""
        cast, cited = self._scene.cast, self._own(numbers)
        found = [source for source in cited if carries(source.text, text, cast)]
        if found:
            return found
        if len(cited) > 1 and carries("\n".join(source.text for source in cited), text, cast):
            return cited
        return [source for source in self._sources if carries(source.text, text, cast)][:1]
