"""Hooks of the documentation site: pages that lie outside docs/, the notebook, and links between all of them.

On a code host every page links to files as they lie in the repository. The site holds fewer of them, by other
addresses: links are written anew here, so that one page works in both places.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
NOTEBOOK = "docs/start/tutorial.ipynb"
TEXTS = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", NOTEBOOK: "start/tutorial.md"}
"""Pages of the site that are no Markdown file of docs/: where they lie in the repository -> on the site."""
ALIKE = {"README.md": "index.md"}
"""Files that the site has a page of its own for."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"^(```|~~~).*?^\1|(`+)(?!`).*?\2", re.DOTALL | re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|data|mod|attr|exc):<code>~?(.*?)</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and files of the repository that the site shows."""
    for path, uri in TEXTS.items():
        if path != NOTEBOOK:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    text, images = notebook_page(json.loads((ROOT / NOTEBOOK).read_text()), Path(NOTEBOOK).stem)
    files.append(File.generated(config, TEXTS[NOTEBOOK], content=text))
    for name, content in images.items():
        files.append(File.generated(config, f"start/{name}", content=content))
    shown = [*(ROOT / "benchmarks").rglob("*.md"), *(ROOT / "benchmarks" / "results").glob("*.json")]
    for file in sorted(shown):
        uri = file.relative_to(ROOT).as_posix()
        files.append(File.generated(config, uri, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links of the site; plain text where the site has no such file."""
    here = _in_repository(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        image, text, target = found.groups()
        if re.match(r"[\w+.-]+:|#", target):
            return found[0]
        path, _, anchor = target.partition("#")
        there = os.path.normpath(os.path.join(os.path.dirname(here), path))
        if here == NOTEBOOK and there == NOTEBOOK:
            return found[0]  # the notebook itself, to take away
        uri = TEXTS.get(there) or ALIKE.get(there) or there.removeprefix("docs/")
        if files.get_file_from_path(uri) is None:
            # A missing file of docs/ stays a broken link, which ends a strict build.
            return found[0] if there.startswith("docs/") or not (ROOT / there).exists() else text
        relative = os.path.relpath(uri, os.path.dirname(page.file.src_uri) or ".")
        return f"{image}[{text}]({relative}{'#' if anchor else ''}{anchor})"

    # Code is left as it is.
    parts: list[str] = []
    at = 0
    for code in _CODE.finditer(markdown):
        if "](" in code[0] or code[0].startswith(("```", "~~~")):
            parts += [_LINK.sub(link, markdown[at : code.start()]), code[0]]
            at = code.end()
    return "".join([*parts, _LINK.sub(link, markdown[at:])])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Take the marks of cross references out of docstrings."""
    return _ROLE.sub(r"<code>\1</code>", html)


def _in_repository(uri: str) -> str:
    """Where the page at ``uri`` of the site lies in the repository."""
    for path, of_site in TEXTS.items():
        if of_site == uri:
            return path
    return uri if uri.startswith("benchmarks/") else f"docs/{uri}"


def notebook_page(notebook: dict[str, Any], stem: str) -> tuple[str, dict[str, bytes]]:
    """A notebook with its saved outputs as a Markdown page, and the images that the page shows. Nothing is run."""
    parts: list[str] = []
    images: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}-{len(images) + 1}.png"
                images[name] = b64decode("".join(data["image/png"]))
                parts.append(f"![What this cell shows]({name})")
            elif text := "".join(output.get("text", data.get("text/plain", []))):
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", images
