"""One word for one thing, and the field's own: what documents, docstrings, comments and messages may not say."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTEAD = {
    r"pictures?|pictured": "image",
    r"films?|filmed|filming": "video",
    r"draws?|drawn|drew|drawings?": "sampled, noise; rendered, a rendering; plotted",
    r"decisions?": "agent step (of the agent), control step (of the simulator)",
    r"(?:a|an|the|its|this|that|each|fixed|same|what) shares?|shares? (?:of|with which)": "fraction",
    r"beside": "alongside, next to, besides",
    r"learns? (?:along|next to) it|learnt (?:with|along)": "jointly trained",
    r"(?:the|at) present|present (?:policy|scene|speed|step|state|moment)": "current",
    r"products": "matrix multiplications",
    r"first weights": "(weight) initialization",
    r"plays? (?:it |them )?again|played again|(?:is|are|was|were) played": "replays, is run",
    r"settings?": "options, hyperparameters",
    r"action sequences?|sequences? of (?:\w+ )?actions|plans?": "action chunk",
    r"numbers? (?:of|in) (?:the|a|its) latent|latent of [\d,]+(?: numbers)?": "dimensions of the latent",
    r"recorded (?:as|in) a? ?(?:CUDA )?graphs?|plain updates?": "captured; eager",
    r"hyper-parameters?": "hyperparameters",
    r"optimisers?": "optimizer",
    r"teach(?:es)? nobody": "warm-up updates on a throwaway agent",
    r"shows and pays": "observations and rewards",
    r"cannot be learnt in": "unusable",
    r"all that is said there": "everything there",
    r"has not met|have not met": "held-out",
    r"begins slowly|stands? still": "the quantity and its value",
}
"""What is not said -> what is said instead."""
ALLOWED = {
    "Reinforcement Learning with Action Sequence",  # the title of a paper
    '"plans"',  # a key of saved controllers
    "oracles.plan.",  # a package of OGBench
}
PATTERN = re.compile("|".join(f"(?P<w{n}>\\b(?:{word})\\b)" for n, word in enumerate(INSTEAD)), re.IGNORECASE)
PAGES = [
    *sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def prose(path: Path) -> list[tuple[int, str]]:
    """(line, text) of what people read: pages but for their code; comments, docstrings and messages of a module."""
    if path.suffix == ".md":
        text = re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), path.read_text(), flags=re.S | re.M)
        text = re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", text)
        return list(enumerate(text.splitlines(), start=1))
    found = []
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            text = re.sub(r"``[^`]*``|\{[^{}]*\}", lambda code: "\n" * code[0].count("\n"), token.string)
            found += list(enumerate(text.splitlines(), start=token.start[0]))
    return found


def offences(path: Path) -> list[str]:
    said = []
    for number, line in prose(path):
        for title in ALLOWED:
            line = line.replace(title, "")
        for match in PATTERN.finditer(line):
            instead = list(INSTEAD.values())[int(match.lastgroup[1:])]  # type: ignore[index]
            said.append(f"{path.relative_to(ROOT)}:{number}: {match[0]!r} (say: {instead})")
    return said


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_use_the_words_of_the_field(path):
    assert not (said := offences(path)), "\n".join(said)


def test_the_source_uses_the_words_of_the_field():
    said = [line for path in SOURCES for line in offences(path)]
    assert not said, "\n".join(said)


@pytest.mark.parametrize(("text", "found"), [("a picture of it", True), ("an image of it", False), ("drawer", False)])
def test_an_offence_is_found(text, found):
    assert (PATTERN.search(text) is not None) == found


if __name__ == "__main__":
    import sys

    for path in [*PAGES, *SOURCES]:
        if not sys.argv[1:] or any(str(path.relative_to(ROOT)).startswith(start) for start in sys.argv[1:]):
            print(*offences(path), sep="\n", end="\n" if offences(path) else "")
