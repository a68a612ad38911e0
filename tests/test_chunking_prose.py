"""Prose, notebooks and records: headings as breadcrumbs, blocks kept whole where they fit."""

from __future__ import annotations

from chunk_checks import chunk_and_check, document
from vecloom.encoders.counters import WordCounter
from vecloom.types import Chunk, Part

WORDS = WordCounter()
BODY = " ".join(f"w{number}" for number in range(36))


def chunks_of(text: str, language: str, budget: int = 64) -> tuple[Chunk, ...]:
    chunked = chunk_and_check(document(text, language, "prose", path="m"), WORDS, budget)
    assert chunked.fallback is None
    return chunked.chunks


def crumbs(chunks: tuple[Chunk, ...]) -> list[str]:
    return [chunk.breadcrumb for chunk in chunks]


def test_markdown_sections_are_named_by_the_headings_above_them() -> None:
    text = (
        f"# The *Guide*\n\n{BODY}\n\n## [Setup](#s) ##\n\n{BODY}\n\n### On `Linux` {{#linux}}\n\n{BODY}\n\n"
        f"Use\n---\n\n{BODY}\n\nOther\n=====\n{BODY}\n"
    )
    assert crumbs(chunks_of(text, "markdown")) == [
        "The Guide",
        "The Guide > Setup",
        "The Guide > Setup > On Linux",
        "The Guide > Use",
        "Other",
    ]


def test_headings_stay_with_what_they_head() -> None:
    text = "".join(f"{BODY}\n\n## Part {number}\n\n" for number in range(12)) + BODY
    for chunk in chunks_of(text, "markdown"):
        assert not chunk.text.rstrip().splitlines()[-1].startswith("##")


def test_fences_are_whole_where_they_fit_and_hold_no_headings() -> None:
    fence = "```sh\n# not a heading\n" + "\n\n".join(BODY[:80] for _ in range(2)) + "\n```\n"
    text = f"# One\n\n{BODY}\n\nLike this:\n\n{fence}\n{BODY}\n\n~~~~\n~~~\n# neither\n~~~~\n"
    chunks = chunks_of(text, "markdown")
    assert set(crumbs(chunks)) == {"One"}
    assert sum(fence in chunk.text for chunk in chunks) == 1


def test_a_fence_that_is_never_closed_runs_to_the_end() -> None:
    chunks = chunks_of("# One\n```\n" + f"# {BODY}\n" * 5, "markdown")
    assert set(crumbs(chunks)) == {"One"}


def test_tables_and_lists_are_whole_where_they_fit() -> None:
    table = "| a | b |\n|---|---|\n" + "".join(f"| x{n} | y{n} |\n" for n in range(12))
    items = "".join(f"- item {n}\n  goes on here\n" for n in range(8))
    chunks = chunks_of(f"{BODY}\n\n{table}\n{BODY}\n\n{items}\n{BODY}\n", "markdown")
    assert sum(table in chunk.text for chunk in chunks) == 1
    assert sum(items in chunk.text for chunk in chunks) == 1


def test_long_lists_are_cut_between_items() -> None:
    text = "".join(f"- item {n} has some words\n  and goes on\n" for n in range(60))
    assert all(chunk.text.startswith("- item") for chunk in chunks_of(text, "markdown"))


def test_front_matter_is_no_heading() -> None:
    text = f"---\ntitle: A guide\n---\n{BODY}\n\n# One\n\n{BODY}\n"
    assert crumbs(chunks_of(text, "markdown")) == ["", "One"]


def test_long_paragraphs_are_cut_at_the_ends_of_sentences() -> None:
    text = "# One\n\n" + "This is a sentence of some eight words. " * 60 + "\n"
    chunks = chunks_of(text, "markdown")
    assert set(crumbs(chunks)) == {"One"}
    assert all(chunk.text.rstrip().endswith("words.") for chunk in chunks)


def test_rst_titles_take_their_level_from_the_order_of_their_adornment() -> None:
    text = (
        f"=====\nGuide\n=====\n\n{BODY}\n\nSetup\n=====\n\n{BODY}\n\nOn Linux\n--------\n{BODY}\n\n"
        f"Use\n===\n\n{BODY}\n"
    )
    assert crumbs(chunks_of(text, "rst")) == [
        "Guide",
        "Guide > Setup",
        "Guide > Setup > On Linux",
        "Guide > Use",
    ]


def test_rst_directives_stay_with_what_they_indent() -> None:
    directive = ".. code-block:: python\n\n   " + BODY.replace("w18", "\n\n   w18") + "\n"
    text = f"One\n---\n\n{BODY}\n\n{directive}\n{BODY}\n"
    assert sum(directive in chunk.text for chunk in chunks_of(text, "rst")) == 1


def test_a_ruler_in_rst_is_no_title() -> None:
    text = f"One\n---\n\n{BODY}\n\n-----\n\n{BODY}\n"
    assert set(crumbs(chunks_of(text, "rst"))) == {"One"}


def test_html_is_named_by_its_headings() -> None:
    text = (
        f"<html><body>\n<h1 id='a'>The <i>Guide</i> &amp; more</h1>\n<p>{BODY}</p>\n"
        f"<div><section>\n<H2>Setup</H2>\n<p>{BODY}</p>\n</section></div>\n</body></html>\n"
    )
    assert crumbs(chunks_of(text, "html")) == ["The Guide & more", "The Guide & more > Setup"]


def test_plain_text_is_cut_between_paragraphs() -> None:
    paragraph = "one two three four five six seven\neight nine ten eleven twelve\n"
    chunks = chunks_of((paragraph + "\n") * 40, "text")
    assert all(
        chunk.text.startswith("one") and len(chunk.text) % (len(paragraph) + 1) == 0 for chunk in chunks
    )


def test_notebook_cells_are_named_with_the_headings_above_them() -> None:
    cells = [
        ("prose", "markdown", f"# Intro\n\n{BODY}\n\n"),
        ("code", "python", f"def load():\n    call({BODY.replace(' ', ', ')})\n\n"),
        ("prose", "markdown", f"## Fit\n\n{BODY}\n\n"),
        ("code", "python", f"%matplotlib inline\nmodel.fit({BODY.replace(' ', ', ')})\n"),
    ]
    parts: list[Part] = []
    text = ""
    for number, (kind, language, source) in enumerate(cells, 1):
        kinds = {"prose": "prose", "code": "code"}
        end = len(text) + len(source)
        parts.append(
            Part(f"cell {number}", len(text), end, "code" if kinds[kind] == "code" else "prose", language)
        )
        text += source
    doc = document(text, "python", "notebook", path="n.ipynb", parts=tuple(parts))
    chunked = chunk_and_check(doc, WORDS, 64)
    assert crumbs(chunked.chunks) == [
        "Intro > cell 1",
        "Intro > cell 2 > load",
        "Intro > Fit > cell 3",
        "Intro > Fit > cell 4",
    ]


def test_small_cells_are_merged_under_their_heading() -> None:
    sources = ["# One\n\n", "a = 1\n\n", "b = 2\n\n", "print(a, b)\n"]
    kinds = ["prose", "code", "code", "code"]
    starts = [sum(map(len, sources[:number])) for number in range(5)]
    parts = tuple(
        Part(
            f"cell {n + 1}", starts[n], starts[n + 1], "prose" if kinds[n] == "prose" else "code", "markdown"
        )
        if kinds[n] == "prose"
        else Part(f"cell {n + 1}", starts[n], starts[n + 1], "code", "python")
        for n in range(4)
    )
    doc = document("".join(sources), "python", "notebook", path="n.ipynb", parts=parts)
    [chunk] = chunk_and_check(doc, WORDS, 64).chunks
    assert chunk.breadcrumb == "One"


def test_pages_are_named() -> None:
    text = f"{BODY}\n\n{BODY}\n"
    parts = (Part("page 1", 0, len(BODY) + 2, "prose"), Part("page 2", len(BODY) + 2, len(text), "prose"))
    chunked = chunk_and_check(document(text, None, "prose", parts=parts), WORDS, 64)
    assert crumbs(chunked.chunks) == ["page 1", "page 2"]
