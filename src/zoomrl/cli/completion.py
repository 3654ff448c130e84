"""The scripts that make the Tab key ask ``zoomrl.cli.complete`` what may come next, one for each shell."""

from __future__ import annotations

import shlex
import sys
from typing import Literal

Shell = Literal["bash", "zsh", "tcsh", "fish"]


def completion_script(shell: Shell) -> str:
    """The script for ``shell``; it runs the interpreter that zoomrl is installed for, whatever is active later."""
    # -P: what lies in the folder that one stands in is not imported at the press of a key.
    ask = shlex.join([sys.executable, "-P", "-m", "zoomrl.cli.complete", shell])
    return _SCRIPTS[shell].replace("@ASK@", ask)


_BASH = r"""_zoomrl() {
  # Candidates that are no files must not be taken for files that happen to be there.
  local IFS=$'\n' word
  COMPREPLY=()
  while read -r word; do COMPREPLY+=("$word"); done < <(
    @ASK@ "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null
  )
  case "${COMPREPLY[0]}" in
    */ | *: | *=) compopt -o nospace 2>/dev/null ;;
  esac
  case "${COMPREPLY[0]}" in
    -*) ;;
    *[\ \'\"\\\(\)\&\;\$\`\<\>\|\*\?\[\]\!\#]*) compopt -o filenames 2>/dev/null ;; # quotes what needs it
  esac
}
complete -F _zoomrl zoomrl
"""

_ZSH = r"""#compdef zoomrl
_zoomrl() {
  local line word about
  local -a whole open
  for line in "${(@f)$(@ASK@ "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
    [[ -n "$line" ]] || continue
    word=${line%%$'\t'*}
    about=
    [[ "$line" == *$'\t'* ]] && about=:${line#*$'\t'}
    if [[ "$word" == *[/:=] ]]; then
      open+=("${${word//\\/\\\\}//:/\\:}$about")
    else
      whole+=("${${word//\\/\\\\}//:/\\:}$about")
    fi
  done
  (( $#open )) && _describe -t open '' open -S ''
  (( $#whole )) && _describe -t whole '' whole
}
if [[ "${zsh_eval_context[-1]}" == loadautofunc ]]; then
  _zoomrl "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
  compdef _zoomrl zoomrl
fi
"""

_FISH = r"""function __zoomrl_complete
    set -l words (commandline -xpc 2>/dev/null; or commandline -opc)
    set -l current (commandline -ct)
    # A quote that is still open cannot be taken away, and is then left in.
    set -l plain (string unescape -- $current 2>/dev/null); or set plain $current
    @ASK@ $words[2..-1] "$plain" 2>/dev/null
end
complete -c zoomrl -f -a '(__zoomrl_complete)'
"""

_TCSH = r"""complete zoomrl 'p@*@`@ASK@`@'
"""

_SCRIPTS: dict[Shell, str] = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH, "tcsh": _TCSH}
