"""Ignore files: Git's own answers, levels and their order, and the roots that users name."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecloom.sources import File, Skip, scan
from vecloom.sources.gitignore import IgnoreFile

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

# No settings of the user or the machine, and no repository around the test's folder.
GIT = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
    GIT.pop(name, None)


def git(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=folder, env=GIT, check=True, capture_output=True).stdout


def write(root: Path, files: dict[str, str]) -> Path:
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8", newline="")
    return root


def found(root: Path) -> set[str]:
    """Paths of the files that are no ignore files themselves."""
    paths = {item.path for item in scan(root) if isinstance(item, File)}
    return {path for path in paths if not path.endswith("ignore")}


def details(root: Path) -> dict[str, str]:
    return {i.path: i.detail for i in scan(root) if isinstance(i, Skip) and i.reason == "ignored"}


# Every row: patterns, what they ignore, what they do not. A trailing slash marks a folder.
@pytest.mark.parametrize(
    ("patterns", "ignored", "kept"),
    [
        ("*.log", ["a.log", "d/a.log", "d.log/"], ["a.logs", "log"]),
        ("/a", ["a", "a/"], ["d/a"]),
        ("d/a", ["d/a"], ["a", "e/d/a"]),
        ("a/", ["a/", "d/a/"], ["a"]),
        ("**/a", ["a", "d/a", "d/e/a"], ["ab"]),
        ("d/**", ["d/a", "d/e/"], ["d/", "a"]),
        ("d/*", ["d/a", "d/e/"], ["d/", "d/e/a"]),
        ("d/**/a", ["d/a", "d/e/a", "d/e/f/a"], ["a", "d/ea"]),
        ("a*b?c", ["abxc", "aXbxc"], ["abc", "ab/c"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[!a]x", ["bx"], ["ax", "x"]),
        ("[[:digit:]]x", ["1x"], ["ax"]),
        ("[]a]x", ["]x", "ax"], ["x"]),
        ("[a", [], ["[a", "a"]),
        ("a\\", [], ["a", "a\\"]),
        ("\\!a\n\\#b\n\\*c", ["!a", "#b", "*c"], ["a", "xc"]),
        ("#a\n\n  \n", [], ["#a", "  ", "a"]),
        ("a \nb\\ \n", ["a", "b "], ["a ", "b"]),
        ("a\r\nb\r\n", ["a", "b"], []),
        ("\ufeffa", ["a"], []),
        ("*.log\n!a.log", ["b.log"], ["a.log"]),
        ("!a.log\n*.log", ["a.log"], []),
        ("/\n!\n//\n", [], ["a", "a/"]),
        ("é?", ["éa"], ["é"]),
    ],
)
def test_the_language_of_patterns(patterns: str, ignored: list[str], kept: list[str]) -> None:
    rules = IgnoreFile(patterns.encode())

    def says(path: str) -> bool:
        path = path.encode().decode("latin-1")
        parent, _, base = path.rstrip("/").rpartition("/")
        rule = rules.find(path, path[len(parent) + bool(parent) :] or base)
        return rule is not None and not rule.keeps

    assert [path for path in ignored if not says(path)] == []
    assert [path for path in kept if says(path)] == []


WORDS = "* ** ? / a b foo . [ab] [!a] [a-c] [[:alpha:]] \\ ! # ] [ - é **/ /** /* *.py [^b] []a] [a-] \\*"
ATOMS = st.sampled_from([*WORDS.split(), " "])
PATTERNS = st.lists(ATOMS, min_size=1, max_size=5).map("".join)
# The plain first line keeps a root's file from being of the kind that hides the whole root.
IGNORE_FILES = st.lists(PATTERNS, min_size=1, max_size=5).map(
    lambda lines: "plain\n" + "\n".join(lines) + "\n"
)
NAMES = ["a", "b", "foo", "x.py", "a.b", "foo b", "!a", "#a", "-", "é"]
TREE = [
    "/".join(parts)
    for parts in [
        *((name,) for name in NAMES[2:-1]),
        *(("a", name) for name in NAMES[1:]),
        *(("a", "a", name) for name in NAMES),
        *(("b", "foo", name) for name in NAMES[:5]),
        ("é", "a.b", "a"),
    ]
]


@needs_git
@given(top=IGNORE_FILES, inner=IGNORE_FILES, exclude=PATTERNS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_git_lists_the_same_files(tmp_path: Path, top: str, inner: str, exclude: str) -> None:
    if not (tmp_path / ".git").exists():
        git(tmp_path, "init", "-q")
        write(tmp_path, dict.fromkeys(TREE, "text\n"))
    write(tmp_path, {".gitignore": top, "a/.gitignore": inner, ".git/info/exclude": exclude + "\n"})
    listed = git(tmp_path, "ls-files", "-z", "--others", "--exclude-standard").decode().split("\0")
    assert found(tmp_path) == {path for path in listed if path and not path.endswith("ignore")}


@pytest.mark.timeout(60, method="thread")  # with backtracking these take longer than anybody would wait
@pytest.mark.parametrize(
    "pattern", ["*a" * 30 + "*b", "**/a*/" * 12 + "b", "*/" * 12 + "**/" * 12 + "c", "[a]*" * 30 + "b"]
)
def test_a_hostile_pattern_ends(pattern: str) -> None:
    rules = IgnoreFile(pattern.encode())
    assert rules.find("a" * 200, "a" * 200) is None
    assert rules.find("aa/" * 60 + "a", "a") is None


def test_the_nearest_file_decides_and_a_rule_cannot_reach_into_an_ignored_folder(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            ".gitignore": "*.log\nbuild/\n!build/keep.py\n",
            "sub/.gitignore": "!b.log\n",
            "a.log": "x",
            "sub/a.log": "x",
            "sub/b.log": "x",
            "build/keep.py": "x",
        },
    )
    assert found(root) == {"sub/b.log"}
    assert details(root) == {
        "a.log": ".gitignore:1: *.log",
        "build/": ".gitignore:2: build/",
        "sub/a.log": ".gitignore:1: *.log",
    }


def test_vecloomignore_wins_over_gitignore_at_every_level(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            ".vecloomignore": "!kept.py\nout.md\n",
            ".gitignore": "kept.py\n",
            "sub/.gitignore": "kept.py\n!out.md\n",
            "kept.py": "x",
            "out.md": "x",
            "sub/kept.py": "x",
            "sub/out.md": "x",
        },
    )
    assert found(root) == {"kept.py", "sub/kept.py"}
    assert details(root)["sub/out.md"] == ".vecloomignore:2: out.md"


@needs_git
def test_rules_above_the_root_count_inside_its_work_tree_only(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "a.py\n", ".vecloomignore": "b.py\n"})
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q")
    write(
        work,
        {
            ".gitignore": "/lib/c.py\nd.py\n",
            ".vecloomignore": "lib/e.py\n",
            ".git/info/exclude": "/lib/f.py\n",
            **dict.fromkeys([f"lib/{name}.py" for name in "abcdef"], "x"),
        },
    )
    assert found(work / "lib") == {"a.py", "b.py"}
    assert details(work / "lib") == {
        "c.py": ".gitignore:1: /lib/c.py",
        "d.py": ".gitignore:2: d.py",
        "e.py": ".vecloomignore:1: lib/e.py",
        "f.py": ".git/info/exclude:1: /lib/f.py",
    }


@needs_git
def test_a_root_inside_an_ignored_folder_is_indexed(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(
        tmp_path,
        {
            ".gitignore": "/venv/*\n*.log\n",
            "venv/lib/.gitignore": "b.py\n",
            "venv/lib/a.py": "x",
            "venv/lib/b.py": "x",
            "venv/lib/c.log": "x",
        },
    )
    assert found(tmp_path) == set()
    assert found(tmp_path / "venv" / "lib") == {"a.py", "c.log"}


@pytest.mark.parametrize("own", ["*\n", "# made by a tool\n*\n", "*\n!.gitignore\n"])
def test_a_root_that_hides_itself_from_commits_is_indexed(tmp_path: Path, own: str) -> None:
    root = write(tmp_path, {"cache/.gitignore": own, "cache/a.py": "x"})
    assert found(root / "cache") == {"a.py"}
    assert found(root) == set()


def test_a_list_of_what_to_keep_is_honoured_at_the_root(tmp_path: Path) -> None:
    assert found(write(tmp_path, {".gitignore": "*\n!*.py\n", "a.py": "x", "b.md": "x"})) == {"a.py"}


@needs_git
def test_nested_work_trees_and_submodules_start_afresh(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(
        tmp_path,
        {
            ".gitignore": "a.py\n",
            ".vecloomignore": "b.py\n",
            ".git/modules/sub/info/exclude": "c.py\n",
            "sub/.git": "gitdir: ../.git/modules/sub\n",
            **dict.fromkeys(["sub/a.py", "sub/b.py", "sub/c.py", "a.py"], "x"),
        },
    )
    assert found(tmp_path) == {"sub/a.py"}
    assert details(tmp_path)["sub/c.py"] == "sub/.git/info/exclude:1: c.py"


@needs_git
def test_a_linked_worktree_takes_the_excludes_of_its_repository(tmp_path: Path) -> None:
    main = write(tmp_path / "main", {"a.py": "x"})
    git(main, "init", "-q")
    git(main, "add", "a.py")
    git(main, "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "first")
    git(main, "worktree", "add", "-q", "../linked")
    write(main, {".git/info/exclude": "b.py\n"})
    linked = write(tmp_path / "linked", {"b.py": "x"})
    assert found(linked) == {"a.py"}


def test_an_ignore_file_that_cannot_be_read_as_one_does_no_harm(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.py": "x"})
    (root / ".gitignore").mkdir()
    (root / ".vecloomignore").write_bytes(b"\xff\xfe\x00[\n")
    assert found(root) == {"a.py"}
