"""What a chunk, an entry, a call costs, in counts that do not depend on the machine's mood.

``python -m tests.benchmarks.guard`` counts and fails where a count has risen by more than 5 %
since ``baseline.json``; ``--renew`` writes that file. Times are for ``python -m
tests.benchmarks``; a count is the same on a busy machine, and says which row has become dearer.

What changes from run to run is not counted: system calls that wait or wake (how many calls of
``poll`` an answer takes depends on when it comes), and what workers do in Python.
"""
