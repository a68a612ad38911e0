"""Write docs/cli.md from the commands' own help; with --check, fail where the file is not what they say."""

from __future__ import annotations

import sys
from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from vecloom.cli import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """# Command line

Generated from the commands' own help by `make docs`; `make test` fails where it is out of date.

Results go to stdout, everything else to stderr. Exit codes: 0 done (skipped files included), 1 not done,
2 wrong usage, 130 stopped by Ctrl-C.
"""


def command_paths() -> list[tuple[str, ...]]:
    """Every command as the words that call it, groups before their commands."""
    paths: list[tuple[str, ...]] = []
    root = get_command(app)
    for name, command in sorted(getattr(root, "commands", {}).items()):
        paths.append((name,))
        paths += [(name, inner) for inner in sorted(getattr(command, "commands", {}))]
    return paths


def reference() -> str:
    """The whole page."""
    runner = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"})
    parts = [HEAD]
    for path in [(), *command_paths()]:
        result = runner.invoke(app, [*path, "--help"], prog_name="vecloom", terminal_width=100)
        if result.exit_code:
            raise SystemExit(f"vecloom {' '.join(path)} --help failed: {result.output}")
        title = " ".join(("vecloom", *path))
        body = "\n".join(line.rstrip() for line in result.output.strip().splitlines())
        parts.append(f"\n## {title}\n\n```text\n{body}\n```\n")
    return "".join(parts)


def main() -> None:
    """Write the page or check it."""
    page = reference()
    if "--check" in sys.argv[1:]:
        if not PAGE.is_file() or PAGE.read_text("utf-8") != page:
            raise SystemExit(f"{PAGE.name} is not what the commands say; run make docs")
    else:
        PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
