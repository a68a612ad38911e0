"""Scanning and reading: what is found, what is passed over and why, and what may go wrong meanwhile."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecloom.errors import UsageError, VecloomError
from vecloom.paths import escape_name, printable, source_name
from vecloom.sources import (
    File,
    ScanOptions,
    Skip,
    decode,
    read,
    scan,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="names and files that Windows does not have")

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes files below a fresh root: ``make({"a/b.py": "text"})``."""

    def write(files: dict[str, str | bytes], root: Path = tmp_path / "root") -> Path:
        root.mkdir(exist_ok=True)
        for path, content in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return write


def files(root: Path, options: ScanOptions | None = None) -> list[str]:
    found = scan(root, options) if options else scan(root)
    return [item.path for item in found if isinstance(item, File)]


def skips(root: Path, options: ScanOptions | None = None) -> dict[str, str]:
    found = scan(root, options) if options else scan(root)
    return {item.path: item.reason for item in found if isinstance(item, Skip)}


def only_file(root: Path) -> File:
    (item,) = scan(root)
    assert isinstance(item, File)
    return item


def test_paths_come_sorted_as_whole_strings(make: Make) -> None:
    names = ["a/z.py", "a-b/x.py", "a.py", "a/b/c.py", "ab.py", "B.py", "a0/y.py", "é.py"]
    root = make(dict.fromkeys(names, "x = 1\n"))
    assert files(root) == sorted(names)


def test_an_empty_tree_gives_nothing(tmp_path: Path) -> None:
    assert list(scan(tmp_path)) == []


def test_a_file_as_root_is_named_by_itself_and_taken_whatever_its_name_says(make: Make) -> None:
    root = make({"uv.lock": "version = 1\n"})
    file = only_file(root / "uv.lock")
    assert (file.path, file.size, file.wanted) == ("uv.lock", 12, True)
    assert skips(root) == {"uv.lock": "generated"}


@posix
def test_a_link_as_root_is_followed(make: Make, tmp_path: Path) -> None:
    root = make({"a.py": "x = 1\n"})
    (tmp_path / "link").symlink_to(root)
    assert files(tmp_path / "link") == ["a.py"]


def test_a_missing_root_is_a_usage_error_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        scan(tmp_path / "absent")


def test_a_root_that_vanishes_is_an_error_and_not_an_empty_scan(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    found = scan(root)
    root.rmdir()
    with pytest.raises(VecloomError, match="cannot read"):
        next(found)


@posix
def test_a_pipe_as_root_is_a_usage_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a folder nor a regular file"):
        scan(tmp_path / "pipe")


def test_tool_folders_are_one_skip_each_and_their_names_do_not_count_above_the_root(make: Make) -> None:
    root = make(
        {
            "node_modules/pkg/index.js": "let a\n",
            "node_modules/pkg/node_modules/dep/index.js": "let b\n",
            "src/__pycache__/a.py": "x\n",
            "env/pyvenv.cfg": "home = /usr\n",
            "env/lib/a.py": "x = 1\n",
            "target/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n",
            "target/debug/a.rs": "fn a() {}\n",
            "other/CACHEDIR.TAG": "not the signature of a cache, just a file of that name\n",
            "a.py": "x = 1\n",
        }
    )
    assert files(root) == ["a.py", "other/CACHEDIR.TAG"]
    assert skips(root) == {
        "env/": "tool folder",
        "node_modules/": "tool folder",
        "src/__pycache__/": "tool folder",
        "target/": "tool folder",
    }
    assert files(root / "node_modules") == ["pkg/index.js"]
    assert files(root / "env") == ["lib/a.py", "pyvenv.cfg"]


SECRETS = """
    .env .env.local prod.env id_rsa id_ed25519 server.key .netrc .pypirc credentials .git-credentials
    secrets.yaml store.p12 prod.tfvars
"""


@pytest.mark.parametrize("name", SECRETS.split())
def test_secrets_are_skipped_by_name_unless_asked_for(make: Make, name: str) -> None:
    root = make({name: "token = 1\n", ".vecloomignore": f"!{name}\n"})
    assert skips(root) == {name: "secret"}
    assert name in files(root, ScanOptions(secrets=True))


def test_folders_of_secrets_are_not_entered(make: Make) -> None:
    root = make({".ssh/config": "Host a\n", "a.py": "x = 1\n"})
    assert skips(root) == {".ssh/": "secret"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("package-lock.json", "generated"),
        ("Cargo.lock", "generated"),
        ("app.min.js", "generated"),
        ("app.js.map", "generated"),
        ("user_pb2.py", "generated"),
        ("user.pb.go", "generated"),
        ("logo.svg", "generated"),
        ("a.py~", "generated"),
        ("logo.PNG", "binary"),
        ("~$report.docx", "generated"),
        ("lib.so.5.0", "binary"),
        ("a.tar.gz", "binary"),
    ],
)
def test_files_that_nobody_reads_are_skipped_by_name(make: Make, name: str, reason: str) -> None:
    assert skips(make({name: "x\n"})) == {name: reason}


def test_what_looks_generated_is_taken_where_a_rule_or_an_option_keeps_it(make: Make) -> None:
    root = make(
        {".vecloomignore": "!app.min.js\n!node_modules/\n", "app.min.js": "a\n", "node_modules/a.js": "b\n"}
    )
    assert files(root) == [".vecloomignore", "app.min.js", "node_modules/a.js"]
    root = make({"b.lock": "x\n"})
    assert files(root, ScanOptions(generated=True))[-2:] == ["b.lock", "node_modules/a.js"]


def test_caps_depend_on_the_kind_and_large_files_are_not_opened(make: Make) -> None:
    root = make({"a.py": "x" * 101, "b.json": "1" * 51, "c.ipynb": "{" * 201, "d.py": "x" * 100})
    with (root / "huge.py").open("wb") as huge:
        huge.truncate(2 << 30)
    options = ScanOptions(max_bytes=100, max_data_bytes=50, max_notebook_bytes=200)
    assert files(root, options) == ["d.py"]
    assert set(skips(root, options).values()) == {"too large"}
    assert skips(root)["huge.py"] == "too large"


def test_a_file_that_grew_since_it_was_listed_is_read_to_its_cap_only(make: Make) -> None:
    root = make({"a.py": "x"})
    (file,) = [item for item in scan(root, ScanOptions(max_bytes=10)) if isinstance(item, File)]
    (root / "a.py").write_bytes(b"y" * 10)
    assert read(file) == b"y" * 10
    (root / "a.py").write_bytes(b"y" * 11)
    skip = read(file)
    assert isinstance(skip, Skip)
    assert skip.reason == "too large"


def test_a_file_that_shrank_since_it_was_listed_is_read_as_it_is(make: Make) -> None:
    root = make({"a.py": "x" * 100})
    file = only_file(root)
    (root / "a.py").write_bytes(b"y")
    assert read(file) == b"y"


def test_a_file_that_vanished_is_a_skip(make: Make) -> None:
    root = make({"a.py": "x = 1\n"})
    file = only_file(root)
    (root / "a.py").unlink()
    assert read(file) == Skip("a.py", "vanished", "No such file or directory")
    (root / "a.py").mkdir()
    skip = read(file)
    assert isinstance(skip, Skip)
    assert skip.reason in {"vanished", "permission"}  # Windows refuses to open a folder


@posix
def test_a_link_or_pipe_put_in_the_place_of_a_file_is_not_followed(make: Make, tmp_path: Path) -> None:
    root = make({"a.py": "x = 1\n"})
    (tmp_path / "outside").write_text("secret\n")
    file = only_file(root)
    (root / "a.py").unlink()
    (root / "a.py").symlink_to(tmp_path / "outside")
    assert read(file) == Skip("a.py", "vanished", "replaced by a link")
    (root / "a.py").unlink()
    os.mkfifo(root / "a.py")
    skip = read(file)
    assert isinstance(skip, Skip)
    assert skip.reason == "special file"


@posix
def test_pipes_sockets_and_devices_are_skipped_without_waiting(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make({"a.py": "x = 1\n"})
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)  # a socket's path is limited to some hundred bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert skips(root) == {"pipe": "special file", "socket": "special file"}


@posix
def test_links_are_told_apart_and_never_followed(make: Make, tmp_path: Path) -> None:
    root = make({"a.py": "x = 1\n", "sub/b.py": "y = 1\n"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "c.py").write_text("z = 1\n")
    (root / "copy.py").symlink_to("a.py")
    (root / "sub" / "up").symlink_to(root)
    (root / "loop").symlink_to("loop")
    (root / "gone").symlink_to("nowhere")
    (root / "away").symlink_to(tmp_path / "outside")
    (root / "beside").symlink_to(f"{root}-2")
    Path(f"{root}-2").mkdir()
    assert files(root) == ["a.py", "sub/b.py"]
    assert skips(root) == {
        "away": "link outside",
        "beside": "link outside",
        "copy.py": "link inside",
        "gone": "broken link",
        "loop": "broken link",
        "sub/up": "link inside",
    }


needs_permissions = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind root, nor exist on Windows"
)


@needs_permissions
def test_what_may_not_be_read_is_skipped_and_the_rest_is_found(make: Make) -> None:
    root = make({"a.py": "x = 1\n", "closed/b.py": "y\n", "c.py": "z = 1\n"})
    (root / "closed").chmod(0)
    (root / "a.py").chmod(0)
    try:
        assert skips(root) == {"closed/": "permission"}
        first, _ = [item for item in scan(root) if isinstance(item, File)]
        assert read(first) == Skip("a.py", "permission", "Permission denied")
    finally:
        (root / "closed").chmod(0o700)


UNREADABLE = """
import os, sys
from pathlib import Path
from vecloom.errors import VecloomError
from vecloom.sources import File, read, scan
root = Path(sys.argv[1])
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for item in scan(root):
    print(read(item) if isinstance(item, File) else item)
try:
    scan(root / "closed")
except VecloomError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can become somebody else")
def test_permissions_bind_a_user_who_is_not_root(make: Make) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        if not all(parent.stat().st_mode & 1 for parent in root.parents):
            pytest.skip("the folder for temporary files is closed to others")
        root.chmod(0o755)
        make({"a.py": "x = 1\n", "b.py": "y = 1\n", "closed/c.py": "z = 1\n"}, root)
        (root / "a.py").chmod(0)
        (root / "closed").chmod(0)
        command = [sys.executable, "-c", UNREADABLE, str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "Skip(path='a.py', reason='permission', detail='Permission denied')",
        "b'y = 1\\n'",
        "Skip(path='closed/', reason='permission', detail='Permission denied')",
    ]
    assert lines[3].endswith("Permission denied; check its permissions, or name another folder")


def test_the_index_itself_is_passed_over_without_a_count(make: Make) -> None:
    root = make({"a.py": "x = 1\n", "index/index.json": "{}"})
    assert [item.path for item in scan(root, ScanOptions(exclude=(root / "index",)))] == ["a.py"]


def test_deep_trees_are_walked_without_recursion(tmp_path: Path) -> None:
    depth = 600
    folder = tmp_path
    for _ in range(depth):
        folder = folder / "d"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("x = 1\n")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        found = files(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["d/" * depth + "a.py"]


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse names that are not UTF-8")
def test_odd_names_become_valid_and_distinct_paths_that_can_be_read(make: Make) -> None:
    root = make({"a.py": "x = 1\n"})
    names = [b"new\nline.py", b"bad\xff.py", b"bad\\xff.py", b"esc\x1b.py", "é.py".encode(), b"tab\t.py"]
    for name in names:
        Path(os.fsdecode(bytes(root) + b"/" + name)).write_bytes(name)
    found = [item for item in scan(root) if isinstance(item, File)]
    assert len({item.path.encode() for item in found}) == len(names) + 1
    assert {read(item) for item in found} == {*names, b"x = 1\n"}
    assert "bad\\xff.py" in {item.path for item in found}
    assert "bad\\\\xff.py" in {item.path for item in found}


@given(st.lists(st.binary(min_size=1, max_size=6), min_size=2, max_size=2, unique=True))
def test_escaped_names_are_valid_and_distinct(names: list[bytes]) -> None:
    first, second = (escape_name(name.decode("utf-8", "surrogateescape")) for name in names)
    assert first.encode() != second.encode()


@given(st.text())
def test_printable_text_holds_no_control_characters(text: str) -> None:
    shown = printable(text, keep="\n")
    assert all(char == "\n" or ord(char) >= 32 for char in shown)
    assert not set(shown) & set("\x7f\x9b\u202e\u2066")


def test_printable_leaves_ordinary_text_alone() -> None:
    assert printable("naïve 日本 🙂 ~") == "naïve 日本 🙂 ~"
    assert printable("a\x1b[31m\u202eb\udcff") == "a\\x1b[31m\\u202eb\\udcff"


def test_source_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "tree")
    assert source_name(Path(), ()) == "tree"
    assert source_name(Path("sub/.."), ()) == "tree"
    assert source_name(Path("/a/lib"), {"lib", "lib-2"}) == "lib-3"
    assert source_name(Path(Path.cwd().anchor), ()) == "root"


def write_corpus(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_a_jsonl_root_gives_one_document_a_record(tmp_path: Path) -> None:
    corpus = write_corpus(
        tmp_path / "corpus.jsonl",
        {"_id": "b/2", "title": "Second", "text": "two\nlines"},
        {"_id": "a\\1", "title": "", "text": "first"},
        "",
        {"_id": 3, "text": "a number for an id"},
        {"_id": "4", "title": "Title alone", "text": ""},
    )
    documents = []
    for item in scan(corpus):
        assert isinstance(item, File)
        data = read(item)
        assert isinstance(data, bytes)
        document = decode("s", item, data)
        assert not isinstance(document, Skip)
        assert not document.path_in_header
        documents.append((document.path, document.title, document.text, document.kind))
    assert documents == [
        ("3", "", "a number for an id", "prose"),
        ("4", "", "Title alone", "prose"),
        ("a\\1", "", "first", "prose"),
        ("b/2", "Second", "two\nlines", "prose"),
    ]


def test_bad_records_are_skipped_with_their_line(tmp_path: Path) -> None:
    corpus = write_corpus(
        tmp_path / "corpus.jsonl",
        {"_id": "1", "text": "x"},
        "{broken",
        {"text": "no id"},
        {"_id": "2"},
        {"_id": "1", "text": "again"},
        {"_id": "5", "text": " "},
        ["a list"],
        {"_id": "6", "text": "y" * 200},
        {"_id": "7", "text": "z"},
    )
    options = ScanOptions(max_bytes=100)
    assert files(corpus, options) == ["1", "7"]
    assert skips(corpus, options) == {
        "corpus.jsonl:2": "bad record",
        "corpus.jsonl:3": "bad record",
        "corpus.jsonl:4": "bad record",
        "corpus.jsonl:5": "duplicate record",
        "corpus.jsonl:6": "empty",
        "corpus.jsonl:7": "bad record",
        "corpus.jsonl:8": "too large",
    }


def test_a_corpus_that_changes_between_listing_and_reading_gives_skips(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", {"_id": "1", "text": "x"}, {"_id": "2", "text": "y"})
    first, second = scan(corpus)
    assert isinstance(first, File)
    assert isinstance(second, File)
    write_corpus(corpus, {"_id": "9", "text": "x"})
    for item in (first, second):
        data = read(item)
        assert isinstance(data, bytes)
        skip = decode("s", item, data)
        assert isinstance(skip, Skip)
        assert skip.reason == "bad record"


@given(
    st.lists(st.integers(min_value=0, max_value=40), max_size=8),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_records_of_every_length_around_the_cap(
    tmp_path: Path, sizes: list[int], last: bool, end: str
) -> None:
    lines = [
        json.dumps({"_id": str(i), "text": "é" + "x" * size}, ensure_ascii=False)
        for i, size in enumerate(sizes)
    ]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes((end.join(lines) + (end if last else "")).encode())
    small = [line.encode() for line in lines if len(line.encode()) <= 45]
    found = [item for item in scan(corpus, ScanOptions(max_bytes=45)) if isinstance(item, File)]
    assert [read(item) for item in found] == small


def test_a_jsonl_file_inside_a_folder_is_plain_data(make: Make) -> None:
    root = make({"corpus.jsonl": '{"_id": "1", "text": "x"}\n'})
    file = only_file(root)
    document = decode("s", file, b'{"_id": "1", "text": "x"}\n')
    assert not isinstance(document, Skip)
    assert (document.path, document.kind, document.language) == ("corpus.jsonl", "data", "jsonl")


def walk(root: Path) -> Iterator[str]:
    return (str(item) for item in scan(root))


def test_two_scans_of_one_tree_are_equal(make: Make) -> None:
    root = make({"a/b.py": "x\n", "a/.env": "y\n", "c.lock": "z\n", "d/e/f.md": "# f\n"})
    assert list(walk(root)) == list(walk(root))


def test_errors_of_the_root_name_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(VecloomError, match="file/below"):
        scan(tmp_path / "file" / "below")
