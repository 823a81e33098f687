"""The jobs and who can do them: a table of shell commands, with {names} for what they work on.

{raw} {small}       a tar of the corpus, its first 10 KB
{tree} {member}     the same as a folder, the name of a file in its middle
{made}              what ``make`` of this tool, or else of the job, has made before
{out}               where to write: absent before, removed after
{threads} {python} {ours} {peers} {memory}
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Tool:
    """Somebody who does a job.

    :param needs: programs, or modules of Python after a colon, without which it is left out.
    :param make: what it needs, made once: of its own format, where the job is to read that.
    :param before: run before each time that is measured.
    """

    name: str
    command: str
    needs: str = ""
    make: str = ""
    before: str = ""
    level: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What is done.

    :param make: makes {made} for tools that do not make their own.
    :param check: a command that fails if {out} is wrong, run once for each tool.
    :param of: what a second is compared with: "raw" bytes, or a number of calls.
    :param inside: the tools are programs that print seconds, without their own start.
    :param plotted: levels: speed against size.
    """

    name: str
    tools: tuple[Tool, ...]
    make: str = ""
    check: str = ""
    of: str = "raw"
    inside: bool = False
    plotted: bool = False


ZSTD_LEVELS: Final = (-7, -5, -3, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 17, 19)
GZIP_LEVELS: Final = tuple(range(1, 13))
QUICK_LEVELS: Final = frozenset({-7, -3, 1, 3, 6, 9, 12})


def ours(verb: str, options: str) -> str:
    """Return our command line."""
    return f"{{ours}} {verb} -q -T {{threads}} --no-fsync {options}"


def python(what: str, arguments: str) -> str:
    """Return the call of a program in ``peers.py``."""
    return f"{{peers}} {what} {arguments}"


def in_memory(what: str, arguments: str) -> str:
    """Return the call of a program in ``memory.py``."""
    return f"{{memory}} {what} {arguments}"


def curve(name: str, command: str, levels: Iterable[int], needs: str = "") -> tuple[Tool, ...]:
    """Return a tool at its levels; the command has a {level}."""
    return tuple(
        Tool(name, command.replace("{level}", zstd_flag(level, name)), needs, level=level)
        for level in levels
    )


def zstd_flag(level: int, name: str) -> str:
    """Return a level as text; negative ones have an option of their own in zstd."""
    return f"-fast={-level}" if name == "zstd" and level < 0 else str(level)


def module_curve(name: str, module: str, levels: Iterable[int]) -> tuple[Tool, ...]:
    """Return a library at its levels."""
    command = python("compress", f"{module} {{level}} {{threads}} {{raw}} {{out}}")
    return curve(name, command, levels, f":{module}")


FILES: Final = (
    Job(
        "file to .zst, by level",
        (
            *curve(
                "aiocompress",
                ours("compress", "--codec zstd -l {level} -o {out} {raw}"),
                ZSTD_LEVELS,
            ),
            *curve("zstd", "zstd -q -T{threads} -{level} {raw} -o {out}", ZSTD_LEVELS, "zstd"),
            *curve("pzstd", "pzstd -q -p {threads} -{level} {raw} -o {out}", range(1, 20), "pzstd"),
            *module_curve("backports.zstd", "backports.zstd", (-5, 1, 3, 6, 9, 12, 15, 19)),
        ),
        plotted=True,
    ),
    Job(
        "file to .gz, by level",
        (
            *curve(
                *("aiocompress", ours("compress", "--codec gzip -l {level} -o {out} {raw}")),
                GZIP_LEVELS,
            ),
            *curve("pigz", "pigz -p {threads} -{level} -c {raw} > {out}", range(1, 10), "pigz"),
            *curve(
                "bgzip", "bgzip -@ {threads} -l {level} -c {raw} > {out}", (1, 3, 6, 9), "bgzip"
            ),
            *curve("gzip", "gzip -{level} -c {raw} > {out}", (1, 6, 9), "gzip"),
            *module_curve("gzip (Python)", "gzip", (1, 6, 9)),
            *module_curve("pgzip", "pgzip", (1, 6, 9)),
            *module_curve("isal", "isal", (0, 1, 2, 3)),
            *module_curve("zlib-ng", "zlib_ng", (1, 3, 6, 9)),
        ),
        plotted=True,
    ),
    Job(
        "file to .xz or .7z, by level",
        (
            *curve(
                "aiocompress",
                ours("compress", "--codec zstd -l {level} -o {out} {raw}"),
                (3, 9, 15, 19),
            ),
            *curve("pixz", "pixz -p {threads} -{level} -k {raw} {out}", (0, 1, 3, 6), "pixz"),
            *curve(
                "7z",
                "7z a -bd -mmt={threads} -mx={level} {out}.7z {raw} > /dev/null"
                " && mv {out}.7z {out}",
                (1, 3, 5),
                "7z",
            ),
        ),
        plotted=True,
    ),
    Job(
        "our .zst to file",
        (
            Tool("aiocompress", ours("decompress", "-o {out} {made}")),
            Tool("zstd", "zstd -q -d {made} -o {out}", "zstd"),
            Tool("pzstd", "pzstd -q -d -p {threads} {made} -o {out}", "pzstd"),
            Tool(
                "backports.zstd",
                python("decompress", "backports.zstd {made} {out}"),
                ":backports.zstd",
            ),
        ),
        make=ours("compress", "--codec zstd -o {made} {raw}"),
        check="cmp {raw} {out}",
    ),
    Job(
        "our .gz to file",
        (
            Tool("aiocompress", ours("decompress", "-o {out} {made}")),
            Tool("pigz", "pigz -p {threads} -d -c < {made} > {out}", "pigz"),
            Tool("bgzip", "bgzip -@ {threads} -d -c < {made} > {out}", "bgzip"),
            Tool("gzip", "gzip -d -c < {made} > {out}", "gzip"),
            *(
                Tool(name, python("decompress", f"{module} {{made}} {{out}}"), f":{module}")
                for name, module in (
                    ("gzip (Python)", "gzip"),
                    ("pgzip", "pgzip"),
                    ("isal", "isal"),
                    ("zlib-ng", "zlib_ng"),
                )
            ),
        ),
        make=ours("compress", "--codec gzip -o {made} {raw}"),
        check="cmp {raw} {out}",
    ),
    Job(
        ".zst of zstd to file",
        (
            Tool("aiocompress", ours("decompress", "-o {out} {made}")),
            Tool("zstd", "zstd -q -d {made} -o {out}", "zstd"),
            Tool("pzstd", "pzstd -q -d -p {threads} {made} -o {out}", "pzstd"),
            Tool(
                "backports.zstd",
                python("decompress", "backports.zstd {made} {out}"),
                ":backports.zstd",
            ),
        ),
        make="zstd -q -T{threads} {raw} -o {made}",
        check="cmp {raw} {out}",
    ),
    Job(
        ".gz of gzip to file",
        (
            Tool("aiocompress", ours("decompress", "-o {out} {made}")),
            Tool("pigz", "pigz -p {threads} -d -c < {made} > {out}", "pigz"),
            Tool("gzip", "gzip -d -c < {made} > {out}"),
            *(
                Tool(name, python("decompress", f"{module} {{made}} {{out}}"), f":{module}")
                for name, module in (("gzip (Python)", "gzip"), ("isal", "isal"))
            ),
        ),
        make="gzip -c {raw} > {made}",
        check="cmp {raw} {out}",
    ),
    Job(
        "pipe to .zst to pipe",
        (
            Tool("aiocompress", "cat {raw} | {ours} compress -q -T {threads} | cat > /dev/null"),
            Tool("zstd", "cat {raw} | zstd -q -T{threads} | cat > /dev/null", "zstd"),
            Tool("pigz", "cat {raw} | pigz -p {threads} | cat > /dev/null", "pigz"),
        ),
    ),
    Job(
        "pipe of our .zst to pipe",
        (
            Tool("aiocompress", "cat {made} | {ours} decompress -q -T {threads} | cat > /dev/null"),
            Tool("zstd", "cat {made} | zstd -q -d | cat > /dev/null", "zstd"),
        ),
        make=ours("compress", "--codec zstd -o {made} {raw}"),
    ),
)

_PACK_OURS: Final = ours("compress", "--layout archive --codec zstd --prefix '' -o {made} {tree}")
_TAR_ZSTD: Final = "tar -C {tree} -cf - . | zstd -q -T{threads} -o {made}"
_7Z: Final = "cd {tree} && 7z a -bd -mmt={threads} -mx=1 {made}.7z . > /dev/null"
_7Z_MAKE: Final = f"{_7Z} && mv {{made}}.7z {{made}}"
_SQUASH: Final = (
    "mksquashfs {tree} {made} -comp zstd -Xcompression-level 3 -processors {threads}"
    " -no-progress -quiet > /dev/null"
)
_ZIP: Final = python("pack", "zipfile {tree} {made}")
_INTO: Final = "mkdir {out}"


def _pack(command: str) -> str:
    return command.replace("{made}", "{out}")


FOLDERS: Final = (
    Job(
        "folder to archive",
        (
            Tool("aiocompress", _pack(_PACK_OURS)),
            Tool("tar | zstd", _pack(_TAR_ZSTD), "tar zstd"),
            Tool(
                "bsdtar",
                "bsdtar -C {tree} --zstd --options zstd:compression-level=3,zstd:threads={threads}"
                " -cf {out} .",
                "bsdtar",
            ),
            Tool("tar | pigz", "tar -C {tree} -cf - . | pigz -p {threads} > {out}", "tar pigz"),
            Tool("tar | pixz -1", "tar -C {tree} -cf - . | pixz -p {threads} -1 > {out}", "pixz"),
            Tool("7z -mx=1", _pack(_7Z_MAKE), "7z"),
            Tool("mksquashfs, zstd 3", _pack(_SQUASH), "mksquashfs"),
            *(
                Tool(f"{name} (Python)", python("pack", f"{name} {{tree}} {{out}}"), f":{module}")
                for name, module in (
                    ("tarfile", "tarfile"),
                    ("zipfile", "zipfile"),
                    ("zipstream-ng", "zipstream"),
                )
            ),
        ),
    ),
    Job(
        "own archive to folder",
        (
            Tool("aiocompress", ours("extract", "-o {out} {made}"), make=_PACK_OURS),
            Tool("tar --zstd", f"{_INTO} && tar -C {{out}} --zstd -xf {{made}}", "tar zstd"),
            Tool("bsdtar", f"{_INTO} && bsdtar -C {{out}} -xf {{made}}", "bsdtar"),
            Tool("7z", "7z x -bd -mmt={threads} -o{out} {made} > /dev/null", "7z", _7Z_MAKE),
            Tool(
                "unsquashfs",
                "unsquashfs -quiet -no-progress -p {threads} -d {out} {made} > /dev/null",
                "unsquashfs mksquashfs",
                _SQUASH,
            ),
            Tool("tarfile (Python)", python("unpack", "tarfile {made} {out}"), ":backports.zstd"),
            Tool("zipfile (Python)", python("unpack", "zipfile {made} {out}"), make=_ZIP),
        ),
        make=_TAR_ZSTD,
    ),
    Job(
        ".tar.zst of tar and zstd to folder",
        (
            Tool("aiocompress", ours("extract", "-o {out} {made}")),
            Tool("tar --zstd", f"{_INTO} && tar -C {{out}} --zstd -xf {{made}}", "tar"),
            Tool("bsdtar", f"{_INTO} && bsdtar -C {{out}} -xf {{made}}", "bsdtar"),
        ),
        make=_TAR_ZSTD,
        check="diff -r --no-dereference {tree} {out}",
    ),
    Job(
        "mirrored tree, out",
        (
            Tool("aiocompress", ours("compress", "--layout mirror -o {out} {tree}")),
            Tool(
                "zstd -r",
                f"{_INTO} && cd {{tree}} && zstd -q -r --output-dir-mirror {{out}} .",
                "zstd",
            ),
            Tool(
                "cp, find -exec pigz",
                "cp -a {tree} {out} && find {out} -type f ! -name '*.gz'"
                " -exec pigz -q -p {threads} {{}} +",
                "pigz",
            ),
        ),
    ),
    Job(
        "mirrored tree, back",
        (
            Tool("aiocompress", ours("decompress", "-o {out} {made}")),
            Tool(
                "find -exec zstd -d",
                "find {out} -name '*.zst' -exec zstd -q -d --rm {{}} +",
                "zstd",
                before="cp -al {made} {out}",
            ),
        ),
        make=ours("compress", "--layout mirror -o {made} {tree}"),
        check="diff -r --no-dereference {tree} {out}",
    ),
    Job(
        "list own archive",
        (
            Tool("aiocompress", "{ours} list {made} > {out}", make=_PACK_OURS),
            Tool("tar --zstd", "tar --zstd -tf {made} > {out}", "tar zstd"),
            Tool("bsdtar", "bsdtar -tf {made} > {out}", "bsdtar"),
            Tool("7z", "7z l -bd {made} > {out}", "7z", _7Z_MAKE),
            Tool("unsquashfs", "unsquashfs -l {made} > {out}", "unsquashfs mksquashfs", _SQUASH),
            Tool("zipfile (Python)", python("names", "zipfile {made} > {out}"), make=_ZIP),
            Tool(
                "ratarmount, with its index",
                python("names", "ratarmount {made} > {out}"),
                ":ratarmountcore",
                f"{_PACK_OURS} && {python('names', 'ratarmount {made} > /dev/null')}",
            ),
        ),
        make=_TAR_ZSTD,
        of="calls",
    ),
    Job(
        "one member out of own archive",
        (
            Tool("aiocompress", "{ours} cat {made} {member} > {out}", make=_PACK_OURS),
            Tool("tar --zstd", "tar --zstd -xOf {made} ./{member} > {out}", "tar zstd"),
            Tool("bsdtar", "bsdtar -xOf {made} ./{member} > {out}", "bsdtar"),
            Tool("7z", "7z e -bd -so {made} {member} > {out}", "7z", _7Z_MAKE),
            Tool(
                "unsquashfs",
                "unsquashfs -cat {made} {member} > {out}",
                "unsquashfs mksquashfs",
                _SQUASH,
            ),
            Tool(
                "zipfile (Python)", python("member", "zipfile {made} {member} > {out}"), make=_ZIP
            ),
            Tool(
                "ratarmount, with its index",
                python("member", "ratarmount {made} {member} > {out}"),
                ":ratarmountcore",
                f"{_PACK_OURS} && {python('names', 'ratarmount {made} > /dev/null')}",
            ),
        ),
        make=_TAR_ZSTD,
        check="cmp {tree}/{member} {out}",
        of="calls",
    ),
)

OTHERS: Final = (
    *(
        Job(
            f"{verb} {calls:,} x {size:,} bytes in memory",
            tuple(
                Tool(name, in_memory("payloads", f"{who} {verb} {size} {calls} > {{out}}"), needs)
                for name, who, needs in (
                    ("aiocompress, zstd", "ours", ""),
                    ("aiocompress, gzip", "ours-gzip", ""),
                    ("zstandard", "zstandard", ""),
                    ("backports.zstd", "backports.zstd", ":backports.zstd"),
                    ("gzip (Python)", "gzip", ""),
                    ("isal", "isal", ":isal"),
                    ("zlib-ng", "zlib_ng", ":zlib_ng"),
                )
            ),
            of="calls",
            inside=True,
        )
        for verb, size, calls in (
            ("compress", 1000, 20_000),
            ("decompress", 1000, 20_000),
            ("compress", 100_000, 500),
            ("decompress", 100_000, 500),
        )
    ),
    Job(
        "1,000 streams of 100 KB at once",
        tuple(
            Tool(name, in_memory("streams", f"{who} 1000 100000 > {{out}}"), needs)
            for name, who, needs in (
                ("aiocompress", "ours", ""),
                ("zstandard in threads", "zstandard", ""),
                ("gzip (Python) in threads", "gzip", ""),
            )
        ),
        of="calls",
        inside=True,
    ),
    Job(
        "10 KB file, start to end",
        (
            Tool("aiocompress", ours("compress", "--codec zstd -o {out} {small}")),
            Tool("zstd", "zstd -q {small} -o {out}", "zstd"),
            Tool("pigz", "pigz -c {small} > {out}", "pigz"),
            Tool("7z", "7z a -bd {out}.7z {small} > /dev/null && mv {out}.7z {out}", "7z"),
            Tool(
                "python -c 'import asyncio, zstandard'", "{python} -c 'import asyncio, zstandard'"
            ),
        ),
        of="calls",
    ),
)

JOBS: Final = (*FILES, *FOLDERS, *OTHERS)
