"""The documents keep their promises: links lead somewhere, commands parse, examples run, no option or name is missing.

Run this file (``python tests/test_docs.py``) to write the tables of options, presets and metrics again.
"""

import dataclasses
import functools
import re
import shlex
import typing
from pathlib import Path

import pytest
import torch

from zoomrl.agents.act.config import ACTConfig
from zoomrl.agents.bc.config import BCConfig
from zoomrl.agents.cqn.config import CQNASConfig
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2Config, DrQv2PlusConfig
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.taco.config import TACOConfig
from zoomrl.agents.tcrl.config import TCRLConfig
from zoomrl.agents.td3.config import IQRLConfig, TD3Config
from zoomrl.agents.td7.config import TD7Config
from zoomrl.cli.ablate import Ablate
from zoomrl.cli.compare import Compare
from zoomrl.cli.demos import CollectDemos, CollectPlay, InspectDemos
from zoomrl.cli.demos_check import CheckDemos
from zoomrl.cli.demos_convert import ExportDemos, ImportDemos
from zoomrl.cli.demos_view import ViewDemos
from zoomrl.cli.diagnose import Diagnose
from zoomrl.cli.doctor import Doctor
from zoomrl.cli.env import Environments
from zoomrl.cli.evaluate import Evaluate
from zoomrl.cli.execution import Execution
from zoomrl.cli.export import Export
from zoomrl.cli.hub import Pull, Push
from zoomrl.cli.lens import ValueLens
from zoomrl.cli.parity import Parity
from zoomrl.cli.plot import Plot
from zoomrl.cli.presets import Presets
from zoomrl.cli.report_page import ReportPage
from zoomrl.cli.reproduce import Reproduce
from zoomrl.cli.serve import Serve
from zoomrl.cli.sweep import Sweep, SweepStatus, SweepStop
from zoomrl.cli.tree import COMMANDS, NESTED, check_command, parse
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.field_docs import field_docs
from zoomrl.recipes.compose import preset
from zoomrl.recipes.presets import PRESETS
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.measure.trial import Trial
from zoomrl.training.renamed import RENAMED

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
WITH_EXAMPLES = [
    "README.md",
    "docs/how-to/checking.md",
    "docs/how-to/extending.md",
    "docs/how-to/formats.md",
    "docs/how-to/isolation.md",
    "docs/how-to/own-demonstrations.md",
    "docs/how-to/own-environment.md",
    "docs/how-to/training.md",
    "docs/reference/presets.md",
]
NOT_RUN = {"docs/how-to/pixels.md": "it shows cameras that are not there"}
TABLE = re.compile(r"(<!-- (options|table) of ([\w-]+): [^\n]* -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
by_name = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(page, *languages):
    """Contents of the fenced code blocks of these languages."""
    return [text for language, text in BLOCK.findall(page.read_text()) if language in languages]


def heading_ids(page):
    """Anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


# ---- options, from the config classes -----------------------------------------------------------------------


def options(kind, default, prefix="", standard=None):
    """(option, value in ``default``, value in the class, description, choices) per field, groups after the rest."""
    standard = kind() if standard is None else standard
    texts, hints = field_docs(kind), typing.get_type_hints(kind)
    fields = sorted(dataclasses.fields(kind), key=lambda f: dataclasses.is_dataclass(getattr(default, f.name)))
    for field in fields:
        value, name = getattr(default, field.name), f"{prefix}{field.name}".replace("_", "-")
        if dataclasses.is_dataclass(value):
            yield from options(type(value), value, f"{name}.", getattr(standard, field.name))
            continue
        choices = typing.get_args(hints[field.name]) if typing.get_origin(hints[field.name]) is typing.Literal else ()
        yield f"--{name}", value, getattr(standard, field.name), texts[field.name], choices


def shown(value):
    """A default, as the tables show it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value) or "(empty)"


def row(option, default, text, choices):
    """One row of a table."""
    meaning = text + (f" Choices: {', '.join(map(str, choices))}." if choices else "")
    return f"| `{option}` | {default} | {cell(meaning)} |"


def cell(text):
    """Text of a docstring as a cell of a table."""
    return text.replace("``", "`").replace("|", chr(92) + "|")


def train_table():
    """All options, with the defaults of the quickstart."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for option, value, standard, text, choices in options(TrainConfig, preset("quickstart")):
        default = shown(value) if value == standard else f"{shown(value)} ({shown(standard)})"
        lines.append(row(option, default, text, choices))
    return "\n".join(lines) + "\n"


def family_table(*kinds):
    """Options of a family of agents, with each one's default; what all agents have is in the table of train."""
    lines = [f"| option | {' | '.join(f'`{kind.name}`' for kind in kinds)} | meaning |"]
    lines.append("|---" * (len(kinds) + 2) + "|")
    rows = {}
    for kind in kinds:
        for name, value, _, text, choices in options(kind, kind(), "agent."):
            if not name.startswith(("--agent.encoder.", "--agent.representation.")):
                # The base class describes a field for all of them.
                _, _, values = rows.setdefault(name, (text, choices, {}))
                values[kind] = shown(value)
    for name, (text, choices, values) in rows.items():
        lines.append(row(name, " | ".join(values.get(kind, "-") for kind in kinds), text, choices))
    return "\n".join(lines) + "\n"


def command_table(kind):
    """Arguments and options of a command other than train."""
    hints, texts = typing.get_type_hints(kind, include_extras=True), field_docs(kind)
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(kind):
        if field.name == "command":
            continue  # the word that chose it
        marks = getattr(hints[field.name], "__metadata__", ())
        bare = hints[field.name].__origin__ if marks else hints[field.name]
        metavar = next((mark.metavar for mark in marks if getattr(mark, "metavar", None)), field.name.upper())
        positional = any(str(mark) == "Positional" for mark in marks)
        if dataclasses.is_dataclass(bare):
            lines.append(f"| `--{field.name}.…` | | Options of the environment, as for `train`. |")
            continue
        option = metavar if positional else f"--{field.name.replace('_', '-')}"
        default = "required" if field.default is dataclasses.MISSING else shown(field.default)
        choices = typing.get_args(bare) if typing.get_origin(bare) is typing.Literal else ()
        lines.append(row(option, default, texts[field.name], choices))
    return "\n".join(lines) + "\n"


def preset_table():
    """All presets; the algorithm of each is in its name or its description."""
    lines = ["| preset | `--env` | steps | what it is for |", "|---|---|---|---|"]
    for name, recipe in PRESETS.items():
        config = recipe.config()
        task = f"`{config.env.id}`" if config.env.id else f"yours: `{recipe.domain}:…`"
        lines.append(f"| `{name}` | {task} | {config.steps:,} | {cell(recipe.about)} |")
    return "\n".join(lines) + "\n"


def task_table():
    """What a task changes of a preset."""
    lines = ["| preset | tasks | what `--env` changes |", "|---|---|---|"]
    for name, recipe in PRESETS.items():
        alike = {}
        for task, numbers in recipe.numbers.items():
            words = ", ".join(f"`{option}` {shown(value)}" for option, value in numbers.items())
            alike.setdefault(words, []).append(task)
        for words, tasks in alike.items():
            listed = ", ".join(task.partition(":")[2] for task in tasks)
            lines.append(f"| `{name}` | {listed} | {words} |")
    return "\n".join(lines) + "\n"


def metric_table():
    """Where each metric of the agents is explained: the tables of their pages."""
    places = {}
    for page in sorted((ROOT / "docs" / "algorithms").glob("*.md")):
        text = page.read_text()
        title = re.split(", | of ", re.search(r"^# (.+)$", text, re.MULTILINE)[1])[0]
        for part in re.split(r"^## Logged metrics$", text, flags=re.MULTILINE)[1:]:
            for names in re.findall(r"^\| (`[^|]*`) \|", part, re.MULTILINE):
                for name in re.findall(r"`([^`]+)`", names):
                    places.setdefault(name, {})[title] = page.name
    assert {"critic_loss", "imitation_loss", "latent_condition"} <= places.keys()
    lines = ["| name | explained with |", "|---|---|"]
    for name in sorted(places):
        links = (f"[{title}](../algorithms/{page}#logged-metrics)" for title, page in places[name].items())
        lines.append(f"| `{name}` | {', '.join(links)} |")
    return "\n".join(lines) + "\n"


METRICS_ON = {
    "cqn_as": ("cqn",),
    "drqv2_plus": ("drqv2",),
    "drqv2_as": ("drqv2",),
    "iqrl": ("iqrl", "td3"),
    "tcrl": ("tcrl", "iqrl", "drqv2"),
    "taco": ("taco", "drqv2"),
}
"""Pages that explain an agent's metrics, where it is not the page of its own name."""
COMMAND_TABLES = {
    "eval": Evaluate,
    "demos-collect": CollectDemos,
    "demos-collect-play": CollectPlay,
    "demos-inspect": InspectDemos,
    "demos-view": ViewDemos,
    "demos-check": CheckDemos,
    "demos-import": ImportDemos,
    "demos-export": ExportDemos,
    "env-check": Environments,
    "plot": Plot,
    "report": ReportPage,
    "diagnose": Diagnose,
    "lens": ValueLens,
    "presets": Presets,
    "execution": Execution,
    "export": Export,
    "serve": Serve,
    "push": Push,
    "pull": Pull,
    "parity": Parity,
    "ablate": Ablate,
    "reproduce": Reproduce,
    "sweep": Sweep,
    "compare": Compare,
    "sweep-status": SweepStatus,
    "sweep-stop": SweepStop,
    "doctor": Doctor,
}
"""Commands with options of their own, but for train."""
TABLES = {
    "commands.md": {
        **{name: functools.partial(command_table, kind) for name, kind in COMMAND_TABLES.items()},
        "train": train_table,
        "drqv2": functools.partial(family_table, DrQv2Config, DrQv2PlusConfig, DrQv2ASConfig, TCRLConfig, TACOConfig),
        "td3": functools.partial(family_table, TD3Config, IQRLConfig, TD7Config, SACConfig),
        "imitation": functools.partial(family_table, BCConfig, ACTConfig),
    },
    "presets.md": {"presets": preset_table, "tasks": task_table},
    "metrics.md": {"metrics": metric_table},
}
"""What is generated: page of the reference -> name of the table -> its text."""


@functools.cache
def known_options():
    """Every option of every command, as it is typed."""
    known = {"--help", "--version", "--debug", "--agent", "--env", "--env-python", "--demos"}
    for name, value, *_ in options(TrainConfig, preset("quickstart")):
        known.add(name)
        if isinstance(value, bool):
            group, dot, last = name.removeprefix("--").rpartition(".")
            known.add(f"--{group}{dot}no-{last}")
    for kind in AGENT_CONFIGS.values():
        for name, value, *_ in options(kind, kind(), "agent."):
            known |= {name, name.replace("--agent.", "--agent.no-")} if isinstance(value, bool) else {name}
    for script in (ROOT / "examples").glob("*.py"):
        known |= set(re.findall(r'add_argument\("(--[a-z-]+)"', script.read_text()))
    for kind in COMMAND_TABLES.values():
        known |= {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(kind)}
    return known


# ---- tests ----------------------------------------------------------------------------------------------------


@by_name
def test_links_and_images_lead_somewhere(page):
    text = BLOCK.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}, which does not exist"
        if anchor:
            assert anchor in heading_ids(there), f"{page.name} links to {target}: no such heading"


@by_name
def test_options_that_are_mentioned_exist(page):
    from benchmarks.chaos.program import parser  # not found where this file is run to write tables

    # Options of other programs that the pages mention.
    known = known_options() | {"--no-install-recommends", "--no-deps", "--no-build-isolation"}
    known |= {"--head", "--port", "--address", "--shm-size", "--logdir"}
    known |= {f"--{old}".replace("_", "-") for old in RENAMED if page.name == "CHANGELOG.md"}
    known |= {name for action in parser()._actions for name in action.option_strings}
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", TABLE.sub("", page.read_text())))
    assert mentioned <= known, f"{page.name} mentions {sorted(mentioned - known)}"


@by_name
@pytest.mark.long
def test_commands_parse(page):
    for text in blocks(page, "bash", "console", "sh"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix(".venv/bin/"), comments=True)
            if words[:1] != ["zoomrl"] or words[1:] == ["--version"] or "completion" in words or "--help" in words:
                continue
            check_command(words[1:])
            command = parse(words[1:])
            if hasattr(command, "to_config"):
                command.to_config()


@pytest.mark.parametrize("page", WITH_EXAMPLES)
@pytest.mark.long
def test_python_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = blocks(ROOT / page, "python")
    assert found, f"{page} has no example"
    for text in found:
        # The same program with less patience.
        short = re.sub(r"\b(steps|offline_updates)=[\d_]+", r"\1=120", text)
        short = re.sub(r"\b(seed_steps|uniform_steps|every)=[1-9][\d_]*", r"\1=60", short)
        short = re.sub(r"\b(episodes|final_episodes)=[1-9]\d*", r"\1=2", short)
        short = re.sub(r'\bpreset\("([\w-]+)", ', r'preset("\1", **{"eval.final_episodes": 2}, ', short)
        exec(compile(short, page, "exec"), {"__name__": "__main__"})


def test_every_page_with_examples_is_run():
    home = ROOT / "docs" / "index.md"
    assert blocks(home, "python") == blocks(ROOT / "README.md", "python")[:1], "both begin with the same example"
    pages = {str(page.relative_to(ROOT)) for page in PAGES if blocks(page, "python") and page != home}
    assert pages == {*WITH_EXAMPLES, *NOT_RUN}


@pytest.mark.parametrize(
    ("page", "name"),
    [
        pytest.param(page, name, marks=pytest.mark.long if name == "presets" else ())
        for page, tables in TABLES.items()
        for name in tables
    ],
)
def test_generated_tables_are_up_to_date(page, name):
    found = {table[3]: table[0] for table in TABLE.finditer((REFERENCE / page).read_text())}
    assert name in found, f"docs/reference/{page} has lost the marks around its table of {name}"
    assert TABLES[page][name]() in found[name], "what is shown has changed; run: python tests/test_docs.py"


def test_every_command_has_a_table():
    commands = {name: kind for name, kind in COMMANDS.items() if name not in NESTED}
    commands |= {f"{group}-{name}": kind for group, nested in NESTED.items() for name, kind in nested.items()}
    # The first has a table of its own; the second takes the name of a shell.
    assert commands.keys() - COMMAND_TABLES.keys() == {"train", "completion"}


def test_every_option_is_in_the_documents():
    text = "".join(page.read_text() for page in PAGES)
    names = [name for name, *_ in options(TrainConfig, preset("quickstart"))]
    assert {name for name, *_ in options(CQNASConfig, CQNASConfig(), "agent.")} <= set(names)
    for kind in AGENT_CONFIGS.values():
        names += [name for name, *_ in options(kind, kind(), "agent.")]
    assert {"--agent.noise-clip", "--agent.encoder.kind", "--env.cameras"} <= set(names)
    missing = [name for name in names if f"`{name}`" not in text]
    assert not missing, f"no page mentions {missing}"


@pytest.mark.long
def test_every_logged_metric_is_explained():
    spec = EnvSpec(
        "toy:state", {"state": ArraySpec((3,))}, ArraySpec((2,), low=(-1.0,) * 2, high=(1.0,) * 2), 20.0, 100
    )
    trainer = (ROOT / "src/zoomrl/training/trainer.py").read_text()
    evaluation = (ROOT / "src/zoomrl/training/evaluate.py").read_text()
    shared = set(re.findall(r'"(\w+_per_s)"', trainer)) | set(
        re.findall(r'^            "(\w+)":', evaluation, re.MULTILINE)
    )
    assert {"success_rate", "value_overestimation", "updates_per_s"} <= shared
    text = (REFERENCE / "metrics.md").read_text()
    assert not (missing := {name for name in shared if f"`{name}`" not in text}), f"no word on {sorted(missing)}"
    for kind in AGENT_CONFIGS.values():
        imitates = kind in (BCConfig, ACTConfig)
        config = dataclasses.replace(
            preset("bc-metaworld" if imitates else "cqn-metaworld"),
            agent=kind(),
            replay=ReplayConfig(batch_size=4, sampling="priority" if kind is TD7Config else "episode"),
            control=ControlConfig(),
        )
        trial = Trial(config, spec, torch.device("cpu"))
        logged = set(trial.update()) | set(trial.update())
        logged |= set(trial.agent.validate(trial.batch()))
        assert {"loss", trial.agent.parity_metric, "demo_fraction"} <= logged
        pages = [ROOT / "docs" / "algorithms" / f"{page}.md" for page in METRICS_ON.get(kind.name, (kind.name,))]
        text = "".join(page.read_text() for page in pages)
        missing = {name for name in logged if f"`{name}`" not in text}
        assert not missing, f"{[page.name for page in pages]} do not explain {sorted(missing)}"


def test_the_readme_is_short_and_begins_with_what_a_reader_wants():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    first = "\n".join(lines[:40])
    assert "quickstart.gif" in first
    assert "```bash" in first
    assert "```python" in first


def test_documents_keep_to_themselves():
    """A page speaks of this project only, never of the place where it was written."""
    for page in PAGES:
        assert not re.search(r"/work\b|\bshared/", page.read_text()), page.name


if __name__ == "__main__":
    for name, tables in TABLES.items():
        page = REFERENCE / name
        page.write_text(TABLE.sub(lambda found, of=tables: found[1] + of[found[3]]() + found[4], page.read_text()))
