"""Dump a SQLite database into an archive: a CSV file for each table, straight from its rows.

Usage: compress_database_dump.py [DATABASE ARCHIVE.tar.zst]

No dump ever stands on the disk, or in memory: rows are read, formatted and compressed as they
come, all tables as they were at one moment. Without arguments this makes a small database, and
dumps that.
"""

import asyncio
import csv
import io
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing

import aiocompress

AT_ONCE = 1000


def quoted(name: str) -> str:
    """Return the name of a table as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def dumped(database: sqlite3.Connection, table: str) -> Iterator[bytes]:
    """Yield the rows of a table as CSV, many at once; the archive calls this in a thread."""
    rows = database.execute(f"SELECT * FROM {quoted(table)}")  # noqa: S608 - it is quoted
    some = [tuple(column[0] for column in rows.description)]
    while some:
        text = io.StringIO()
        csv.writer(text).writerows(some)
        yield text.getvalue().encode()
        some = rows.fetchmany(AT_ONCE)


async def dump(path: str, archive: str) -> None:
    """Write all tables of a database into an archive."""
    # One thread at a time uses the connection, but it is not always the same.
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)) as db:
        db.execute("BEGIN")  # so that all tables are of one moment
        schema = db.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        async with aiocompress.create_archive(archive, on_exists="replace") as writer:
            await writer.add("schema.sql", "".join(f"{sql};\n" for _, sql in schema).encode())
            for number, (table, _) in enumerate(schema):
                name = f"{number:03d}-{table.replace('/', '_')}.csv"
                member = await writer.add(name, dumped(db, table))
                print(f"{member.name}: {member.size} bytes")
    print(f"{writer.report.raw_bytes} bytes became {writer.report.compressed_bytes}")


def example(path: str) -> None:
    """Make a database."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE visits (id INTEGER PRIMARY KEY, page TEXT, seconds REAL)")
        rows = ((number, f"/page/{number % 97}", number % 13 / 10) for number in range(50_000))
        database.executemany("INSERT INTO visits VALUES (?, ?, ?)", rows)
        database.execute("CREATE TABLE notes (text TEXT)")


def main() -> None:
    """Dump the database that was given, or one of our own."""
    if len(sys.argv) > 1:
        asyncio.run(dump(*sys.argv[1:3]))
        return
    with tempfile.TemporaryDirectory() as folder:
        example(f"{folder}/example.db")
        asyncio.run(dump(f"{folder}/example.db", f"{folder}/example.tar.zst"))


if __name__ == "__main__":
    main()
