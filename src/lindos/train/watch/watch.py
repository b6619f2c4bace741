"""One rank's watch over a run: hangs, slow ranks, spikes; what it sees is told and noted in the journal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.markup import escape

from lindos.train.journal import Journal
from lindos.train.ranks import Ranks
from lindos.train.run_file import WatchSection
from lindos.train.watch.exchanges import Exchanges
from lindos.train.watch.hang import HangWatch
from lindos.train.watch.slow import SlowRanks
from lindos.train.watch.spikes import Spikes


class Watch:
    """What a training loop calls."""

    def __init__(
        self,
        settings: WatchSection,
        ranks: Ranks,
        journal: Journal,
        console: Console,
        *,
        alike: int,
        step: Callable[[], int],
    ) -> None:
        """`alike` ranks following each other do the same work; `step` says which one this rank is at."""
        self.settings, self.ranks, self.journal, self.console, self.step = settings, ranks, journal, console, step
        self.exchanges = Exchanges()
        self.slow = SlowRanks(self.exchanges, ranks, alike, settings.slow)
        self.spikes = Spikes(settings.spike)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it the run trains."""
        with ExitStack() as stack:
            if self.ranks.size > 1:
                stack.enter_context(self.exchanges.noted())
                if self.settings.hang:
                    watch = HangWatch(self.exchanges, self.settings.hang, self.ranks.rank, self.step, self._tell_hang)
                    stack.enter_context(watch.looking())
            yield

    def begin(self) -> None:
        """A step begins."""
        self.slow.begin()

    def end(self, seconds: float) -> None:
        """A step has ended, after so long."""
        self.exchanges.forget()
        if self.ranks.size == 1 or not self.settings.slow:
            return
        self.slow.end(seconds)
        if (self.step() + 1) % self.settings.slow_every:
            return
        for slow in self.slow.found():
            self.tell(
                "slow rank",
                f"rank {slow.rank} on {slow.host} computes {slow.times:.1f} times as long as its like",
                rank=slow.rank,
            )

    def tell(self, what: str, text: str, rank: int | None = None) -> None:
        """Note it in the journal, and tell people."""
        self.journal.write("watch", step=self.step(), what=what, rank=rank, text=text)
        self.console.print(f"[yellow]step {self.step()}: {what}: {escape(text)}[/yellow]", highlight=False)

    def _tell_hang(self, report: str) -> None:
        """The console may be held by whoever hangs."""
        print(f"lindos: this rank gives up waiting\n{report}", file=sys.stderr, flush=True)
        path = self.journal.path.with_name(f"hang-rank-{self.ranks.rank:05d}.txt")
        path.write_text(report + "\n", encoding="utf-8")
        self.journal.write("watch", step=self.step(), what="hang", rank=self.ranks.rank, text=report)
