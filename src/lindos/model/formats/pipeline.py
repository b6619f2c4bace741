"""Work done ahead by threads, its results in order, and never more of them in memory than were asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_order(jobs: Iterable[Job], work: Callable[[Job], Result], threads: int) -> Iterator[Result]:
    """`work` of each job in turn. At most `threads` + 1 results are there or being made besides the one handed out;
    with no threads each is made when it is asked for. What `work` raises is raised where its result would have come."""
    if not threads:
        yield from map(work, jobs)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="convert") as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
