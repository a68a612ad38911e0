"""BM25 for code: identifiers in parts and whole against Qdrant's tokenizer, weights against plain Python."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import pairwise, product
from pathlib import Path, PurePosixPath

import mmh3
import numpy as np
import pytest
import qdrant_edge
from hypothesis import given, settings
from hypothesis import strategies as st
from py_rust_stemmers import SnowballStemmer

from vecloom.encoders import terms
from vecloom.encoders.bm25 import MAX_WORD, Bm25Encoder
from vecloom.encoders.bm25_code import Bm25CodeEncoder, IdentifierTable
from vecloom.encoders.identifiers import identifiers, parts_of, whole_of
from vecloom.encoders.load import Pass
from vecloom.encoders.stopwords import stopwords
from vecloom.registry import ModelSpec, Registry
from vecloom.types import Passage, SparseRows

SPEC = Registry().find("bm25-code")
STEM = SnowballStemmer("english").stem_word
STOP = stopwords("english")

#: Letters of both cases, digits, "_", a letter without case, a capital sigma, a title-case letter.
LETTERS = st.sampled_from("aAbBcCsSxX_019éÉßΣσ日語ǅ²")
IDENTIFIERS = st.text(LETTERS, max_size=16) | st.from_regex(r"[A-Za-z0-9_]{1,16}", fullmatch=True)


def identity(term: str) -> int:
    return abs(mmh3.hash(term))


@pytest.fixture(scope="module")
def encoder() -> Bm25CodeEncoder:
    return Bm25CodeEncoder(SPEC)


def documents(encoder: Bm25CodeEncoder, *passages: Passage | str) -> SparseRows:
    taken = [Passage("", said) if isinstance(said, str) else said for said in passages]
    return encoder.encode_passages(taken)[0]["bm25-code"]


def weights(encoder: Bm25CodeEncoder, passage: Passage | str) -> dict[int, float]:
    indices, values = documents(encoder, passage).row(0)
    return dict(zip(indices.tolist(), values.tolist(), strict=True))


def query(encoder: Bm25CodeEncoder, text: str) -> set[str]:
    rows = encoder.encode_queries([text])
    return set(encoder.terms([text], rows)["bm25-code"])


# identifiers


@pytest.mark.parametrize(
    ("identifier", "parts"),
    [
        ("name", ["name"]),
        ("getUserName", ["get", "user", "name"]),
        ("GetUserName", ["get", "user", "name"]),
        ("get_user_name", ["get", "user", "name"]),
        ("MAX_RETRIES", ["max", "retries"]),
        ("mixed_camelCase", ["mixed", "camel", "case"]),
        ("HTTPServer", ["http", "server"]),
        ("parseHTTPResponse", ["parse", "http", "response"]),
        ("getHTTP", ["get", "http"]),
        ("XMLHttpRequest", ["xml", "http", "request"]),
        ("URLs", ["urls"]),
        ("userIDs", ["user", "ids"]),
        ("URLsParser", ["urls", "parser"]),
        ("IDs2", ["ids", "2"]),
        ("As", ["as"]),
        ("URLset", ["ur", "lset"]),
        ("utf8", ["utf", "8"]),
        ("base64Encode", ["base", "64", "encode"]),
        ("2fast", ["2", "fast"]),
        ("sha256sum", ["sha", "256", "sum"]),
        ("x", ["x"]),
        ("aB", ["a", "b"]),
        ("isA", ["is", "a"]),
        ("__init__", ["init"]),
        ("_private", ["private"]),
        ("a__b", ["a", "b"]),
        ("_", []),
        ("", []),
        ("größeMessen", ["größe", "messen"]),
        ("ÜBERFlug", ["über", "flug"]),
        ("größeURLs", ["größe", "urls"]),
        ("URLs_größe", ["urls", "größe"]),
        ("ÄÖs", ["äös"]),
        ("приветМир", ["привет", "мир"]),
        ("ПРИВЕТ_Мир2", ["привет", "мир", "2"]),
        ("日本語", ["日本語"]),
        ("日本_語", ["日本", "語"]),
        ("日本2", ["日本", "2"]),
        ("日本Name", ["日本name"]),
        ("x²", ["x", "²"]),
    ],
)
def test_parts(identifier: str, parts: list[str]) -> None:
    assert parts_of(identifier) == parts


@given(IDENTIFIERS)
def test_parts_joined_are_the_whole(identifier: str) -> None:
    # Lower case of a capital sigma depends on what follows it, which a cut changes.
    joined = "".join(parts_of(identifier))
    assert joined.replace("ς", "σ") == whole_of(identifier).replace("ς", "σ")
    assert "" not in parts_of(identifier)
    assert "_" not in whole_of(identifier)


@given(st.text(st.characters(categories=["L", "N"]) | st.just("_"), max_size=12))
def test_parts_of_any_letters_joined_are_the_whole(identifier: str) -> None:
    joined = "".join(parts_of(identifier))
    assert joined.replace("ς", "σ") == whole_of(identifier).replace("ς", "σ")


@given(st.from_regex(r"[A-Za-z0-9_]{0,14}", fullmatch=True))
def test_an_identifier_is_cut_alike_beside_other_alphabets(identifier: str) -> None:
    assert parts_of(f"{identifier}_é") == [*parts_of(identifier), "é"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.b(c_d) + E1", ["a", "b", "c_d", "E1"]),
        ("don't", ["don", "t"]),
        ("", []),
        ("  \t\n!?", []),
        ("naïve Straße::Öl", ["naïve", "Straße", "Öl"]),
        ("日本 語", ["日本", "語"]),
        ("a\x85b\x1fc", ["a", "b", "c"]),
    ],
)
def test_identifiers_are_runs_of_word_characters_as_written(text: str, found: list[str]) -> None:
    assert [word.decode() for word in identifiers(text)] == found


def test_identifiers_of_all_of_ascii() -> None:
    text = "".join(f"{chr(c)}x" for c in range(128))
    assert [word.decode() for word in identifiers(text)] == re.findall(r"\w+", text)


# Qdrant's own tokenizer for code


class _Unstemmed(IdentifierTable):
    """As Qdrant's tokenizer is asked to be here: without a stemmer and stop words."""

    def __init__(self) -> None:
        super().__init__("english", {"_"}, MAX_WORD)
        self._stem = str


@pytest.fixture(scope="module")
def unstemmed() -> Bm25CodeEncoder:
    made = Bm25CodeEncoder(SPEC)
    made._table = _Unstemmed()
    return made


ORACLE = qdrant_edge.Bm25(
    qdrant_edge.Bm25Config(
        tokenizer=qdrant_edge.TokenizerType.Code,
        stemmer=qdrant_edge.DisabledStemmer(),
        stopwords=qdrant_edge.StopwordsSet(languages=set(), custom=set()),
    )
)


def theirs(text: str) -> set[int]:
    return set(ORACLE.embed_document(text).indices)


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "x",
        "42",
        "v2",
        "getName",
        "get_name",
        "GetName",
        "HTTPServer",
        "ABC",
        "URLs",
        "userIDs",
        "größeURLs",
        "URLsParser",
        "URLsx",
        "__init__",
        "_private",
        "MAX_RETRIES",
        "kebab-case-name",
        "foo.barBaz::qux",
        "path/to/file.py user@host $scope #include C++",
        "don't",
        "3.14",
        "naïveBayes",
        "ÜberFlug",
        "straßeÖffnen",
        "приветМир",
        "日本語",
        "日本_ok",
        "İstanbulName",
        "fooǅabc",
        "ΟΔΟΣName",
        "ΑΒΣ_ΑΒ",
        "",
    ],
)
def test_words_on_which_qdrant_agrees(unstemmed: Bm25CodeEncoder, text: str) -> None:
    assert set(weights(unstemmed, text)) == theirs(text)


#: Each difference of docs/ranking.md: what only we find, and what only Qdrant does.
DIFFERENCES = [
    # An identifier is cut between letters and digits.
    ("utf8", {"utf"}, set()),
    ("sha256sum", {"sha", "256", "sum", "sha256", "256sum"}, set()),
    ("base64_encode", {"base", "64", "64encode"}, set()),
    ("response2", {"response"}, set()),
    ("OAuth2", {"auth", "oauth"}, {"o"}),
    # Of three and more parts, each two neighbours are joined too.
    ("getUserName", {"getuser", "username"}, set()),
    ("parseHTTPResponse", {"parsehttp", "httpresponse"}, set()),
    ("fooBARBaz", {"foobar", "barbaz"}, set()),
    # A single character beside other parts is none.
    ("nBytes", set(), {"n"}),
    ("isA", set(), {"a"}),
    ("x_1", set(), {"x", "1"}),
    ("a_b_c", {"ab", "bc"}, {"a", "b", "c"}),
    ("éÉcole", set(), {"é"}),
    # A capital behind a letter without case begins no part.
    ("日本Name", set(), {"日本", "name"}),
    ("abc名Def", set(), {"abc名", "def"}),
    # Marks that combine are no letters, as they are none to the other sparse models.
    ("हिन्दी", {"ह", "न", "द"}, {"हिन", "दी"}),
    # What stands between two "_" is no whole of its own.
    ("new_getUserName", {"newget", "getuser", "username"}, {"getusername"}),
    # Several "_" alone are a word.
    ("a = __", {"__"}, set()),
    # What is longer than 40 characters is none.
    ("a" * 41, set(), {"a" * 41}),
    ("get_" + "b" * 40, set(), {"get" + "b" * 40}),
]


@pytest.mark.parametrize(("text", "only_ours", "only_theirs"), DIFFERENCES)
def test_words_on_which_qdrant_differs(
    unstemmed: Bm25CodeEncoder, text: str, only_ours: set[str], only_theirs: set[str]
) -> None:
    ours = set(weights(unstemmed, text))
    assert ours - theirs(text) == set(map(identity, only_ours))
    assert theirs(text) - ours == set(map(identity, only_theirs))


def test_the_documentation_tells_of_these_differences() -> None:
    told = Path(__file__).parents[1].joinpath("docs", "ranking.md").read_text("utf-8")
    rows = re.findall(r"^\|[^|]+\| `([^`|]+)` \|([^|]*)\|([^|]*)\|", told, re.MULTILINE)
    assert len(rows) >= 8
    known = {text: (only_ours, only_theirs) for text, only_ours, only_theirs in DIFFERENCES}
    for text, *cells in rows:
        shown = [cell.replace("the whole", whole_of(text)).replace("`", "").split(",") for cell in cells]
        assert known[text] == tuple({word.strip() for word in words} - {""} for words in shown)


@given(st.from_regex(r"[A-Za-z_]{1,30}", fullmatch=True).filter(lambda text: text.strip("_")))
def test_letters_differ_from_qdrants_by_the_told_differences_only(
    unstemmed: Bm25CodeEncoder, identifier: str
) -> None:
    parts = parts_of(identifier)
    whole = {whole_of(identifier)}
    pieces = {piece.lower() for piece in identifier.split("_") if piece}
    assert theirs(identifier) == set(map(identity, {*parts, *pieces} | whole))
    words = whole | {part for part in parts if len(part) > 1}
    if len(parts) > 2:
        words |= {left + right for left, right in pairwise(parts)}
    assert set(weights(unstemmed, identifier)) == set(map(identity, words))


# weights


def words_of(identifier: str) -> list[str]:
    """The words of an identifier as the docstrings promise them."""

    def plain(word: str) -> list[str]:
        return [] if word in STOP or word == "_" or len(word) > 40 else [STEM(word)]

    parts = parts_of(identifier)
    if len(parts) < 2:
        found = plain(parts[0] if parts else identifier)
    else:
        found = [stem for part in parts if len(part) > 1 for stem in plain(part)]
        pairs = pairwise(parts) if len(parts) > 2 else ()
        found += [whole_of(identifier), *(left + right for left, right in pairs)]
        found = [word for word in found if len(word) <= 40]
    return [word for word in found if word]


def fields_of(passage: Passage) -> dict[str, str]:
    path = PurePosixPath(passage.path)
    return {
        "text": passage.text,
        "file": path.name[:1] + path.name[1:].split(".")[0],
        "folders": "/".join(path.parts[:-1][-3:]),
        "defines": passage.defines,
        "within": passage.within,
    }


def bm25f(passage: Passage, spec: ModelSpec = SPEC) -> dict[int, float]:
    """The formula of `Bm25CodeEncoder` written out, word by word."""
    said = {name: value for name, value in spec.settings.items() if isinstance(value, float)}
    k, b = said["k"], said["b"]
    frequency: dict[str, float] = {}
    for name, text in fields_of(passage).items():
        weight, average = (1.0, said["avg_len"]) if name == "text" else (said[name], said[f"avg_{name}"])
        found = [word for one in re.findall(r"\w+", text) for word in words_of(one)]
        for word, count in Counter(found).items():
            share = weight * count / (1 - b + b * len(found) / average)
            frequency[word] = frequency.get(word, 0.0) + share
    return {identity(word): f * (k + 1) / (f + k) for word, f in frequency.items()}


WORDS = st.sampled_from(
    ["parse", "parser", "getUserName", "user_name", "the", "HTTPServer", "retries", "x", "utf8", "_",
     "__init__", "größeMessen", "日本語", "a_b_c", "the_a", "thes", "URLs", "q" * 41, "get_" + "q" * 38]
)  # fmt: skip
TEXTS = st.lists(WORDS, max_size=12).map(" ".join)
PATHS = st.lists(WORDS, min_size=0, max_size=5).map(lambda parts: "/".join([*parts, "main_loop.test.py"]))
PASSAGES = st.builds(
    Passage,
    header=st.just(""),
    text=TEXTS,
    path=PATHS | st.sampled_from(["", ".gitignore", ".retries.parse.yml", "Makefile"]),
    within=st.lists(WORDS, max_size=3).map(" > ".join),
    defines=st.lists(WORDS, max_size=4).map("\n".join),
)


@given(st.lists(PASSAGES, max_size=5))
@settings(deadline=None)
def test_weights_are_the_formula_written_out(encoder: Bm25CodeEncoder, passages: list[Passage]) -> None:
    rows = documents(encoder, *passages)
    assert len(rows) == len(passages)
    for i, passage in enumerate(passages):
        indices, values = rows.row(i)
        found = dict(zip(indices.tolist(), values.tolist(), strict=True))
        assert found == pytest.approx(bm25f(passage), rel=1e-6)
        assert (np.diff(indices.astype(np.int64)) > 0).all()
    assert [str(a.dtype) for a in (rows.indptr, rows.indices, rows.values)] == ["int64", "uint32", "float32"]


@given(TEXTS)
def test_one_field_is_plain_bm25(encoder: Bm25CodeEncoder, text: str) -> None:
    found = [word for one in re.findall(r"\w+", text) for word in words_of(one)]
    k, b, average = 1.5, 0.75, 75.0
    expected = {
        identity(word): f * (k + 1) / (f + k * (1 - b + b * len(found) / average))
        for word, f in Counter(found).items()
    }
    assert weights(encoder, text) == pytest.approx(expected, rel=1e-6)
    assert weights(encoder, Passage("header that no field holds", text)) == weights(encoder, text)


def test_a_word_that_two_fields_share_weighs_the_saturated_sum(encoder: Bm25CodeEncoder) -> None:
    said = Passage("", "gamma", path="x/beta.py", defines="gamma")
    word = identity(STEM("gamma"))
    in_text, in_names = 1 / (0.25 + 0.75 / 75), 4 / (0.25 + 0.75 / 3)
    total = in_text + in_names
    assert weights(encoder, said)[word] == pytest.approx(total * 2.5 / (total + 1.5))
    apart = (
        weights(encoder, Passage("", "gamma"))[word]
        + weights(encoder, Passage("", "", defines="gamma"))[word]
    )
    assert weights(encoder, said)[word] < apart


@pytest.mark.parametrize("name", ["file", "folders", "defines", "within"])
def test_settings_switch_fields(encoder: Bm25CodeEncoder, name: str) -> None:
    passage = Passage("", "alpha", "beta/gamma.py", within="delta", defines="epsilon")
    own = {"file": "gamma", "folders": "beta", "defines": "epsilon", "within": "delta"}
    every = set(map(identity, map(STEM, ["alpha", *own.values()])))
    assert set(weights(encoder, passage)) == every
    kept = {key: value for key, value in SPEC.settings.items() if key not in (name, f"avg_{name}")}
    without = Bm25CodeEncoder(replace(SPEC, settings=kept))
    assert set(weights(without, passage)) == every - {identity(STEM(own[name]))}
    heavier = Bm25CodeEncoder(replace(SPEC, settings={**SPEC.settings, name: 9.0}))
    changed = {
        index
        for index, value in weights(heavier, passage).items()
        if value > weights(encoder, passage)[index]
    }
    assert changed == {identity(STEM(own[name]))}


def test_the_file_without_its_endings_and_the_three_folders_above_count(encoder: Bm25CodeEncoder) -> None:
    found = set(weights(encoder, Passage("", "", "one/two/three/four/name.spec.ts")))
    assert found == set(map(identity, map(STEM, ["name", "two", "three", "four"])))
    assert identity("gitignor") in weights(encoder, Passage("", "", ".gitignore"))


def test_a_text_without_words_gives_an_empty_row(encoder: Bm25CodeEncoder) -> None:
    texts = ["", "the", "parse", "_ !", "a" * 41]
    found, stats = encoder.encode_documents(texts)
    assert np.diff(found["bm25-code"].indptr).tolist() == [0, 0, 1, 0, 0]
    assert (stats.texts, stats.tokens, stats.cut_texts) == (5, 1, 0)
    assert len(encoder.encode_documents([])[0]["bm25-code"]) == 0
    assert len(encoder.encode_queries([])["bm25-code"]) == 0
    asked = np.diff(encoder.encode_queries(texts)["bm25-code"].indptr)  # "parse": its stem, and as a name
    assert asked.tolist() == [0, 0, 2, 0, 0]


def test_the_words_of_the_fields_are_counted(encoder: Bm25CodeEncoder) -> None:
    _, stats = encoder.encode_passages([Passage("", "the parse_tree", "a/loop.py", defines="weave")])
    assert stats.tokens == 3 + 1 + 1  # parse, tree, parsetree; loop; weave; the folder's "a" is a stop word
    assert encoder.text_words([Passage("", "the parse_tree", "a/b.py"), Passage("", "loop loop")]) == 3 + 2


def test_the_row_is_run_by_this_encoder(tmp_path: Path) -> None:
    for key, encoder in (("bm25-code", Bm25CodeEncoder), ("qdrant-bm25", Bm25Encoder)):
        spec = Registry().find(key)
        assert type(Pass((spec,), None, "native", "fp32", ("cpu",), tmp_path, 1).load("cpu")) is encoder


# queries


def test_a_query_weighs_one_for_each_word(encoder: Bm25CodeEncoder) -> None:
    rows = encoder.encode_queries(["retry the getUserName retry", "HTTP"])["bm25-code"]
    assert set(rows.values.tolist()) == {1.0} and rows.values.dtype == np.float32
    indices, _ = rows.row(0)
    words = [*words_of("retry"), *words_of("getUserName"), "retry"]  # "retry" as a name: its stem is "retri"
    assert indices.tolist() == sorted(map(identity, words))
    assert rows.row(1)[0].tolist() == [identity("http")]


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("map iterator", {"map+iterator", "map+iter", "+iterator"}),
        ("error handler", {"error+handler", "error+handl"}),
        ("Error Handler", {"error+handler", "error+handl"}),
        ("file name", {"file+name", "file+nam"}),
        ("http request", {"http+request"}),  # is its own stem
        ("parse http request", {"+parse", "parse+http", "http+request"}),
        ("error of the handler", set()),  # words that are left out stand between
        ("errorHandler base", set()),  # is joined in itself; "base" is its own stem
        ("getusername", {"+getusername"}),
        ("one", set()),
        ("_error handler", {"error+handler", "error+handl"}),
        ("b" * 30 + " " + "c" * 30, set()),
    ],
)
def test_names_that_plain_words_may_make(encoder: Bm25CodeEncoder, text: str, joined: set[str]) -> None:
    assert {term for term in query(encoder, text) if "+" in term} == joined


def test_a_joined_pair_finds_the_identifier(encoder: Bm25CodeEncoder) -> None:
    indices, _ = encoder.encode_queries(["error handler"])["bm25-code"].row(0)
    assert identity("errorhandler") in indices.tolist()
    for written in ("ErrorHandler", "error_handler", "ERROR_HANDLER", "newErrorHandler"):
        assert identity("errorhandler") in weights(encoder, written)


def test_a_name_in_one_word_finds_it_in_two_and_the_other_way_round(encoder: Bm25CodeEncoder) -> None:
    for asked, written in (
        ("getusername", "getUserName"),
        ("file name", "filename"),
        ("file name", "filenames"),
    ):
        indices, _ = encoder.encode_queries([asked])["bm25-code"].row(0)
        assert set(indices.tolist()) & set(weights(encoder, written)), (asked, written)


def test_a_word_that_is_also_a_pair_keeps_its_own_name(encoder: Bm25CodeEncoder) -> None:
    assert "errorhandler" in query(encoder, "error handler errorHandler")
    assert "error+handler" not in query(encoder, "error handler errorHandler")


@given(st.lists(TEXTS, max_size=4))
def test_terms_are_what_the_indices_stand_for(encoder: Bm25CodeEncoder, texts: list[str]) -> None:
    for rows in (encoder.encode_queries(texts), encoder.encode_documents(texts)[0]):
        said = encoder.terms(texts, rows)["bm25-code"]
        found = rows["bm25-code"]
        assert [identity(term.replace("+", "")) for term in said] == found.indices.tolist()
    assert encoder.terms(texts, {}) == {}


# stability


@cache
def colliding_words() -> tuple[str, str]:
    """Two words of consonants (one part, their own stems) with one id, found by a birthday search."""
    seen: dict[int, str] = {}
    for letters in product("bcdfghklmnpqrtvwxz", repeat=5):
        word = "".join(letters)
        other = seen.setdefault(identity(word), word)
        if other != word and STEM(word) == word and STEM(other) == other:
            return other, word
    raise AssertionError("no collision among two million words")


def odd_passages(count: int) -> list[Passage]:
    pool = ["parseTree", "the", "retries", "HTTPServer", "x1", "größe_A", *colliding_words()]
    return [
        Passage(
            "",
            " ".join(pool[(i * j) % len(pool)] for j in range(i % 7)),
            f"{pool[i % len(pool)]}/{pool[i % 5]}.py",
            defines="\n".join(pool[: i % 4]),
        )
        for i in range(count)
    ]


def rows_of(passages: Sequence[Passage], encoder: Bm25CodeEncoder) -> list[tuple[list[int], list[float]]]:
    found = documents(encoder, *passages)
    return [(a.tolist(), b.tolist()) for a, b in map(found.row, range(len(found)))]


def test_of_two_words_with_one_id_the_later_counts(encoder: Bm25CodeEncoder) -> None:
    early, late = colliding_words()
    twice = weights(encoder, f"{early} {early} {late}")
    assert list(twice) == [identity(early)]
    assert twice == pytest.approx({identity(late): bm25f(Passage("", f"{late} x x"))[identity(late)]})
    (index,) = encoder.encode_queries([f"{early} and {late}"])["bm25-code"].indices.tolist()
    assert index == identity(early)
    assert len(query(encoder, f"{early} and {late}")) == 1


def test_many_passages_are_what_each_is_alone() -> None:
    passages = odd_passages(2300)
    together = rows_of(passages, Bm25CodeEncoder(SPEC))
    fresh = Bm25CodeEncoder(SPEC)
    assert [row for one in passages for row in rows_of([one], fresh)] == together
    assert rows_of(passages[::-1], fresh) == together[::-1]


def test_a_full_table_starts_afresh_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    passages = odd_passages(2300)
    texts = [passage.text for passage in passages]
    expected = rows_of(passages, Bm25CodeEncoder(SPEC))
    monkeypatch.setattr(terms, "TABLE_WORDS", 4)
    encoder = Bm25CodeEncoder(SPEC)
    assert rows_of(passages, encoder) == expected
    queries = encoder.encode_queries(texts)
    said = encoder.terms(texts, queries)["bm25-code"]
    assert [identity(term.replace("+", "")) for term in said] == queries["bm25-code"].indices.tolist()


def test_threads_share_a_table_that_starts_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    passages = odd_passages(1500)
    expected = rows_of(passages, Bm25CodeEncoder(SPEC))
    monkeypatch.setattr(terms, "TABLE_WORDS", 4)
    encoder = Bm25CodeEncoder(SPEC)

    def ask(turn: int) -> Iterable[tuple[list[int], list[float]]]:
        encoder.encode_queries([f"weave loom {turn} {n}" for n in range(20)])
        return rows_of(passages, encoder)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(ask, range(8)):
            assert found == expected
