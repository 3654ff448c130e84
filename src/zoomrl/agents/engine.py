"""How an agent's closed step is run: as it is, compiled, or captured as one CUDA graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from zoomrl.agents.learner import Closed, Learner, Noise, Tensors
from zoomrl.errors import ConfigError
from zoomrl.nets import linear
from zoomrl.nets.mlp import Ensemble

Speed = Literal["eager", "compile", "graph"]
Precision = Literal["float32", "tf32", "bf16"]
Shapes = tuple[tuple[str, torch.Size], ...]

WARM_UP = 3
"""Steps on a side stream before a capture, so that libraries have chosen their kernels."""


def accelerate(agent: Learner, speed: Speed, precision: Precision = "float32") -> None:
    """Make ``agent.update`` run at ``speed`` and its networks in ``precision``.

    On a CPU where oneDNN multiplies faster than PyTorch's default, linear layers use it at any speed.

    ``compile`` compiles the forward passes (and with them their backward passes), in the pieces that the agent names;
    ``graph`` compiles them too and captures the whole step (losses, gradients, optimizers) as one CUDA graph for each
    batch shape, and acting as another.

    ``tf32`` lets the GPU's tensor cores round the inputs of matrix multiplications to 10 bits. ``bf16`` runs encoder,
    trunks and hidden layers of updates in bfloat16; weights, output layers, distributions and losses stay float32, as
    does acting (on a GPU with matrix multiplications as in ``tf32``).

    Raises:
        ConfigError: what ``speed`` or ``precision`` needs is not there; the message names it.
    """
    if precision == "tf32" and agent.device.type != "cuda":
        raise ConfigError(f"precision='tf32' needs an NVIDIA GPU (device={str(agent.device)!r}); use float32 or bf16")
    if problem := unavailable(speed, agent.device):
        raise ConfigError(f"speed={speed!r} is not available here: {problem}")
    if linear.ONEDNN and agent.device.type == "cpu":
        linear.swap_linear(agent.modules())
    if speed != "eager":
        _read_nothing_back(agent)
        _compile_without_limit()
        for owner, name in agent.pieces():
            setattr(owner, name, _compiled(getattr(owner, name)))
    _set_precision(agent, precision)
    if speed == "graph":
        capture(agent)


def capture(agent: Learner) -> None:
    """Capture the agent's step, acting, and what it measures, as CUDA graphs."""
    _read_nothing_back(agent)
    capturer = CudaCapturer()
    step = Captured(agent.step, capturer, lambda: agent.phase)
    propose = Captured(agent.propose, capturer, lambda: agent.acting_phase)
    measure = Captured(agent.run_measure, capturer)

    def reset_capture() -> None:
        step.reset_capture()
        propose.reset_capture()
        measure.reset_capture()
        capturer.reset_capture()

    agent.run_step, agent.run_propose, agent.run_measure = step, propose, measure
    agent.reset_capture = reset_capture


def _read_nothing_back(agent: Learner) -> None:
    for module in agent.modules():
        if isinstance(module, Ensemble):
            module.capturable = True


def _compile_without_limit() -> None:
    """Let networks of any number of sizes be compiled in one process: a function has eight versions by default.

    The limit is there for functions that are compiled again and again, which ours are not: an agent sees one size. It
    is lifted for all that the process compiles.
    """
    from torch._dynamo import config

    config.recompile_limit = config.accumulated_recompile_limit = sys.maxsize


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` compiled for learning; acting, whose batches have other sizes, runs it as it is."""
    # Recompiling for every batch size would cost more than it saves; an agent sees one size.
    fast = torch.compile(function, dynamic=False, fullgraph=True)

    def run(*inputs: Any, **options: Any) -> Any:
        if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
            return function(*inputs, **options)
        return fast(*inputs, **options)

    return run


def unavailable(speed: Speed, device: torch.device) -> str | None:
    """Why ``speed`` cannot be had on ``device``, or None when it can."""
    if speed == "graph" and device.type != "cuda":
        return f"CUDA graphs need an NVIDIA GPU (device={str(device)!r}); use speed=compile or speed=eager"
    if speed == "graph" and not torch.cuda.is_available():
        return "PyTorch finds no CUDA device; `zoomrl doctor` says more"
    if speed in ("compile", "graph") and device.type == "cpu" and not _cpu_compiler():
        return "torch.compile needs a C++ compiler on the CPU (Debian: apt-get install g++)"
    return None


def _set_precision(agent: Learner, precision: Precision) -> None:
    if agent.device.type == "cuda":
        # With bf16 too: the output layers alone would take longer in full float32 than all the rest.
        rounded = precision != "float32"
        torch.set_float32_matmul_precision("high" if rounded else "highest")
        torch.backends.cudnn.allow_tf32 = rounded
    if precision == "bf16":
        for module in agent.autocast_modules():
            _lower(module, agent.device.type)


def _lower(module: nn.Module, device: str) -> None:
    """Run ``module`` in bfloat16 with a float32 result; acting stays in float32, as in deployment.

    For a few rows, casting the weights takes longer than what it saves.
    """
    full = module.forward

    def forward(*inputs: Any) -> Tensor:
        if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
            unrounded: Tensor = full(*inputs)
            return unrounded
        with torch.autocast(device, torch.bfloat16):
            result: Tensor = full(*inputs)
        return result.to(torch.float32)

    module.forward = forward


def _cpu_compiler() -> bool:
    from torch._inductor import cpp_builder

    try:
        cpp_builder.get_cpp_compiler()
    except Exception:  # its own error type has moved between releases
        return False
    return True


class Capturer(Protocol):
    """Runs work as a capture needs it, and captures it."""

    def warm_up(self, work: Callable[[], Tensors]) -> Tensors:
        """Run ``work`` once, where a capture would run it."""
        ...

    def capture(self, work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        """Capture ``work``; the function that replays it, and the tensors that hold its results then."""
        ...

    def reset_capture(self) -> None:
        """Release what belongs to earlier captures: none of them will be replayed."""
        ...


class CudaCapturer:
    """Captures CUDA graphs: on one stream, and in one pool of memory.

    Graphs share a pool since they run one after the other: what one leaves to be read is held by references or copied
    out, and everything else in it is written anew by each replay.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self.reset_capture()

    def reset_capture(self) -> None:
        """Begin with a new pool: that of graphs which are gone cannot be used again."""
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, work: Callable[[], Tensors]) -> Tensors:
        """Run ``work`` on the stream of the capture, as PyTorch asks for."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            results = work()
        torch.cuda.current_stream().wait_stream(self._stream)
        return results

    def capture(self, work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        """Capture ``work``: nothing is computed before the first replay."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            results = work()
        return graph.replay, results


class Captured:
    """A closed function replayed from a capture: inputs are copied into static tensors, results are copied out.

    The first calls with each set of shapes in each phase are warm-up, each on its own inputs; then one capture serves.
    Weights, gradients and optimizer states keep their places, so that a replay has the effect of running the function.
    Whoever replaces them must call :meth:`reset_capture`.
    """

    def __init__(self, function: Closed, capturer: Capturer, phase: Callable[[], str] = lambda: "") -> None:
        self._function = function
        self._capturer = capturer
        self._phase = phase
        self._runs: dict[tuple[str, Shapes], int] = {}
        self._captures: dict[tuple[str, Shapes], _Capture] = {}

    def __call__(self, given: Mapping[str, Any], noise: Noise) -> Tensors:
        """Run the function on ``given`` (nested tensors) and ``noise``."""
        inputs = _flat({"given": given, "noise": noise})
        # The function is always handed plain dicts: what is compiled for one kind of mapping in the warm-up would be
        # compiled again, inside the capture, for another.
        nested = {"noise": {}, **_nested(inputs)}
        kind = self._phase(), tuple((name, tensor.shape) for name, tensor in inputs.items())
        if kind not in self._captures:
            runs = self._runs.get(kind, 0)
            self._runs[kind] = runs + 1
            if runs < WARM_UP:
                return self._capturer.warm_up(lambda: self._function(nested["given"], nested["noise"]))
            self._captures[kind] = self._capture(inputs)
        captured = self._captures[kind]
        torch._foreach_copy_(list(captured.inputs.values()), list(inputs.values()), non_blocking=True)
        captured.replay()
        return captured.outputs()

    def reset_capture(self) -> None:
        """Drop all captures, and start again with warm-up."""
        self._runs.clear()
        self._captures.clear()

    def _capture(self, inputs: Tensors) -> _Capture:
        static = {name: tensor.clone() for name, tensor in inputs.items()}
        nested = {"noise": {}, **_nested(static)}
        names: list[str] = []

        def work() -> Tensors:
            results = self._function(nested["given"], nested["noise"])
            names[:] = results
            # Numbers leave the capture together: copying each by itself takes longer than some updates.
            numbers = [value for value in results.values() if _is_number(value)]
            others = {name: value for name, value in results.items() if not _is_number(value)}
            return {**others, _NUMBERS: torch.stack(numbers)} if numbers else others

        return _Capture(static, *self._capturer.capture(work), names)


_NUMBERS = "numbers of all names"


def _is_number(value: Tensor) -> bool:
    return value.ndim == 0 and value.dtype == torch.float32


class _Capture(NamedTuple):
    inputs: dict[str, Tensor]
    replay: Callable[[], None]
    results: Tensors
    names: list[str]

    def outputs(self) -> Tensors:
        """Copies of the results, under their names and in their order."""
        copies = {name: value.clone() for name, value in self.results.items()}
        numbers = iter(copies[_NUMBERS].unbind() if _NUMBERS in copies else ())
        return {name: copies[name] if name in copies else next(numbers) for name in self.names}


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """Tensors of nested mappings under dotted names."""
    flat: dict[str, Tensor] = {}
    # Not by iterating ``nested``: a TensorDict would yield its samples.
    for name, value in nested.items():
        flat |= {prefix + name: value} if isinstance(value, Tensor) else _flat(value, f"{prefix}{name}.")
    return flat


def _nested(flat: Mapping[str, Tensor]) -> dict[str, Any]:
    """Inverse of :func:`_flat`."""
    nested: dict[str, Any] = {}
    for name, tensor in flat.items():
        *path, last = name.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[last] = tensor
    return nested
