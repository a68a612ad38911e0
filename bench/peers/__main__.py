"""One step of a peer in a process of its own: ``python -m bench.peers NAME STEP ...``.

index TREE HOME QUESTION    index, then answer; the hits, one a line
search HOME QUESTION        a cold answer
warm HOME FILE              the questions of FILE, one a line: milliseconds of each
stored HOME                 what is stored, one JSON array a line: path, start, text
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from bench.peers import Search, peers
from bench.peers.vecloom_index import VecloomIndex

#: Questions that are asked before the measuring begins.
_FIRST = 10


def main(name: str, step: str, *arguments: str) -> None:
    """Run one step."""
    home = Path(arguments[1 if step == "index" else 0])
    if step == "index":
        print("\n".join(peers()[name].index(Path(arguments[0]), home)(arguments[2])))
        return
    peer = VecloomIndex() if name == "vecloom" else peers()[name]
    if step == "search":
        print("\n".join(peer.open(home)(arguments[1])))
    elif step == "warm":
        questions = Path(arguments[1]).read_text("utf-8").splitlines()
        print("\n".join(map(str, _milliseconds(peer.open(home), questions))))
    elif step == "stored":
        for passage in peer.stored(home):
            print(json.dumps([passage.path, passage.start, passage.text]))
    else:
        sys.exit(f"no step {step!r}; index, search, warm, stored")


def _milliseconds(search: Search, questions: list[str]) -> list[float]:
    times = []
    for question in [*questions[:_FIRST], *questions]:
        start = time.perf_counter()
        search(question)
        times.append(1000 * (time.perf_counter() - start))
    return times[_FIRST:]


if __name__ == "__main__":
    main(*sys.argv[1:])
