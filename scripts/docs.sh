#!/usr/bin/env bash
# The documentation site, made by tools in .venv-docs: they read the source and need neither PyTorch nor a simulator.
# Usage: scripts/docs.sh build      (into build/site; fails at the first warning)
#        scripts/docs.sh serve      (and again after each change)
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
stamp=.venv-docs/.zoomrl-$(cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
if [ ! -e "$stamp" ]; then
  printf 'docs: installing the tools of the site into .venv-docs\n' >&2
  "$python" -m venv --clear .venv-docs || {
    printf 'docs: could not make .venv-docs; on Debian: sudo apt-get install python3-venv\n' >&2
    exit 1
  }
  # The extra alone: zoomrl itself would bring PyTorch.
  .venv-docs/bin/python - >.venv-docs/requirements.txt <<'PYTHON'
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")
PYTHON
  .venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r .venv-docs/requirements.txt
  touch "$stamp"
fi
# The makers of the theme advertise on the terminal.
export NO_MKDOCS_2_WARNING=1
exec .venv-docs/bin/mkdocs "$@"
