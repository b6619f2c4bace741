"""Looking at an answer again: without what was taken back since, marked where the world has moved on."""

from __future__ import annotations

from lindos.assistant.basis import Basis, Citation, Standing
from lindos.assistant.settlement import Events, changed
from lindos.knowledge import Posts

GONE = {"en": "[deleted]", "fr": "[supprimé]"}


async def look_back(text: str, basis: Basis, posts: Posts | None, events: Events | None) -> Standing:
    """A stored answer as it may be shown now; see basis.Standing."""
    kept = await posts.get([source.uri for source in basis.sources]) if posts is not None and basis.sources else {}
    deleted = {uri for uri, post in kept.items() if post.deleted_at is not None}
    edited = tuple(
        source.uri
        for source in basis.sources
        if source.uri in kept and source.uri not in deleted and kept[source.uri].text != source.text
    )
    text, citations = _without(text, basis.citations, deleted, GONE.get(basis.language, GONE["en"]))
    sources = tuple(
        source.model_copy(update={"text": "", "url": ""}) if source.uri in deleted else source
        for source in basis.sources
    )
    # What was cut may have a post's words; which post's, nobody knows any more.
    cut = tuple(one.model_copy(update={"text": ""}) for one in basis.cut) if deleted else basis.cut
    now = await events.standings([event.id for event in basis.events]) if events is not None and basis.events else {}
    stale = tuple(event.title for event in basis.events if changed(event, now))
    return Standing(
        text=text,
        stale=stale,
        deleted=tuple(source.uri for source in basis.sources if source.uri in deleted),
        edited=edited,
        basis=basis.model_copy(update={"citations": citations, "sources": sources, "cut": cut}),
    )


def _without(
    text: str, citations: tuple[Citation, ...], deleted: set[str], mark: str
) -> tuple[str, tuple[Citation, ...]]:
    """The text without the stretches that rest on deleted posts alone, and the citations that are left, moved along."""
    stretches: dict[tuple[int, int], list[Citation]] = {}
    for citation in citations:
        stretches.setdefault((citation.start, citation.end), []).append(citation)
    gone = [place for place, cited in stretches.items() if all(c.uri in deleted for c in cited)]
    for start, end in sorted(_outermost(gone), reverse=True):
        text = text[:start] + mark + text[end:]
    holes = _outermost(gone)
    left = []
    for citation in citations:
        if citation.uri in deleted or any(a < citation.end and citation.start < b for a, b in holes):
            continue
        shift = sum(len(mark) - (b - a) for a, b in holes if b <= citation.start)
        left.append(citation.model_copy(update={"start": citation.start + shift, "end": citation.end + shift}))
    return text, tuple(left)


def _outermost(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places as stretches that do not overlap."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
