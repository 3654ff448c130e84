"""A CUDA device on a machine without one: what Python sees is on ``cuda:0``, what computes is the CPU.

It refuses what a GPU refuses (operations across devices, pinning what is there already, its numbers in NumPy), counts
what makes the host wait, and captures graphs as CUDA does: operations are kept with the memory they work on, a
replay runs these again and no Python, and what would read a value back or copy from the host is an error meanwhile.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SYNCS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "aten.equal.")
COPIES = ("aten._to_copy.", "aten.copy_.", "aten._foreach_copy")
_PLAIN_TO = torch.Tensor.to
INDEXING = ("aten.index.", "aten.index_put", "aten._index_put", "aten._unsafe_index")


class OnGpu(torch.Tensor):
    """A tensor of the CPU that says it is on the GPU. To autograd it is one without numbers, ``meta``."""

    inner: torch.Tensor
    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnGpu:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.size(), dtype=inner.dtype, device="meta", **layout)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnGpu({self.inner})"

    def __deepcopy__(self, memo: dict[int, Any]) -> OnGpu:
        if id(self) not in memo:
            made = OnGpu(self.inner.detach().clone()).requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                made._is_param = True
            memo[id(self)] = made
        return memo[id(self)]

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type == "cpu":
            return _PLAIN_TO(self, CPU, dtype or self.dtype, non_blocking)
        return self if dtype in (None, self.dtype) else _PLAIN_TO(self, dtype)

    def cuda(self, *_: Any, **__: Any) -> OnGpu:
        return self

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it to host first.")

    def pin_memory(self, *_: Any) -> torch.Tensor:
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")

    def is_pinned(self, *_: Any) -> bool:
        return False


class FakeGraph:
    """What was captured: operations and the tensors they read and wrote."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.captured = False

    def replay(self) -> None:
        if not self.captured:
            # A capture computes nothing; this one did, on the same inputs.
            self.captured = True
            return
        with torch.no_grad():
            for function, args, kwargs, results in self.operations:
                for new, old in zip(tree_leaves(function(*args, **kwargs)), tree_leaves(results), strict=True):
                    if isinstance(new, torch.Tensor) and not _shared(new, old):
                        old.copy_(new)


class _Stream:
    def wait_stream(self, other: _Stream) -> None:
        pass


class _Gpu:
    """Counts, and what is being captured."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.graph: FakeGraph | None = None
        self.stream = _Stream()
        self.captures: list[tuple[Any, Any]] = []
        """Stream and memory pool of each capture."""
        self.side_streams: list[Any] = []
        """Streams that work was done on, besides the default one."""

    def waits(self, what: str) -> None:
        self.counts[what] += 1
        if self.graph is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {what}")


_gpu = _Gpu()


class _Devices(TorchDispatchMode):
    """Makes tensors where they are asked for."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if torch.is_inference_mode_enabled():
            # Elsewhere autograd has taken compound operations apart already.
            with self:
                if (result := function.decompose(*args, **kwargs)) is not NotImplemented:
                    return result
        pinned = kwargs.get("pin_memory")
        if pinned:
            kwargs["pin_memory"] = False
        if any(issubclass(kind, OnGpu) for kind in types) or _goal(kwargs) == "cuda":
            return _run(function, args, kwargs)
        result = function(*args, **kwargs)
        if pinned:
            result.pinned = True
        return result


def _goal(kwargs: dict[str, Any]) -> str | None:
    """The device that is asked for. Inside PyTorch that of our tensors is ``meta``."""
    device = kwargs.get("device")
    return None if device is None else "cuda" if torch.device(device).type in ("cuda", "meta") else "cpu"


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name, leaves = str(function), tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    here, there = [t for t in tensors if isinstance(t, OnGpu)], [t for t in tensors if not isinstance(t, OnGpu)]
    if any(sync in name for sync in SYNCS):
        _gpu.waits(f"reads back: {name}")
    if name.startswith(COPIES):
        goal = _goal(kwargs) or ("cuda" if isinstance(tree_leaves(args)[0], OnGpu) else "cpu")
        if goal == "cpu" and here:
            _gpu.waits("device to host")
        elif goal == "cuda" and there:
            _gpu.waits("host to device")
    elif here and any(t.ndim for t in there):
        if not name.startswith(INDEXING):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} has some on the CPU")
        _gpu.waits("host to device")
    else:
        goal = "cuda"
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": CPU}
    plain_args, plain = tree_map_only(OnGpu, lambda t: t.inner, (args, kwargs))
    result = function(*plain_args, **plain)
    if name.startswith("aten._to_copy.") and goal == "cpu":
        return result
    if _gpu.graph is not None:
        _gpu.graph.operations.append((function, plain_args, plain, result))
    if name.startswith(COPIES[1:]) and goal == "cpu":
        return args[0]
    # A view of an ordinary tensor is an ordinary tensor, wherever it is taken.
    special = torch.is_inference_mode_enabled() and (not function.is_view or args[0].is_inference())
    with torch.inference_mode(special):
        result = tree_map_only(torch.Tensor, OnGpu, result)
    return return_and_correct_aliasing(function, args, kwargs, result)


def _shared(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


class _Generator(torch.Generator):
    """A generator that says where it is; the GPU's has a state of 16 bytes, which no other understands."""

    def __new__(cls, device: Any = "cpu") -> Any:
        made = super().__new__(cls)
        made.where = CUDA if torch.device(device).type == "cuda" else CPU
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    device = property(lambda self: self.where)

    def get_state(self) -> torch.Tensor:
        state = super().get_state()
        return state if self.where == CPU else state[:16].clone()

    def set_state(self, state: torch.Tensor) -> Any:
        return super().set_state(state) if self.where == CPU else self


@contextlib.contextmanager
def _on(stream: Any) -> Iterator[None]:
    before, _gpu.stream = _gpu.stream, stream
    _gpu.side_streams.append(stream)
    yield
    _gpu.stream = before


@contextlib.contextmanager
def _graph(graph: FakeGraph, pool: Any = None, stream: Any = None, **_: Any) -> Iterator[None]:
    _gpu.captures.append((stream, pool))
    _gpu.graph = graph
    try:
        yield
    finally:
        _gpu.graph = None


def _to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """``to`` that needs no driver to know which GPU ``cuda`` is."""
    device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
    device = CUDA if device is not None and device.type == "cuda" else device or tensor.device
    options = {} if memory_format is None else {"memory_format": memory_format}
    return _PLAIN_TO(tensor, device, dtype or tensor.dtype, non_blocking, **options)


def _pin(tensor: torch.Tensor, *_: Any) -> torch.Tensor:
    made = tensor.detach().clone()
    made.pinned = True  # type: ignore[attr-defined]
    return made


@contextlib.contextmanager
def fake_cuda(monkeypatch: Any) -> Iterator[_Gpu]:
    """Within, PyTorch finds one GPU."""
    _gpu.__init__()  # type: ignore[misc]
    cuda = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "synchronize": lambda device=None: None,
        "mem_get_info": lambda device=None: (70 * 10**9, 80 * 10**9),
        "Stream": _Stream,
        "current_stream": lambda *_: _gpu.stream,
        "stream": _on,
        "CUDAGraph": FakeGraph,
        "graph": _graph,
        "graph_pool_handle": lambda: object(),
    }
    with monkeypatch.context() as patch:
        for name, value in cuda.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(torch.Tensor, "to", _to)
        patch.setattr(torch.Tensor, "pin_memory", _pin)
        patch.setattr(torch.Tensor, "is_pinned", lambda tensor, *_: getattr(tensor, "pinned", False))
        with _Devices():
            yield _gpu
