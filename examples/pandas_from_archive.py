"""Read a CSV file with pandas out of an archive, wherever that is.

Usage: pandas_from_archive.py ARCHIVE MEMBER.csv

The archive is a path or a URL (https://..., s3://bucket/a.tar.zst): only its index and the frames
that hold the member are read. Dask reads many members at once: ``dask.dataframe.read_csv`` of
``aiocompress://data/*.csv::s3://bucket/a.tar.zst``. pip install 'aiocompress[remote]' pandas
"""

import sys

import pandas as pd


def main(archive: str, member: str) -> None:
    """Print what pandas says about the columns."""
    frame = pd.read_csv(f"aiocompress://{member}::{archive}")
    print(frame.describe())


if __name__ == "__main__":
    main(*sys.argv[1:3])
