"""From what a user names to evaluations: judged queries or a tree's own, one index or two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vecloom.config import Config
from vecloom.errors import UsageError
from vecloom.evaluate.docstrings import QUERIES, MinedTree, indexed, mined_tree, recipe_of
from vecloom.evaluate.evaluation import Evaluation, evaluate
from vecloom.evaluate.formats import read_judged
from vecloom.evaluate.judged import Judged, drawn
from vecloom.evaluate.opening import opened
from vecloom.index import Index, Notice
from vecloom.pipeline.places import Place, folder_of, is_url
from vecloom.pipeline.report import Listener, quiet
from vecloom.recipe import Asked
from vecloom.weights import unheard


@dataclass(frozen=True, slots=True)
class Subject:
    """An index to be evaluated: its folder, pack or URL, and the collection there."""

    place: Place
    collection: str | None = None

    @property
    def name(self) -> str:
        """What it is called in a report."""
        return f"{self.place}, {self.collection}" if self.collection else str(self.place)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to evaluate: ``k`` hits count, ``most`` queries are asked (None: all; of a tree's own, 200)."""

    k: int = 10
    most: int | None = None
    task: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 1:
            raise UsageError(f"{self.most} queries cannot be asked; take 1 or more, or leave --queries out")


@dataclass(frozen=True, slots=True)
class Assessor:
    """Evaluates subjects; of two only the default search, since they are compared.

    ``config``, ``notice``, ``listener``: as elsewhere.
    """

    settings: Settings
    config: Config
    notice: Notice = unheard
    listener: Listener = quiet

    def by_judgments(self, subjects: Sequence[Subject], judged: Path) -> list[Evaluation]:
        """Evaluations by the judged queries of a file or folder.

        Raises:
            UsageError: there are none.
            JudgmentsError: they are broken, or an index holds none of their targets.
        """
        queries = drawn(read_judged(judged), self.settings.most)
        made = []
        for subject in subjects:
            with self._opened(subject) as index:
                made.append(self._evaluated(index, queries, subject.name, len(subjects) > 1))
        return made

    def by_docstrings(self, subjects: Sequence[Subject], tree: Path | None) -> list[Evaluation]:
        """Evaluations by what a tree says of itself; see `vecloom.evaluate.docstrings`.

        The tree is copied and indexed anew with each subject's models and chunk budget (with the default
        ones where there is no subject); without ``tree`` those of the first subject's sources.

        Raises:
            UsageError: no tree, or a source's root that is gone.
            JudgmentsError: nothing in it can be a query.
        """
        recipes: list[tuple[str, Asked]] = []
        roots: dict[str, Path] = {}
        for subject in subjects:
            with self._opened(subject) as index:
                recipes.append((f"made as {subject.name}", recipe_of(index)))
                if tree is None and not roots:
                    roots = _roots(index, subject.name)
        if not recipes:
            recipes = [("made with the default models", Asked())]
        folders = [folder_of(subject.place) for subject in subjects if not is_url(subject.place)]
        with mined_tree(
            roots if tree is None else [tree],
            most=self.settings.most or QUERIES,
            exclude=(*folders, self.config.data_dir, self.config.cache_dir),
            cache_dir=self.config.cache_dir,
            listener=self.listener,
        ) as mined:
            return [self._mined(mined, asked, name, len(recipes) > 1) for name, asked in recipes]

    def _mined(self, tree: MinedTree, asked: Asked, name: str, several: bool) -> Evaluation:
        with indexed(
            tree,
            asked,
            config=self.config,
            device=self.settings.device,
            notice=self.notice,
            listener=self.listener,
        ) as index:
            return self._evaluated(index, tree.judged, name, several)

    @contextmanager
    def _opened(self, subject: Subject) -> Iterator[Index]:
        with opened(
            subject.place,
            collection=subject.collection,
            device=self.settings.device,
            config=self.config,
            notice=self.notice,
            listener=self.listener,
        ) as index:
            yield index

    def _evaluated(self, index: Index, judged: Judged, name: str, several: bool) -> Evaluation:
        return evaluate(
            index,
            judged,
            name=name,
            k=self.settings.k,
            task=self.settings.task,
            default_only=several,
            listener=self.listener,
        )


def _roots(index: Index, name: str) -> dict[str, Path]:
    """The roots of an index's sources.

    Raises:
        UsageError: it has none, or one is gone or came with a pack.
    """
    if not index.sources:
        raise UsageError(f"{name} holds no tree; name one: vecloom eval TREE --from-docstrings")
    roots = {source: Path(root) for source, root in index.sources.items()}
    for source, root in roots.items():
        if not index.sources[source] or not root.exists():
            where = f"{root} is gone" if index.sources[source] else "came with a pack"
            raise UsageError(
                f"the tree of the source {source} of {name} is not here ({where}); name it: "
                f"vecloom eval TREE --from-docstrings --index {name}"
            )
    return roots
