"""Faults, made for real: see ``rows`` for what shows which row of the table of faults.

A quick choice runs with every test run; all of them with ``pytest -m faults``, as many of each as
``AIOCOMPRESS_FAULTS`` says (1,000). What was tried, and lost, is told at the end.

    waiting          work that takes long enough, and a way to cancel it at its k-th await
    world            what is compressed and extracted here, and what may be found afterwards
    counting         how many, and the sum
    test_signals     SIGINT, SIGTERM, SIGKILL of programs and of workers, at random moments
    test_calls       the n-th call of the system fails, or is the last one, for every n
    test_cancelling  a cancellation at the k-th await, and at the k-th step of the loop
    test_limits      full disks, few descriptors, little memory
    test_sources     sources that grow, shrink and vanish while they are read
    test_comparing   `diff` and `list`: damage, changes, dead workers, and nobody who reads
    test_long_distance  `--long`: dead workers, damage, a cut
    test_damage      files cut at every byte, with every bit flipped, damaged at random
    test_fuzzing     every parser, fed with what was mutated
    test_forks       children in every mode: of an engine, of streams, archives and plain functions
    test_servers     gunicorn, Celery and daemonic processes
    test_executors   the caller's: that refuse, and whose workers are killed
    test_frozen      programs that are their own interpreter
    test_loops       one loop after another, none of asyncio, and engines that nobody closes
    test_interrupting, test_dying_workers, test_resources, test_giving_up, test_processes
                     the same for single cases: signals, dead workers, no room, cancellation
    test_loop        the event loop while level 19 runs; a thousand streams
"""
