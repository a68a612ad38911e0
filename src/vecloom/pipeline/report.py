"""What an index run tells while it runs, and what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from vecloom.encoders import PassStats
    from vecloom.pipeline.absence import Absence
    from vecloom.sources import Skip

Step: TypeAlias = Literal["measure", "read", "encode", "optimise", "check", "load", "export", "search"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is.

    ``done`` of ``total`` in ``unit`` ("files", "chunks"); total is None while it is not known. ``tokens``:
    tokens through the model so far in this step. ``detail``: the source or the vector names. ``share``: how
    much of the step's work is done (0 to 1), as long texts take longer than short ones; None where nobody
    knows. ``whole``: the same of all models' work together.
    """

    step: Step
    done: int
    total: int | None
    unit: str
    detail: str
    tokens: int = 0
    share: float | None = None
    whole: float | None = None


Listener: TypeAlias = Callable[[Progress], None]


def quiet(_event: Progress) -> None:
    """Listen to nothing."""


def both(first: Listener, second: Listener) -> Listener:
    """A listener that tells two."""

    def listen(event: Progress) -> None:
        first(event)
        second(event)

    return listen


class Whole:
    """How far all models are together: each weighs as much as it has to do."""

    def __init__(self, work: Mapping[tuple[str, ...], float], listener: Listener) -> None:
        """``work`` by the names of a pass."""
        self._work = work
        self._total = sum(work.values())
        self._before = 0.0
        self._listener = listener

    def listener(self, passes: Iterable[tuple[str, ...]]) -> Listener:
        """A listener for the passes that run next, together."""
        begun, mine = self._before, sum(self._work[names] for names in passes)
        self._before += mine

        def listen(event: Progress) -> None:
            if event.share is not None and self._total:
                event = replace(event, whole=(begun + mine * event.share) / self._total)
            self._listener(event)

        return listen


_PROBLEMS = frozenset(
    {
        "bad record",
        "broken document",
        "broken link",
        "broken notebook",
        "broken page",
        "duplicate record",
        "encoding",
        "encrypted",
        "no text",
        "permission",
        "too heavy",
        "too large",
        "unreadable",
        "vanished",
    }
)


@dataclass(slots=True)
class Cut:
    """What a model's length limit dropped."""

    texts: int = 0
    tokens: int = 0


@dataclass(slots=True)
class IndexReport:
    """What one index run did.

    ``files`` were read, ``unchanged`` of them are stored as they are, ``gone`` were deleted from the index.
    ``chunks`` are those of changed files; of them ``new`` points were written, ``moved`` had only their
    payload changed, and ``deleted`` points are gone. ``encoded``: texts through the model, by vector name;
    ``reused``: vectors taken over from an equal text instead. ``sparse_seconds``: from the start until the
    whole tree could be searched by its words (0 where no model is that quick). ``fallbacks``: reason -> the
    paths of files that were chunked by lines. ``absent``: sources whose root is gone: points are kept and
    hidden. ``unsealed``: why no graph was built though one was due.
    """

    files: int = 0
    unchanged: int = 0
    gone: int = 0
    bytes: int = 0
    chunks: int = 0
    new: int = 0
    moved: int = 0
    deleted: int = 0
    points: int = 0
    tokens: int = 0
    padded: int = 0
    reused: int = 0
    seconds: float = 0.0
    sparse_seconds: float = 0.0
    unsealed: str = ""
    absent: dict[str, Absence] = field(default_factory=dict)
    encoded: Counter[str] = field(default_factory=Counter)
    cut: dict[str, Cut] = field(default_factory=dict)
    fallbacks: dict[str, list[str]] = field(default_factory=dict)
    skips: list[Skip] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def count(self, costs: Iterable[tuple[Sequence[str], PassStats]], points: int, texts: int) -> None:
        """Count what passes did (the names that each yields, its figures) for so many points and texts."""
        for names, stats in costs:
            self.tokens += stats.tokens
            self.padded += stats.padded
            self.reused += len(names) * (points - texts)
            for name in names:
                self.encoded[name] += texts
                cut = self.cut.setdefault(name, Cut())
                cut.texts += stats.cut_texts
                cut.tokens += stats.cut_tokens

    @property
    def problems(self) -> list[Skip]:
        """Skips that no rule asked for: files that could not be read or decoded."""
        return [skip for skip in self.skips if skip.reason in _PROBLEMS]
