"""The table of faults, and what shows each of its rows: ``path::test``, seen from ``tests``."""

from __future__ import annotations

from typing import Final

Rows = dict[str, tuple[str, ...]]

NAMES_AND_LINKS: Final[Rows] = {
    "absolute names; `..` first, inside or last": (
        "verbs/archive/test_extracting::test_refused",
        "verbs/archive/test_extracting::test_absolute_names",
        "verbs/archive/test_extracting::test_untidy_names",
    ),
    "symlink, then a member written through it; a link named like the destination; metadata late": (
        "verbs/archive/test_extracting::test_refused",
        "verbs/archive/test_extraction_destinations::test_links_in_the_destination",
        "verbs/archive/test_extraction_destinations::test_a_link_as_destination",
        "verbs/archive/test_ordinary_tars::test_a_path_through_another_member",
        "verbs/archive/test_extracting::test_the_last_mode_of_a_folder",
    ),
    "paths longer than PATH_MAX": ("verbs/archive/test_extracting::test_as_deep_as_paths_go",),
    "hardlink to outside, to nothing": (
        "verbs/archive/test_extracting::test_refused",
        "verbs/archive/test_extraction_destinations::test_hard_links_to_what_was_there",
    ),
    "hardlink to a symbolic link (any `cp -al` tree), to itself (overlapping arguments of tar)": (
        "verbs/archive/test_ordinary_tars::test_a_tree_of_hard_links",
        "verbs/archive/test_ordinary_tars::test_overlapping_arguments",
        "verbs/archive/test_ordinary_tars::test_hard_links_are_to_what_stands_before_them",
        "verbs/archive/test_extracting::test_duplicates",
    ),
    "empty name, NUL, `.`, newline or ESC inside": (
        "verbs/archive/test_extracting::test_no_names",
        "verbs/archive/test_extracting::test_odd_names",
        "verbs/archive/test_ordinary_tars::test_members_without_a_name",
    ),
    "component over 255 B, 200,000 levels deep, pax record over 1 MiB": (
        "verbs/archive/test_extracting::test_skipped",
        "verbs/archive/test_extracting::test_as_deep_as_paths_go",
        "formats/tar/test_extended::test_metadata_above_the_limit",
        "verbs/archive/test_extraction_limits::test_max_metadata",
    ),
    "non-UTF-8 names": (
        "verbs/archive/test_extracting::test_odd_names",
        "verbs/archive/test_round_trips::test_round_trips",
    ),
    "FIFO, device, socket": (
        "verbs/archive/test_restoring::test_specials",
        "verbs/archive/test_extraction_destinations::test_a_pipe_in_the_destination",
    ),
    "setuid, setgid, owner, security xattrs, mode 000": (
        "verbs/archive/test_restoring::test_modes",
        "verbs/archive/test_restoring::test_preserved",
    ),
    "names differing in case or normal form; duplicate members; file then folder": (
        "verbs/archive/test_extracting::test_duplicates",
        "verbs/archive/test_extraction_destinations::test_merged",
    ),
    "read-only folders, files inside a 0555 folder": (
        "verbs/archive/test_restoring::test_read_only_folders",
        "verbs/archive/test_restoring::test_a_failure_leaves_nothing_of_read_only_folders",
    ),
}

CORRUPT: Final[Rows] = {
    "truncated at every byte, file or pipe, also exactly between two frames": (
        "faults/test_damage::test_cut_at_every_byte",
        "formats/test_container_damage::test_ours_cut_between_frames_is_truncated",
        "formats/tar/test_damage::test_every_truncation",
    ),
    "every single bit flipped; 1 % random damage": (
        "faults/test_damage::test_every_bit_flipped",
        "faults/test_damage::test_one_percent_damaged",
        "faults/test_fuzzing::test_any_bytes_are_data_or_an_error",
    ),
    "index or seek table absent, damaged, foreign, overlapping, lying, huge": (
        "verbs/archive/test_lying_index::test_an_index_that_lies",
        "verbs/archive/test_lying_index::test_lies_are_found",
        "formats/test_zstd_container::test_seek_tables_that_lie_change_no_data",
        "faults/test_fuzzing::test_any_bytes_are_data_or_an_error",
    ),
    "an attribute that cannot be read: uid, gid, mode, mtime, xattr; an unknown type letter": (
        "verbs/archive/test_ordinary_tars::test_bad_attributes",
        "verbs/archive/test_ordinary_tars::test_bad_attributes_of_folders_and_links",
        "verbs/archive/test_ordinary_tars::test_attributes_of_all_members",
        "verbs/archive/test_ordinary_tars::test_large_owners",
        "verbs/archive/test_ordinary_tars::test_unknown_types",
        "formats/tar/test_headers::test_unreadable_attributes",
        "formats/tar/test_extended::test_unreadable_attributes",
    ),
    "a folder (type 5) with a size; a size of 24 digits": (
        "verbs/archive/test_ordinary_tars::test_sizes",
        "formats/tar/test_headers::test_sizes_of_folders",
        "formats/tar/test_extended::test_numbers_with_zeros_in_front",
    ),
    "a file of zeros, an empty file, a tar cut off inside a whole container": (
        "verbs/archive/test_cut_off::test_zeros_with_the_name_of_an_archive",
        "verbs/archive/test_cut_off::test_nothing_at_all",
        "verbs/archive/test_cut_off::test_a_cut_tar_in_a_whole_container",
        "verbs/archive/test_cut_off::test_no_end_marker",
    ),
    "negative, huge or base-256 sizes; pax size against ustar size; dangling pax; bad checksum": (
        "formats/tar/test_headers::test_sizes_that_are_none",
        "formats/tar/test_extended::test_pax_size_against_header_size",
        "formats/tar/test_extended::test_headers_without_their_member",
        "formats/tar/test_headers::test_checksums",
        "formats/tar/test_damage::test_mutations_against_gnu_tar",
        "formats/tar/test_damage::test_mutations_against_bsdtar",
    ),
    "trailing garbage; trailing zeros; concatenated files; empty frames; skippable frames": (
        "formats/test_containers::test_zeros_may_follow",
        "formats/test_containers::test_garbage_may_not_follow",
        "formats/test_containers::test_concatenations_decode",
        "formats/test_containers::test_empty_chunks_and_files",
        "formats/test_zstd_container::test_skippable_frames_may_stand_anywhere",
        "formats/tar/test_damage::test_what_follows_the_end",
    ),
    "`diff` of what is damaged": (
        "faults/test_comparing::test_damage_anywhere",
        "verbs/archive/test_comparing::test_damage",
    ),
    "`--long`, damaged or cut off": (
        "faults/test_long_distance::test_damage",
        "faults/test_long_distance::test_cut_off",
        "verbs/test_long_distance::test_a_cut_between_frames_shows",
    ),
    "recover of joined archives, of a damaged pax header": (
        "verbs/recover/test_joined::test_all_come_back",
        "verbs/recover/test_joined::test_lost_members_are_named",
        "verbs/recover/test_joined::test_any_damage",
        "verbs/recover/test_others::test_a_damaged_name",
        "formats/tar/test_salvage::test_every_bit_of_an_extended_header",
    ),
    "warnings and names in errors": (
        "cli/test_long_names::test_every_line_is_short",
        "cli/test_long_names::test_many_long_names",
        "test_errors::test_lines_are_bounded",
    ),
    "bombs, a window of 2 GiB, dictionary ids, header sizes that lie": (
        "formats/test_container_damage::test_bombs_stay_flat",
        "formats/test_streams::test_windows_above_the_limit_are_refused",
        "formats/test_streams::test_a_needed_dictionary_is_named",
        "formats/test_gzip_container::test_sizes_that_lie_give_no_wrong_bytes",
        "verbs/archive/test_extraction_limits::test_max_output",
        "verbs/archive/test_extraction_limits::test_max_members",
        "verbs/archive/test_extraction_limits::test_max_member_size",
    ),
}

SOURCES: Final[Rows] = {
    "grows, shrinks, vanishes, is replaced, permission denied, read error in the middle": (
        "faults/test_sources::test_sources_that_change_while_they_are_read",
        "faults/test_sources::test_a_file_that_changes_while_it_is_read",
        "verbs/archive/test_changing_sources::test_grows_or_shrinks",
        "verbs/archive/test_changing_sources::test_vanishes",
        "verbs/archive/test_changing_sources::test_swapped",
        "verbs/archive/test_packing::test_unreadable_files",
        "verbs/archive/test_changing_sources::test_read_errors",
    ),
    "the same of a sparse file: its holes, too, come and go": (
        "verbs/archive/test_changing_sources::test_sparse_files",
        "faults/test_sources::test_sources_that_change_while_they_are_read",
    ),
    "a folder that changes while it is compared": (
        "faults/test_comparing::test_a_folder_that_changes",
        "verbs/archive/test_comparing::test_unreadable",
    ),
    "FIFO, socket, /proc file in the tree; symlink loops; output inside; output == input": (
        "verbs/archive/test_packing::test_specials",
        "verbs/archive/test_round_trips::test_one_of_every_kind",
        "verbs/archive/test_packing::test_a_destination_inside_the_source",
        "verbs/test_files::test_the_same_file_is_refused",
    ),
    "1,000,000 files in one folder; 8 GiB+ member; mtime < 1970, > 2038, ns; sparse": (
        "verbs/archive/test_changing_sources::test_many_names",
        "formats/tar/test_writers::test_sizes_beyond_octal",
        "verbs/archive/test_packing::test_times_beyond_all_clocks",
        "verbs/archive/test_other_tools::test_sparse_members",
    ),
}

SINKS: Final[Rows] = {
    "no space, quota, file-size limit, at each write and at fsync": (
        "faults/test_limits::test_no_space",
        "faults/test_limits::test_a_disk_that_loses_what_was_written",
        "verbs/archive/test_extraction_limits::test_a_disk_without_room",
        "faults/test_limits::test_a_largest_file",
        "faults/test_calls::test_the_nth_call_fails",
        "faults/test_calls::test_all_calls_fail_from_the_nth_on",
    ),
    "consumer closes the pipe; stdin or stdout closed; empty stdin": (
        "faults/test_resources::test_nobody_reads",
        "cli/test_terminals::test_a_closed_stdin",
        "cli/test_terminals::test_a_closed_stdout",
        "cli/test_files::test_stdin_from_a_file_and_from_nowhere",
    ),
    "slow reader, slow writer": (
        "api/test_bounds::test_a_slow_reader_holds_bounded_memory",
        "cli/test_files::test_a_slow_pipe_is_not_waited_for_with_a_busy_loop",
    ),
    "SIGINT, SIGTERM at any moment, twice": (
        "faults/test_signals::test_signals_at_random_moments",
        "faults/test_interrupting::test_a_signal_ends_a_pipe",
        "faults/test_interrupting::test_a_second_signal_ends_at_once",
        "faults/test_comparing::test_nobody_reads_what_is_told",
    ),
    "SIGKILL at any moment": (
        "faults/test_signals::test_signals_at_random_moments",
        "faults/test_signals::test_what_sigkill_leaves",
        "faults/test_calls::test_killed_at_the_nth_call",
        "faults/test_calls::test_killed_while_an_empty_folder_is_filled",
    ),
    "worker killed in the middle of a chunk, all workers, during shutdown": (
        "faults/test_signals::test_signals_at_random_moments",
        "faults/test_dying_workers::test_chunks_of_dead_workers_are_redone",
        "faults/test_dying_workers::test_a_chunk_that_kills_twice_is_an_error",
        "faults/test_comparing::test_workers_that_die",
        "faults/test_long_distance::test_workers_that_die",
        "verbs/mirror/test_failures::test_workers_killed",
    ),
    "/dev/shm full, read-only or absent; RLIMIT_NOFILE 32; RLIMIT_AS": (
        "faults/test_processes::test_without_semaphores_the_engine_uses_threads",
        "faults/test_processes::test_without_semaphores_the_command_line_works",
        "faults/test_limits::test_few_descriptors",
        "faults/test_limits::test_little_memory",
        "verbs/test_long_distance::test_memory",
        "faults/test_limits::test_no_more_threads",
    ),
}

ASYNCIO: Final[Rows] = {
    "cancelled at the k-th await for every k; timeout; a sibling fails; stream never closed": (
        "faults/test_cancelling::test_cancelled_at_every_await",
        "faults/test_cancelling::test_cancelled_at_every_step_of_the_loop",
        "faults/test_cancelling::test_a_sibling_that_fails",
        "faults/test_giving_up::test_cancelled_at_every_await",
        "faults/test_giving_up::test_timeouts",
        "faults/test_comparing::test_cancelled_at_every_await",
        "api/test_engine::test_a_stream_left_unclosed",
    ),
    "1,000 streams at once, some stuck": (
        "faults/test_loop::test_a_thousand_streams_of_which_some_are_stuck",
    ),
    "a stream's source that cannot be opened": (
        "api/test_opening::test_a_missing_file",
        "api/test_opening::test_forbidden",
        "api/test_http::test_a_missing_file",
    ),
    "event loop while level 19 runs": ("faults/test_loop::test_the_loop_is_never_blocked",),
    "stderr is None, closed or failing while a bar is drawn": (
        "api/test_progress::test_a_stderr_that_fails",
        "cli/test_advice::test_a_stderr_that_takes_nothing",
    ),
    "same object in two tasks, use after close, from another loop or thread": (
        "api/test_engine::test_one_stream_in_two_tasks",
        "api/test_engine::test_after_close",
        "api/test_engine::test_on_another_loop",
    ),
    "a script without a `__main__` guard, stdin script, notebook, daemonic worker process": (
        "faults/test_processes::test_scripts_need_no_guard",
        "faults/test_processes::test_daemonic_callers_get_threads",
        "test_sync::test_inside_a_running_loop",
    ),
    "a fork after any use of the engine (gunicorn --preload, Celery, multiprocessing)": (
        "faults/test_forks::test_two_children",
        "faults/test_forks::test_streams_of_many_children",
        "faults/test_forks::test_a_stream_that_the_parent_reads",
        "faults/test_forks::test_an_archive_that_is_open",
        "faults/test_forks::test_plain_functions",
        "faults/test_forks::test_multiprocessing",
        "faults/test_forks::test_children_that_exit_as_programs_do",
        "faults/test_servers::test_gunicorn",
        "faults/test_servers::test_celery",
    ),
    "daemonic process, frozen program, an executor that refuses or dies": (
        "faults/test_servers::test_call_after_call",
        "faults/test_frozen::test_a_program_that_is_its_own_interpreter",
        "faults/test_frozen::test_a_program_of_pyinstaller",
        "faults/test_executors::test_a_submit_that_raises",
        "faults/test_executors::test_a_chunk_that_an_executor_lost",
        "faults/test_executors::test_a_killed_worker_of_a_process_pool",
    ),
    "an engine whose loop has closed, left open, or used without asyncio": (
        "faults/test_loops::test_several_runs",
        "faults/test_loops::test_chunks_in_flight_when_the_loop_died",
        "faults/test_loops::test_two_live_loops",
        "faults/test_loops::test_closed_with_work_in_flight",
        "faults/test_loops::test_left_open_at_the_exit",
        "faults/test_loops::test_trio",
    ),
    "same input with other numbers of workers": (
        "api/test_engine::test_the_same_bytes_whoever_works",
        "verbs/archive/test_round_trips::test_the_same_bytes_whoever_works",
    ),
}

ROWS: Final[Rows] = NAMES_AND_LINKS | CORRUPT | SOURCES | SINKS | ASYNCIO
NOT_HERE: Final = {
    "quota": "needs a file system with quotas; it is ENOSPC's sibling, which is made at each call",
    "8 GiB+ member": "its headers are tested, and sparse ones; no test writes that much",
}
"""What cannot be made on a machine like this, and why."""
