"""Back up a folder: pack it, verify the archive, and read one file back.

Usage: backup_folder.py FOLDER ARCHIVE.tar.zst

What cannot be read is named, and the rest is packed: a backup that stops at the first locked
file is none. The exit code says so: 0 all is there, 1 something was left out.
"""

import asyncio
import sys

import aiocompress


async def back_up(folder: str, archive: str) -> int:
    """Return the exit code."""
    async with aiocompress.Engine() as engine:
        report = await engine.compress_folder(
            folder, archive, on_error="skip", on_exists="replace", progress=True
        )
        for line in (*report.skipped, *report.warnings):
            print(f"left out or changed: {line}")
        await engine.test(archive)  # every frame, every header, the index
        print(f"{report.files} files, {report.raw_bytes} bytes, ratio {report.ratio:.2f}: verified")

        async with engine.open_archive(archive) as opened:
            async with opened.members() as members:
                async for member in members:
                    if member.kind == "file" and member.size:
                        break
                else:
                    return 0
            async with opened.open(member.name) as file:
                print(f"{member.name} begins with {(await file.read(40))!r}")
    return 1 if report.skipped_count or report.changed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(back_up(*sys.argv[1:3])))
