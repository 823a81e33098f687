"""Every command and every block of README.md is run, and so is every example."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from aiocompress.cli.commands import cli
from aiocompress.cli.help import Option

from .help.data import noise
from .help.hostile import Member, indexed
from .help.tools import LIBRARY, module, tool
from .help.web import Site

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [block for kind, block in BLOCKS if kind == "sh"]
INSTALLING = [block for block in COMMANDS if block.startswith("pip install")]
USING = [block for block in COMMANDS if block not in INSTALLING]
PYTHON = [block for kind, block in BLOCKS if kind == "python"]
ELSEWHERE = {"read_remote_archive.py", "pandas_from_archive.py"}
EXAMPLES = sorted({path.name for path in (ROOT / "examples").glob("*.py")} - ELSEWHERE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the files that the README speaks of."""
    (tmp_path / "data.bin").write_bytes(b"".join(b"%d of some data\n" % n for n in range(500_000)))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("in the folder")
    (tmp_path / "folder" / "large").write_bytes(b"".join(b"%d\n" % n for n in range(100_000)))
    return tmp_path


def run(command: list[str], folder: Path, stdin: bytes = b"") -> bytes:
    """Run a command as a user would, with this interpreter's scripts first."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        input=stdin,
        env=os.environ | {"PATH": path},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_links_lead_to_files() -> None:
    """What README links to and shows is in the repository."""
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(targets) > 4
    assert all((ROOT / target).exists() for target in targets), targets


def test_every_block_is_of_a_kind_that_is_run() -> None:
    """No block escapes: sh and python are run, text is a picture or a formula."""
    assert {kind for kind, _ in BLOCKS} == {"sh", "python", "text"}
    assert INSTALLING
    assert USING
    assert PYTHON


@pytest.mark.parametrize("block", INSTALLING)
def test_commands_that_install(block: str) -> None:
    """They are run by .ci/run, word for word."""
    assert block.strip() in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("block", USING)
def test_commands(block: str, folder: Path) -> None:
    """Commands do what they say."""
    tool("tar")
    run(["bash", "-euo", "pipefail", "-c", block], folder)


@pytest.mark.parametrize("block", PYTHON)
def test_python(block: str, folder: Path) -> None:
    """Python blocks are whole scripts."""
    run([sys.executable, "-W", "error", "-c", block], folder)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str, folder: Path) -> None:
    """Examples run to their end, on a file where they take one."""
    arguments = {
        "quickstart.py": [str(folder / "folder")],
        "backup_folder.py": [str(folder / "folder"), str(folder / "backup.tar.zst")],
    }.get(name, [])
    data = (folder / "data.bin").read_bytes()
    script = str(ROOT / "examples" / name)
    output = run([sys.executable, "-W", "error", script, *arguments], folder, data)
    if name == "pipe_filter.py":
        assert run([sys.executable, script, "-d"], folder, output) == data
    else:
        assert output


async def test_an_example_of_a_url() -> None:
    """One member comes out of an archive on a web server, in two requests."""
    data = indexed([Member(b"d/%d" % n, data=noise(100_000, n)) for n in range(20)])
    async with Site(data) as site:
        script = str(ROOT / "examples" / "read_remote_archive.py")
        command = [sys.executable, "-W", "error", script, site.url, "d/3"]
        output = await asyncio.to_thread(run, command, ROOT)
        assert b"d/3 has 100000 bytes" in output
        assert len(site.asked) == 2


async def test_an_example_of_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CSV file comes out of an archive on a web server."""
    module("pandas")
    if not entry_points(group="fsspec.specs", name="aiocompress"):  # not installed here
        about = tmp_path / "aiocompress_fsspec-0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Name: aiocompress-fsspec\nVersion: 0\n")
        entry = "[fsspec.specs]\naiocompress = aiocompress.remote:ArchiveFileSystem\n"
        assert entry.splitlines()[1].split(" = ")[1] in (ROOT / "pyproject.toml").read_text()
        (about / "entry_points.txt").write_text(entry)
        paths = [str(tmp_path), LIBRARY["PYTHONPATH"]]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    data = indexed([Member(b"data/x.csv", data=b"n,square\n1,1\n2,4\n3,9\n")])
    async with Site(data) as site:
        script = str(ROOT / "examples" / "pandas_from_archive.py")
        command = [sys.executable, script, site.url, "data/x.csv"]
        output = await asyncio.to_thread(run, command, ROOT)
    assert b"square" in output


def test_every_flag_is_named() -> None:
    """The README names every flag of every command, and every command."""
    for name, command in cli.commands.items():
        assert command.hidden or f"aiocompress {name}" in README, name
        for option in command.params:
            if isinstance(option, Option):
                for flag in (*option.opts, *option.secondary_opts):
                    assert f"`{flag}`" in README or f" {flag} " in README, flag
