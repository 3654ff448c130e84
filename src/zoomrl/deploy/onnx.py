"""Writing a graph as ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from zoomrl.deploy.graph import ActingGraph, StepGraph
from zoomrl.errors import ZoomrlError, import_optional
from zoomrl.nets.gru import whole_gru
from zoomrl.nets.linear import plain_linear

LIMIT = 2**31
"""Bytes from which a model cannot be one file."""


def write_onnx(graph: ActingGraph | StepGraph, path: Path) -> None:
    """Write ``graph`` to ``path``, for one environment: every shape is fixed.

    Raises:
        MissingDependencyError: without onnx and onnxscript.
        ZoomrlError: the graph holds an operation that ONNX does not have.
    """
    onnx = import_optional("onnx", "export")
    import_optional("onnxscript", "export")
    names = [port.name for port in graph.inputs], [port.name for port in graph.outputs]
    with torch.no_grad(), plain_linear(), whole_gru(), _quiet():
        try:
            program = torch.onnx.export(
                graph.eval(),
                ActingGraph.examples(graph.inputs),
                input_names=names[0],
                output_names=names[1],
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # the exporter's own kinds are not public
            raise ZoomrlError(f"this agent cannot be written as ONNX: {error}") from error
    assert program is not None
    program.save(path)
    onnx.checker.check_model(str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporter says of itself: none of it is about this graph."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        registration.setLevel(level)
        for logger, old in zip(loggers, before, strict=True):
            logger.setLevel(old)
