"""Judgments against what an index holds: what a mean would hide is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vecloom.errors import JudgmentsError
from vecloom.evaluate.judged import Judged, JudgedQuery, Problem, Target, problem

#: (source, path) -> (chunks, last line), as `vecloom.Index.files` gives it.
Files = Mapping[tuple[str, str], tuple[int, int]]


class Holding:
    """What an index holds, by path."""

    def __init__(self, place: str, files: Files) -> None:
        """``place``: what the index is called in a message."""
        self.place = place
        self._last: dict[str, dict[str, int]] = {}
        for (source, path), (_, last) in files.items():
            self._last.setdefault(path, {})[source] = last

    def sources(self, target: Target) -> Mapping[str, int]:
        """Source -> last line of the files that a target may mean."""
        found = self._last.get(target.path, {})
        if target.source is None:
            return found
        return {source: last for source, last in found.items() if source == target.source}

    def holds_any(self, query: JudgedQuery) -> bool:
        """Whether one of the query's targets can be found at all."""
        return any(self.sources(target) for target in query.targets)

    def problems(self, judged: Judged) -> list[Problem]:
        """What of the judgments the index cannot answer, or could answer in two ways.

        Raises:
            JudgmentsError: it holds none of the targets.
        """
        targets = [target for query in judged.queries for target in query.targets]
        missing = [target for target in targets if not self.sources(target)]
        if len(missing) == len(targets):
            raise self._nothing(judged, targets)
        several = [target for target in targets if len(self.sources(target)) > 1]
        beyond = [
            target
            for target in targets
            if target.end is not None and (held := self.sources(target)) and target.end > max(held.values())
        ]
        return [
            *problem("missing_targets", _named(missing), "targets whose path the index does not hold: {}"),
            *problem(
                "ambiguous_targets",
                _named(several),
                "targets whose path several sources hold, each of which counts: {}; a source narrows it",
            ),
            *problem(
                "lines_beyond_end", _named(beyond), "targets whose lines go beyond the file's last line: {}"
            ),
        ]

    def _nothing(self, judged: Judged, targets: Sequence[Target]) -> JudgmentsError:
        if not judged.queries:
            left = "; ".join(one.text for one in judged.problems)
            return JudgmentsError(f"{judged.name} holds no query with a target{f' ({left})' if left else ''}")
        if not self._last:
            return JudgmentsError(f"{self.place} holds nothing; fill it with: vecloom index PATH --index DIR")
        theirs = next(iter(targets))
        return JudgmentsError(
            f"{self.place} holds none of the targets of {judged.name}: they are paths such as "
            f"{str(theirs)!r}, the index has paths such as {min(self._last)!r}; index the folder that they "
            f"are relative to"
        )


def _named(targets: Sequence[Target]) -> list[str]:
    return [str(target) for target in targets]
