"""``vecloom eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecloom.cli.options import CollectionOption, DeviceOption, JsonOption, TaskOption, place_named

if TYPE_CHECKING:
    from vecloom.config import Config
    from vecloom.evaluate import Evaluation
    from vecloom.evaluate.assessing import Subject


def evaluate(
    judged: Annotated[
        Path | None,
        typer.Argument(
            metavar="JUDGED",
            readable=False,
            help="Judged queries: a BEIR folder, JSON, JSON Lines or CSV. With --from-docstrings a tree.",
        ),
    ] = None,
    *,
    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            metavar="DIR|URL|PACK",
            help="The index's folder, a Qdrant server, or a pack. By default the one around the working "
            "folder, else the only one.",
        ),
    ] = None,
    collection: CollectionOption = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="A B", help="Two indexes, asked the same: is B better than A?"),
    ] = None,
    from_docstrings: Annotated[
        bool,
        typer.Option(
            "--from-docstrings",
            help="Without judged queries: ask what a tree's docstrings, doc comments and headings say, of a "
            "copy that lacks them.",
        ),
    ] = False,
    at: Annotated[int, typer.Option("--at", metavar="K", help="How many hits count.")] = 10,
    queries: Annotated[
        int | None,
        typer.Option(
            "--queries",
            metavar="N",
            help="Ask so many at most, drawn alike each time (all; of a tree's own, 200).",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE.html", readable=False, help="Also write a page with plots."),
    ] = None,
    task: TaskOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Measure how well an index answers: each leg, each fusion, and the default search ("fused").

    nDCG, recall and MRR with 95 % intervals, and what a search takes. Nothing of the index is changed.
    """
    from vecloom.cli.options import loaded_config
    from vecloom.cli.output import progress, say
    from vecloom.errors import UsageError
    from vecloom.evaluate.assessing import Assessor, Settings

    if judged is None and not from_docstrings:
        raise UsageError(
            "name the judged queries, or let a tree judge itself: vecloom eval TREE --from-docstrings"
        )
    if compare is not None and index is not None:
        raise UsageError("--compare names both indexes; leave --index out")
    if report is not None and (report.is_dir() or not report.absolute().parent.is_dir()):
        raise UsageError(f"no file can be written at {report}; name one in a folder that is there")
    config = loaded_config()
    subjects = _subjects(index, collection, compare, from_docstrings and judged is not None, config)
    with progress() as listener:
        assessor = Assessor(Settings(at, queries, task, device), config, say, listener)
        if from_docstrings:
            made = assessor.by_docstrings(subjects, judged)
        else:
            made = assessor.by_judgments(subjects, Path(judged or ""))
    _tell(made, report, json)


def _subjects(
    index: str | None, collection: str | None, compare: tuple[str, str] | None, optional: bool, config: Config
) -> list[Subject]:
    """The indexes that the options mean; none where they name none and none is needed."""
    from vecloom.cli.output import say
    from vecloom.evaluate.assessing import Subject
    from vecloom.locate import index_for_search
    from vecloom.pipeline.places import is_url

    if compare is not None:
        return [Subject(place, collection if is_url(place) else None) for place in compare]
    place = place_named(index, collection, config)
    if place is None and optional:
        return []
    return [Subject(place or index_for_search(config, Path.cwd(), say), collection)]


def _tell(made: list[Evaluation], report: Path | None, json: bool) -> None:
    """Results on stdout, problems and notes on stderr, the page in its file."""
    from vecloom.cli.output import say, write, write_json
    from vecloom.durable import written
    from vecloom.evaluate import listing, page, records
    from vecloom.evaluate.evaluation import sided_problems

    for side, problems in sided_problems(made):
        for line in listing.problem_lines(problems):
            say(f"vecloom{side}: {line}")
    for note in made[0].judged.notes:
        say(f"vecloom: {note}")
    first, second = made[0], made[-1]
    both = len(made) > 1
    if json:
        for record in records.comparison_records(first, second) if both else records.run_records(first):
            write_json(record)
    else:
        for line in listing.comparison_lines(first, second) if both else listing.evaluation_lines(first):
            write(line)
    if report is not None:
        made_page = page.comparison_page(first, second) if both else page.evaluation_page(first)
        with written(report) as file:
            file.write(made_page.encode("utf-8", "replace"))
        say(f"report: {report}")
