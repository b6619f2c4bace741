"""The assistant: a model's answers, tied to posts and to what is settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from lindos.assistant.admitted import Admission
from lindos.assistant.answer import AssistantAnswer, citations_of
from lindos.assistant.ask import Ask
from lindos.assistant.basis import Basis, Form
from lindos.assistant.basis import Standing as AnswerStanding
from lindos.assistant.briefing import briefed
from lindos.assistant.calls import offered_in
from lindos.assistant.composed import tell_posts
from lindos.assistant.evidence import source_of, sources_of_events
from lindos.assistant.gate import Gate, Rules, WholeGate
from lindos.assistant.looking_back import look_back
from lindos.assistant.model import ChatModel, writes_itself
from lindos.assistant.persona import DEFAULT_LANGUAGE, Persona
from lindos.assistant.policy import Policy
from lindos.assistant.settlement import Events, Scene, Topic, is_yes_no, passes, topic_of
from lindos.assistant.settlement.event import RECENT
from lindos.assistant.settlement.names import masked
from lindos.assistant.settlement.question import asks_of_the_world, names_in_question, tells_of
from lindos.assistant.settlement.standing import Standing
from lindos.assistant.settlement.wording import Told, tell, tell_undeclared
from lindos.assistant.subject import speaking_of, subject_of
from lindos.knowledge import Post, PostQuery, Posts

PARTING = "\n\n"
LATEST = 8
"""Posts that are looked at for what is going on."""
APOLOGY = {"en": "I held back what I cannot confirm.", "fr": "J'ai retenu ce que je ne peux pas confirmer."}
"""Said where nothing of an answer passed the gate."""


class Assistant:
    """Answers for a ChatModel, over the posts and events at hand.

    Whatever the model writes passes the gate. Of events it is asked about, the assistant itself says first how they
    stand; models too small to write about the world say nothing more, larger ones go on from there.
    """

    def __init__(
        self,
        model: ChatModel,
        personas: Mapping[str, Persona],
        posts: Posts | None = None,
        events: Events | None = None,
        *,
        policy: Policy | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.model = model
        self.events = events
        self.posts = posts
        self._personas = personas
        self._policy = policy or Policy.load()
        self._admission = Admission(self._policy)
        self._clock = clock

    async def answer(self, ask: Ask) -> AssistantAnswer:
        """Begin an answer. Raises as ChatModel.submit does."""
        now = self._clock()
        standings = await self._standings()
        ask = replace(ask, messages=await self._admission.admitted(ask.messages))
        topic = topic_of(ask.question, standings, now, ask.earlier)
        language = ask.language or ("fr" if topic.language == "fr" else "en")
        verdict = self._admission.verdict(ask.question, language)
        if verdict is not None:
            basis = Basis(language=language, refused=f"{verdict.rule} ({verdict.version})")
            return AssistantAnswer(basis, Told(verdict.text))
        topic = await self._undeclared(topic, ask.question, now)
        if topic.wants_outcome:
            return await self._on_events(ask, topic, standings, now, language)
        found = await self._search(ask, topic, now)
        if found is not None:
            return await self._on_posts(ask, topic, standings, found, now, language)
        rules = Rules(_scene(topic, standings, now, ask.question), fiction=topic.intent == "fiction")
        return await self._written(ask, Basis(language=language), Told(), rules)

    async def standing(self, text: str, basis: Basis) -> AnswerStanding:
        """A stored answer as it may be shown now: without what was deleted since, marked where events moved on."""
        return await look_back(text, basis, self.posts, self.events)

    async def _standings(self) -> list[Standing]:
        return list((await self.events.standings()).values()) if self.events is not None else []

    # What answers are about.

    async def _undeclared(self, topic: Topic, question: str, now: datetime) -> Topic:
        """The topic; one of an outcome where posts of these days tell how came out what it asks about."""
        names = names_in_question(topic, question)
        if not names or self.posts is None:
            return topic
        hits = await self.posts.search(PostQuery(text=" ".join(names), since=now - RECENT, until=now, limit=LATEST))
        if any(tells_of(hit.post.text, names) for hit in hits):
            return replace(topic, intent="outcome", kind=topic.kind or "election")
        return topic

    async def _on_events(
        self, ask: Ask, topic: Topic, standings: list[Standing], now: datetime, language: str
    ) -> AssistantAnswer:
        told = Told()
        for number, standing in enumerate(topic.standings):
            told.append((PARTING if number else ""), tell(standing, now, language))
        if not topic.standings:
            told.append("", tell_undeclared(now, language))
        sources = tuple(sources_of_events(topic.standings))
        basis = Basis(
            form=_form(topic.standings),
            as_of=now,
            language=language,
            events=tuple(standing.basis for standing in topic.standings),
            sources=sources,
        )
        if not writes_itself(self.model.info):
            return AssistantAnswer(basis, told)
        rules = Rules(_scene(topic, standings, now, ask.question), sources, supported=True)
        sober = replace(ask, persona="regular") if "regular" in self._personas else ask
        return await self._written(sober, basis, told, rules)

    async def _on_posts(
        self, ask: Ask, topic: Topic, standings: list[Standing], found: list[Post], now: datetime, language: str
    ) -> AssistantAnswer:
        scene = _scene(topic, standings, now, ask.question)
        found = [post for post in found if passes(post.text, scene)]
        basis = Basis(as_of=now, language=language, sources=tuple(source_of(post) for post in found))
        if not writes_itself(self.model.info):
            return AssistantAnswer(basis, tell_posts(found, now, language))
        return await self._written(ask, basis, Told(), Rules(scene, basis.sources, supported=bool(found)))

    async def _search(self, ask: Ask, topic: Topic, now: datetime) -> list[Post] | None:
        """The posts for a question about the world; None where it is about something else."""
        wish = ask.search
        if self.posts is None or wish.mode == "off":
            return None
        if wish.mode == "auto" and (topic.intent in ("fiction", "translation") or not asks_of_the_world(ask.question)):
            return None
        if wish.mode == "auto" and not await self.posts.count():
            return None  # a store without posts is none: the model answers as it can
        subject = subject_of(ask.question)
        query = PostQuery(
            text=subject,
            meaning=ask.question,
            since=wish.since,
            until=wish.until or now,
            authors=wish.authors,
            excluded_authors=wish.excluded_authors,
            limit=wish.limit,
        )
        return speaking_of([hit.post for hit in await self.posts.search(query)], subject)

    # What the model writes.

    async def _written(self, ask: Ask, basis: Basis, told: Told, rules: Rules) -> AssistantAnswer:
        rules = replace(
            rules,
            apology=APOLOGY.get(basis.language, APOLOGY["en"]),
            refuses=partial(self._refuses, language=basis.language),
            may_begin=self._policy.may_begin,
            calls=offered_in(ask.messages),
            asked="\n".join((*ask.earlier, ask.question)),
        )
        if ask.sampling is not None and ask.sampling.grammar is not None:
            return await self._formed(ask, basis, rules, told)
        gate = Gate(rules, offset=len(told.text), head=PARTING if told.text else "")
        return AssistantAnswer(basis, told, await self._submit(ask, basis), gate)

    def _refuses(self, sentence: str, language: str) -> bool:
        return self._policy.check_output(sentence, language) is not None

    async def _formed(self, ask: Ask, basis: Basis, rules: Rules, told: Told) -> AssistantAnswer:
        """An answer in a form that was asked for: all of the model's text, or the refusal in its place."""
        instead = (
            told.text
            or "This cannot be answered in the form that was asked for: not all of it would be settled and supported."
        )
        gate = WholeGate(rules, instead, citations_of(told))
        return AssistantAnswer(basis, Told(), await self._submit(ask, basis), gate)

    async def _submit(self, ask: Ask, basis: Basis):
        # A small model knows the English words only.
        language = basis.language if writes_itself(self.model.info) else DEFAULT_LANGUAGE
        messages = briefed(self._personas[ask.persona], ask, basis.sources, language)
        return await self.model.submit(
            messages, sampling=ask.sampling, truncate=ask.truncate, priority=ask.priority, client=ask.client
        )


def _scene(topic: Topic, standings: list[Standing], now: datetime, question: str) -> Scene:
    strict = topic.wants_outcome
    scene = Scene(
        mode="strict" if strict else "watchful",
        now=now,
        standings=topic.standings if strict else tuple(standings),
        kind=topic.kind or (topic.standings[0].event.kind if topic.standings else ""),
        undeclared=strict and not topic.standings,
        yes_no=is_yes_no(question),
        past=topic.past,
        fiction=topic.intent in ("fiction", "exercise"),
        invention=topic.intent == "fiction",
        quoted=topic.quoted,
    )
    return replace(scene, named=masked(question, scene.cast, first=False).names) if strict else scene


def _form(standings: tuple[Standing, ...]) -> Form:
    """The form of an answer on several events: that of the least settled."""
    forms = {standing.form for standing in standings}
    for form in LEAST_FIRST:
        if form in forms:
            return form
    return "unknown"


LEAST_FIRST: tuple[Form, ...] = ("unknown", "conflicting", "partial", "settled")
