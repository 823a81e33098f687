"""Ours against what is installed, in turn: ``python -m tests.benchmarks --help``.

No figure stands for itself: each is the ratio of two medians, ours and a peer's, taken on the
same machine in the same minutes, A B A B. The first round warms caches, is watched for memory
and checked for correctness, and its times are thrown away.
"""
