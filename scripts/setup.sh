#!/usr/bin/env bash
# Set up .venv with zoomrl and the given extras; system libraries too, where this user may install them.
# Usage: scripts/setup.sh EXTRAS      (for example: scripts/setup.sh metaworld)
set -eu
cd "$(dirname "$0")/.."
extras=$1
python=${PYTHON:-python3}
# EGL needs all three; without them everything but rendering works.
graphics="libegl1 libopengl0 libgl1-mesa-dri"

say() { printf 'setup: %s\n' "$*" >&2; }

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

# Install Debian packages, or say the one line that does; never fails, since not all of them are vital.
system_packages() {
  command -v dpkg-query >/dev/null || return 0
  wanted=""
  for package in "$@"; do installed "$package" || wanted="$wanted $package"; done
  [ -n "$wanted" ] || return 0
  line="apt-get install -y --no-install-recommends$wanted"
  if [ "$(id -u)" = 0 ]; then
    say "installing$wanted"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive $line -qq >/dev/null; } ||
      say "could not install$wanted; by hand: $line"
  else
    say "this user may not install packages; run once: sudo $line"
  fi
}

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || {
  say "Python 3.11, 3.12 or 3.13 is needed; '$python' is $("$python" --version 2>&1 || echo missing)."
  say "Name another with: make PYTHON=/path/to/python3.11"
  exit 1
}
stamp=.venv/.zoomrl-$(cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)-$(printf %s "$extras" | tr -c 'a-z0-9' _)
if [ ! -e "$stamp" ]; then
  system_packages $graphics
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    system_packages python3-venv
  fi
  # A venv without pip is what a Debian without python3-venv leaves behind: made again.
  .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv || {
    say "could not make .venv; on Debian: sudo apt-get install python3-venv"
    exit 1
  }
  say "installing zoomrl[$extras] into .venv (a few minutes the first time)"
  # PyTorch first, so that a CPU build can be named: its usual Linux wheel brings gigabytes of CUDA libraries.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
    ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$extras]"
  touch "$stamp"
fi
