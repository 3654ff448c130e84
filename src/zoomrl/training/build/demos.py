"""The demonstrations of a run: which are learnt from, which are held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from zoomrl.data.episode import Episode
from zoomrl.demos.check.manifest import check_manifest
from zoomrl.demos.fit import check_fit
from zoomrl.demos.fit_images import can_fit
from zoomrl.demos.store.reader import DemoSet, read_demos
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.spec import EnvSpec, is_of_play
from zoomrl.training.config import TrainConfig
from zoomrl.training.scripted import scripted_demos


def load_demos(config: TrainConfig, spec: EnvSpec, own_env: bool, console: Console) -> DemoSet | None:
    """The demonstrations that ``config.demos`` names, checked against the environment."""
    source = config.demos.source
    if source == "none":
        return None
    if source == "scripted" and own_env:
        raise ConfigError(
            "an environment built by make_env has no scripted expert. Set demos.source to the path of a demonstration "
            'set, or to "none".'
        )
    if source != "scripted" and is_of_play(config.env.id) and not Path(source).exists():
        raise DemonstrationError(
            f"no play at {source}: make some with `zoomrl demos collect-play SCENE --out F.npz`, then a set of it with "
            f"`zoomrl demos import ogbench F.npz --out {source} --env {config.env.id}`, or name one with --demos"
        )
    demos = scripted_demos(config.demos, config.env, console) if source == "scripted" else read_demos(source)
    recorded = demos.spec
    demos = check_fit(demos, spec)
    if can_fit(recorded, spec):
        height, width = recorded.observations["rgb"].shape[1:3]
        said = f"the demonstrations' images of {height} x {width} pixels are cropped and fitted as the environment's"
        console.print(said, highlight=False)
    check_manifest(demos, spec)
    if demos.spec.id != spec.id:
        if is_of_play(demos.spec.id) and is_of_play(spec.id):
            raise DemonstrationError(
                f"the play at {source} was imported for {demos.spec.id}: its rewards are of that task. Import its file "
                f"once more, for this one: zoomrl demos import ogbench F.npz --out DIR --env {spec.id}"
            )
        # Allowed: tasks may share demonstrations. But the same shapes may also be an accident.
        said = f"the demonstrations were recorded in {demos.spec.id}, and this run is of {spec.id}"
        console.print(said, highlight=False)
    return demos


def choose_episodes(config: TrainConfig, demos: DemoSet | None, say: Callable[[str], None]) -> list[Episode]:
    """The first ``demos.episodes`` demonstrations and the failed attempts among them; what is left out is said."""
    if demos is None:
        return []
    limit = config.demos.episodes or len(demos.episodes)
    chosen: list[Episode] = []
    for episode in demos.episodes:
        if sum(e.is_demo for e in chosen) == limit:
            break
        chosen.append(episode)
    found = sum(e.is_demo for e in chosen)
    if config.demos.episodes and found < config.demos.episodes:
        raise ConfigError(
            f"demos.episodes asks for {config.demos.episodes} demonstrations, but the set holds {found} "
            f"that are marked as such. "
            "Ask for fewer, or for 0 to use all."
        )
    if found < len(demos.demos):
        say(f"{found} of the {len(demos.demos)} demonstrations are used (--demos.episodes 0 uses all)")
    return chosen


def hold_out(episodes: list[Episode], fraction: float) -> tuple[list[Episode], list[Episode]]:
    """Episodes to learn from, and the last ``fraction`` of the demonstrations among them to validate with."""
    demos = [e for e in episodes if e.is_demo]
    count = max(1, round(fraction * len(demos))) if fraction and demos else 0
    if count and count == len(demos):
        raise ConfigError(
            f"demos.validation={fraction} of {len(demos)} demonstrations leaves none to learn from; lower it, or use "
            "more"
        )
    held = {id(e) for e in demos[len(demos) - count :]}
    return [e for e in episodes if id(e) not in held], [e for e in episodes if id(e) in held]


def check_no_episodes(config: TrainConfig) -> None:
    """Of an environment that is known by its recordings alone: refuse episodes, and a run that learns nothing."""
    asked = [f"steps={config.steps}"] * (config.steps > 0)
    if config.evaluates:
        asked.append(f"eval.episodes={config.eval.episodes}, eval.final_episodes={config.eval.final_episodes}")
    asked += ["demos.source=scripted"] * (config.demos.source == "scripted")
    if asked:
        raise ConfigError(
            f"{config.env.id} is a demonstration set, and there is nothing to step: {', '.join(asked)} cannot be had. "
            "A preset with `--env demos:...` has them as they must be"
        )
    if not config.offline_updates:
        raise ConfigError(
            f"{config.env.id} is a demonstration set, and offline_updates=0 learns nothing from it; say how many"
        )


def check_demonstrated(config: TrainConfig, episodes: Sequence[Episode]) -> None:
    """Refuse imitation where there is nothing to imitate."""
    if config.agent.imitation and not any(episode.is_demo for episode in episodes):
        raise ConfigError(
            f"{config.agent.name} imitates successful demonstrations, and none of the {len(episodes)} episodes is one"
        )
