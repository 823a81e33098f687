"""What a shell may complete: commands, options, files, and the members of archives.

A shell runs the program with the line as typed so far, and gets an answer in each line: what kind
it is, a tab, and the word. For ``file`` and ``folder`` the shell itself looks what there is.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import aclosing, suppress
from typing import Final, Literal

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from aiocompress.cli.options import COMPLETING
from aiocompress.errors import AiocompressError
from aiocompress.model import is_url

_WAIT: Final = 1.0
"""Seconds to look for members in an archive without an index: what was found by then is said."""
_BASH: Final = r"""
_aiocompress_completion() {
    local IFS=$'\n' kind word
    COMPREPLY=()
    while IFS=$'\t' read -r kind word; do
        case $kind in
            file) compopt -o default ;;
            folder) compopt -o dirnames ;;
            member) compopt -o filenames; COMPREPLY+=("$word") ;;
            begun) compopt -o filenames -o nospace; COMPREPLY+=("$word") ;;
            *) COMPREPLY+=("$word") ;;
        esac
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \
        VARIABLE=bash "$1" 2>/dev/null)
}
complete -o nosort -F _aiocompress_completion aiocompress
"""
_ZSH: Final = r"""
_aiocompress_completion() {
    local kind word
    local -a words_found begun
    while IFS=$'\t' read -r kind word; do
        case $kind in
            file) _files ;;
            folder) _files -/ ;;
            begun) begun+=("$word") ;;
            *) words_found+=("$word") ;;
        esac
    done < <(COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" VARIABLE=zsh "$words[1]" 2>/dev/null)
    (( $#begun )) && compadd -S '' -a begun
    (( $#words_found )) && compadd -a words_found
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _aiocompress_completion aiocompress
"""
_FISH: Final = r"""
function _aiocompress_completion
    set -l line (commandline -cp)
    for row in (COMP_LINE="$line" VARIABLE=fish aiocompress 2>/dev/null)
        set -l parts (string split -m 1 \t -- $row)
        switch $parts[1]
            case file
                __fish_complete_path (commandline -ct)
            case folder
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $parts[2]
        end
    end
end
complete --no-files --keep-order --command aiocompress --arguments '(_aiocompress_completion)'
"""


def script(shell: str) -> str:
    """Return what a shell has to read so that it completes."""
    text = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]
    return text.lstrip().replace("VARIABLE", COMPLETING)


def answer(cli: click.Command, environ: Mapping[str, str]) -> None:
    """Print how a line may go on, for the script of a shell."""
    line, breaks = environ.get("COMP_LINE", ""), environ.get("COMP_WORDBREAKS", "")
    words = split_arg_string(line)
    begun = words.pop() if len(split_arg_string(line + "x")) == len(words) else ""
    items = ShellComplete(cli, {}, "aiocompress", COMPLETING).get_completions(words[1:], begun)
    # Bash takes a colon for the end of a word, unless it is quoted, and replaces only the rest.
    is_quoted = line.removesuffix(begun).endswith(("'", '"'))
    ends = [begun.rfind(at) for at in ":=" if at in breaks and not is_quoted]
    cut = 1 + max(ends, default=-1)
    for item in items:
        if str(item.value).isprintable():
            word = f"{item.type}\t{item.value[cut:]}\n"
            sys.stdout.buffer.write(word.encode("utf-8", "surrogateescape"))


def complete(
    kind: Literal["files", "folders", "members"], context: click.Context, begun: str
) -> list[CompletionItem]:
    """Return what a parameter may be."""
    if kind == "members":
        archive = os.path.expanduser(context.params.get("archive") or "-")
        if archive == "-" or is_url(archive):
            return []
        with suppress(AiocompressError, OSError):
            return asyncio.run(_members(archive, begun))
        return []
    return [CompletionItem(begun, type=kind.removesuffix("s"))]


async def _members(path: str, begun: str) -> list[CompletionItem]:
    """Return the members that are directly in the folder that was typed."""
    from aiocompress.api.functions import open_archive  # commands and files come sooner without it

    folder = begun[: begun.rfind("/") + 1]
    found: dict[str, bool] = {}
    async with open_archive(path) as archive:
        if archive.is_indexed:
            for member in await archive.scandir(folder):
                found[member.name] = member.kind == "directory"
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(_WAIT), aclosing(archive.names()) as batches:
                    async for names in batches:
                        for name in names:
                            inside = name.removeprefix("./")
                            child, slash, _ = inside.removeprefix(folder).partition("/")
                            if inside.startswith(folder) and child:
                                found[folder + child] = bool(slash)
    words = [name + "/" * is_folder for name, is_folder in found.items()]
    words = [word for word in words if word.startswith(begun)]
    goes_on = len(words) == 1 and words[0].endswith("/")
    return [CompletionItem(word, type="begun" if goes_on else "member") for word in words]
