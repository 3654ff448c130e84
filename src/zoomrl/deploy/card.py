"""``README.md`` of a bundle: a model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoomrl.errors import import_optional


def model_card(facts: Mapping[str, Any], *, robotic: bool) -> str:
    """The card of the policy that ``facts`` (``policy.json``) describe.

    Args:
        facts: content of ``policy.json``, measurements included.
        robotic: whether it is one for a robot, by the hub's names of tasks.
    """
    agent, task = facts["agent"], facts["environment"]["id"]
    result = facts["training"]["result"]
    front: dict[str, Any] = {
        "library_name": "zoomrl",
        "pipeline_tag": "robotics" if robotic else "reinforcement-learning",
        "tags": [agent, "zoomrl", "onnx", "reinforcement-learning"],
    }
    if result and result.get("episodes"):
        front["model-index"] = [_index(facts, agent, task, result, front["pipeline_tag"])]
    head = import_optional("yaml", "export").safe_dump(front, sort_keys=False, allow_unicode=True)
    parts = [f"---\n{head}---\n", f"# {agent} for {task}\n", _use(facts), _observed(facts), _acting(facts)]
    parts += [_trained(facts), _measured(facts)]
    return "\n".join(part for part in parts if part)


def _index(facts: Mapping[str, Any], agent: str, task: str, result: Mapping[str, Any], kind: str) -> dict[str, Any]:
    metrics = []
    commit = facts["versions"].get("commit")
    about = f"{result['episodes']} episodes of seed {facts['training']['seed']}, fresh reset seeds"
    about += f"; commit {commit}" if commit else ""
    if result.get("success_rate") is not None:
        metrics.append({"type": "success_rate", "name": "success", "value": result["success_rate"]})
        about += f"; 95 % interval {result['success_low']:.3f} to {result['success_high']:.3f}"
    if result.get("return_mean") is not None:
        metrics.append({"type": "mean_reward", "name": "return", "value": result["return_mean"]})
    return {
        "name": agent,
        "results": [
            {
                "task": {"type": kind, "name": about},
                "dataset": {"type": task, "name": task, "revision": f"zoomrl {facts['versions']['zoomrl']}"},
                "metrics": metrics,
            }
        ],
    }


def _use(facts: Mapping[str, Any]) -> str:
    names = ", ".join(f'"{name}": {name}' for name in facts["observations"])
    return f"""```python
import policy  # policy.py of this folder: needs numpy and onnxruntime

robot = policy.load_policy(".")
robot.reset()                       # when an episode begins
action = robot.act({{{names}}})  # once per control period{_period(facts)}
```
"""


def _period(facts: Mapping[str, Any]) -> str:
    return f", {facts['control_hz']:g} times a second" if facts["control_hz"] else ""


def _observed(facts: Mapping[str, Any]) -> str:
    lines = ["## Observations\n", "| name | shape | type | made of |", "|---|---|---|---|"]
    for name, about in facts["observations"].items():
        parts = [f"{entry['name']} {entry['size']}" for entry in about.get("entries") or []]
        parts = [*(about.get("cameras") or []), *parts]
        lines.append(f"| `{name}` | {about['shape']} | {about['dtype']} | {', '.join(parts)} |")
    return "\n".join([*lines, ""])


def _acting(facts: Mapping[str, Any]) -> str:
    action, executor = facts["action"], facts["executor"]
    rows = ["## Actions\n", "| | lowest | highest | meaning |", "|---|---|---|---|"]
    for index in range(action["size"]):
        meaning = action["meaning"][index] if action["meaning"] else ""
        rows.append(f"| {index} | {action['low'][index]:g} | {action['high'][index]:g} | {meaning} |")
    chunk = f"Chunks of {facts['chunk_length']} actions" if facts["chunk_length"] > 1 else "Single actions"
    rest = ", ".join(f"{name} {value}" for name, value in executor.items() if name != "name")
    return "\n".join([*rows, "", f"{chunk}, executed by {executor['name']} ({rest}).", ""])


def _trained(facts: Mapping[str, Any]) -> str:
    training, result = facts["training"], facts["training"]["result"]
    made = f"{training['env_steps']:,} environment steps"
    if not training["env_steps"]:
        shown = (
            "on demonstrations alone" if training["updates"] and training["demos_sha256"] else "and no environment step"
        )
        made = f"{training['updates']:,} updates {shown}"
    lines = ["## Training\n", f"{made}, seed {training['seed']}."]
    if result and result.get("success_rate") is not None:
        low, high = result["success_low"], result["success_high"]
        lines.append(
            f"Success {result['success_rate']:.1%} of {result['episodes']} episodes (95 % interval {low:.1%} to "
            f"{high:.1%})."
        )
    elif result and result.get("return_mean") is not None:
        lines.append(f"Return {result['return_mean']:.4g} over {result['episodes']} episodes.")
    elif not training.get("executed_alike", True):
        lines.append("In training its chunks were executed in another way; what that achieved is not told here.")
    else:
        lines.append("No episodes were made to evaluate it.")
    commit = f" ({facts['versions']['commit']})" if facts["versions"].get("commit") else ""
    lines.append(f"zoomrl {facts['versions']['zoomrl']}{commit}, PyTorch {facts['versions']['torch']}.")
    return "\n".join([*lines, ""])


def _measured(facts: Mapping[str, Any]) -> str:
    parity = facts.get("parity")
    if not parity:
        return ""
    lines = ["## Graph against PyTorch\n", f"On {parity['observations']:,} stored observations:"]
    if "equal_bins" in parity:
        gap = parity["largest_gap_of_a_flip"]
        lines.append(
            f"{parity['equal_bins']:.4%} of {parity['bins']:,} chosen bins are equal; where they are not, the values "
            f"of the best two differ by {gap:.1e} of their range at most."
        )
    lines.append(f"Actions differ by {parity['largest_difference']:.1e} of half their range at most.")
    if "p50_ms" in parity:
        lines.append(f"One inference took {parity['p50_ms']:.2f} ms (median), {parity['p99_ms']:.2f} ms (99 %).")
    if (success := facts.get("success")) and success.get("success_torch") is not None:
        lines.append(
            f"On {success['episodes']} paired episodes PyTorch succeeded in {success['success_torch']:.1%}, this "
            f"graph in {success['success_bundle']:.1%} (McNemar's test: p = {success['mcnemar_p']:.2f})."
        )
    return "\n".join([*lines, ""])
