"""Trees for tests: generated ones, one of every kind, and what stands in a folder, compared.

A path is bytes, relative to the folder; a tree maps paths to nodes, parents first.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from .data import noise, text

SECOND = 1_000_000_000
IS_ROOT = os.geteuid() == 0
CHUNK = 16 << 10
"""The chunk size that the sizes of ``SIZES`` are about."""
SIZES = (
    *(0, 1, 511, 512, 513, 1023, 1024),
    *(CHUNK // 8 + more for more in (-1025, -1024, -1023, -513, -512, -511, 0)),
    *(CHUNK + more for more in (-1536, -1025, -1024, -1023, -513, -512, -511, 0, 1)),
    *(2 * CHUNK - 512, 3 * CHUNK + 1, 70_000),
)
TIMES = (
    *(0, 1, -1, SECOND, -SECOND, -SECOND - 1),
    *(-(2**31) * SECOND, -1_000_000_000_123_456_789),
    *(2**31 * SECOND + 999_999_999, 10**18 + 123_456_789, 8 * 10**18 + 1),
)
MODES = (0o400, 0o600, 0o644, 0o755, 0o777, 0o444, *((0o000, 0o200, 0o111) if IS_ROOT else ()))
FOLDER_MODES = (0o755, 0o700, 0o1777, *((0o555, 0o000) if IS_ROOT else ()))
NAMES = (
    *(b"a", b"b", b"c", b"-rf", b"--", b" ", b" a b ", b"...", b".a", b"~", b"\\", b"\\n", b"*?["),
    *(
        b"new\nline",
        b"\x1b[31mred\x1b[m",
        b"\xff\xfe",
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
        b"a\r",
        b"\t",
    ),
    *(b"x" * 99, b"x" * 100, b"x" * 101, b"y" * 155, b"z" * 255, b"\xf0\x9f\x98\x80" * 63, b"#"),
    *(
        b"PaxHeaders.0",
        b"@LongLink",
        b"a=b",
        b"\x01\x7f",
        b"\xed\xb2\x80",
        b"'\"$(x)",
        b"a:b",
        b"%25",
    ),
)


@dataclass(frozen=True, slots=True)
class Node:
    """Something in a tree. ``same`` are all paths of one file, if there are several."""

    kind: str
    mode: int = 0o644
    mtime_ns: int = 10**18
    data: bytes = b""
    link: bytes = b""
    same: tuple[bytes, ...] = ()


Tree = dict[bytes, Node]


@cache
def content(size: int, seed: int = 0) -> bytes:
    """Bytes for a file: of some kinds that compress, and some that do not."""
    return noise(size, seed) if seed % 2 else text(size + 4, seed)[:size]


def build(root: Path, tree: Tree) -> None:
    """Make it: folders get their modes and times last."""
    top = os.fsencode(root)
    os.makedirs(top, exist_ok=True)
    for path, node in tree.items():
        full = os.path.join(top, path)
        if node.kind == "directory":
            os.mkdir(full)
        elif node.kind == "symlink":
            os.symlink(node.link, full)
        elif node.same and node.same[0] != path:
            os.link(os.path.join(top, node.same[0]), full, follow_symlinks=False)
        else:
            with open(full, "wb") as file:
                file.write(node.data)
    for path, node in reversed(tree.items()):
        full = os.path.join(top, path)
        if node.kind != "symlink":
            os.chmod(full, node.mode)
        os.utime(full, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)


def look(root: Path | bytes) -> Tree:
    """Return what stands in a folder."""
    top = os.fsencode(root)
    tree: Tree = {}
    inodes: dict[tuple[int, int], list[bytes]] = {}
    todo = [b""]
    while todo:
        folder = todo.pop()
        for name in os.listdir(os.path.join(top, folder)):
            path = os.path.join(folder, name)
            status = os.lstat(os.path.join(top, path))
            tree[path] = _node(os.path.join(top, path), status)
            if tree[path].kind == "directory":
                todo.append(path)
            elif status.st_nlink > 1:
                inodes.setdefault((status.st_dev, status.st_ino), []).append(path)
    for paths in inodes.values():
        for path in paths:
            tree[path] = replace(tree[path], same=tuple(sorted(paths)))
    return dict(sorted(tree.items()))


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def _node(full: bytes, status: os.stat_result) -> Node:
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    data = link = b""
    if kind == "file":
        with open(full, "rb") as file:
            data = file.read()
    elif kind == "symlink":
        link = os.readlink(full)
    mode = 0o777 if kind == "symlink" else stat.S_IMODE(status.st_mode)
    return Node(kind, mode, status.st_mtime_ns, data, link)


def restored(tree: Tree) -> Tree:
    """Return what extraction makes of it by default: no special bits, readable by the owner."""
    least = {"file": 0o400, "directory": 0o500, "symlink": 0}
    return {
        path: replace(node, mode=node.mode & 0o777 | least[node.kind])
        for path, node in tree.items()
    }


def in_seconds(tree: Tree) -> Tree:
    """Return it with times cut to seconds."""
    return {
        path: replace(node, mtime_ns=node.mtime_ns // SECOND * SECOND)
        for path, node in tree.items()
    }


def without_times(tree: Tree) -> Tree:
    """Return it with all times the same."""
    return {path: replace(node, mtime_ns=0) for path, node in tree.items()}


def check_same(found: Tree, expected: Tree) -> None:
    """Assert that two trees are the same, and tell of one difference in a line or two."""
    assert list(found) == list(expected)
    for path, node in expected.items():
        if found[path] != node:
            short = [replace(one, data=one.data[:40]) for one in (found[path], node)]
            assert found[path] == node, f"{path!r}: {short[0]} and not {short[1]}"


# Generated ones.

_NO_SLASH = bytes.maketrans(b"\0/", b"01")
COMPONENTS = st.one_of(
    st.sampled_from(NAMES),
    st.binary(min_size=1, max_size=255).map(lambda name: name.translate(_NO_SLASH)),
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=60).map(
        str.encode
    ),
).filter(lambda name: name not in {b".", b".."} and len(name) <= 255)
TARGETS = st.one_of(
    st.sampled_from(
        [b"a", b"../..", b"/", b"/etc/passwd", b".", b"./loop", b"nowhere", b"t" * 300]
    ),
    st.binary(min_size=1, max_size=200).map(lambda name: name.replace(b"\0", b"0")),
)


@st.composite
def trees(draw: st.DrawFn, most: int = 10) -> Tree:
    """Trees of every kind of name, size, mode, time and link."""
    tree: Tree = {}
    folders = [b""]
    files: list[bytes] = []
    for _ in range(draw(st.integers(0, most))):
        folder = draw(st.sampled_from(folders))
        path = os.path.join(folder, draw(COMPONENTS))
        if path in tree or len(path) > 1000:
            continue
        kinds = ["file", "file", "file", "directory", "symlink", *(["hardlink"] if files else [])]
        kind, time = draw(st.sampled_from(kinds)), draw(st.sampled_from(TIMES))
        if kind == "hardlink":
            first = draw(st.sampled_from(files))
            same = (*(tree[first].same or (first,)), path)
            tree[path] = tree[first]
            for one in same:
                tree[one] = replace(tree[one], same=same)
        elif kind == "symlink":
            tree[path] = Node(kind, 0o777, time, link=draw(TARGETS))
        elif kind == "directory":
            tree[path] = Node(kind, draw(st.sampled_from(FOLDER_MODES)), time)
            folders.append(path)
        else:
            data = content(draw(st.sampled_from(SIZES)), draw(st.integers(0, 3)))
            tree[path] = Node(kind, draw(st.sampled_from(MODES)), time, data)
            files.append(path)
    return tree


def below(tree: Tree, name: bytes = b"top") -> Tree:
    """Return it in a folder: bsdtar takes names that begin with ``x:`` or a backslash for DOS."""
    tree = {
        name + b"/" + path: replace(node, same=tuple(name + b"/" + one for one in node.same))
        for path, node in tree.items()
    }
    return {name: Node("directory", 0o755), **tree}


def zoo(*, special_modes: bool = True) -> Tree:
    """One of every kind, in one tree: what others have to read, and write."""
    tree: Tree = {b"empty": Node("directory", 0o755), b"d": Node("directory", 0o750, 10**18 + 7)}
    for number, name in enumerate(NAMES):
        data, mode = content(SIZES[number % len(SIZES)], number), MODES[number % len(MODES)]
        mode = mode if special_modes else 0o644
        tree[b"d/" + name] = Node("file", mode, TIMES[number % len(TIMES)], data)
    deep = b"deep"
    for _ in range(12):
        tree[deep] = Node("directory", 0o755, 10**18)
        deep += b"/" + b"d" * 60
    tree[deep] = Node("file", 0o644, 5, b"far down")
    same = b"links/first", b"links/second", b"links/third"
    tree[b"links"] = Node("directory", 0o755, 3)
    for path in same:
        tree[path] = Node("file", 0o640, 77, content(9000), same=same)
    for name, target in (
        (b"absolute", b"/etc/passwd"),
        (b"dangling", b"nowhere"),
        (b"loop", b"loop"),
        (b"folder", b"../d"),
        (b"long", b"l" * 150),
        (b"odd", b"new\nline\xff"),
    ):
        tree[b"links/" + name] = Node("symlink", 0o777, 10**18 + 5, link=target)
    tree[b"large"] = Node("file", 0o600, 9, content(200_000, 1))
    tree[b"sticky"] = Node("directory", 0o1777 if special_modes else 0o777, -5)
    return tree
