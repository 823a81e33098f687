"""What a reader of README wants to see: ours beside what they use today, in all jobs.

``python -m tests.benchmarks.people CORPUS --to FOLDER`` measures every job (``jobs.py``) with every
tool that is installed (``pip install '.[bench]'`` for those of Python), in turn; writes
``results.json`` and ``results.md`` and plots (SVG, for light and dark pages); ``--draw`` makes the
latter two again from ``results.json``. Beyond the processors of the machine at hand, ``scaling.py``
predicts, and says so.

``python -m tests.benchmarks`` is the other one: for those who work on this, with bars to meet.
"""
