"""Run the code cells of a notebook without Jupyter, and keep what they print and plot.

``python tests/run_notebook.py docs/start/tutorial.ipynb`` runs a notebook in a new folder and saves its outputs in it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any


def run(notebook: dict[str, Any], **shorter: int) -> dict[str, Any]:
    """Run all code cells in one namespace, in the current folder, and put their outputs into ``notebook``.

    Args:
        notebook: its JSON.
        shorter: values of variables that a cell assigns a number to, as in ``STEPS = 6000``.

    Returns:
        The namespace that the cells leave.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        for name, value in shorter.items():
            source = re.sub(rf"^{name} = \d+", f"{name} = {value}", source, flags=re.MULTILINE)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, f"cell {number}", "exec"), namespace)
        cell["outputs"] = _stream(printed.getvalue()) + [_image(pyplot.figure(n)) for n in pyplot.get_fignums()]
        pyplot.close("all")
    return namespace


def _stream(text: str) -> list[dict[str, Any]]:
    return [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}] if text else []


def _image(figure: Any) -> dict[str, Any]:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=80)
    data = {"image/png": b64encode(content.getvalue()).decode() + "\n"}
    return {"data": data, "metadata": {}, "output_type": "display_data"}


if __name__ == "__main__":
    path = Path(sys.argv[1]).resolve()
    content = json.loads(path.read_text())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run(content)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
