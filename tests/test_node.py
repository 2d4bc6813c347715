"""Which test proves here what Node's own tests prove of its cluster module.

The left column is the behaviour, in the order of Node's documentation: events,
leaving, messages, listening, settings, the rest. A row without a test says why
there is none.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

SCRIPT = "cluster/test_script.py"
WRITING = "cluster/test_script_messages.py"
SERVER = "cluster/test_messages.py"
SCHEDULING = "cluster/test_scheduling.py"
LISTENERS = "system/sockets/test_listeners.py"

PROVEN: dict[str, list[tuple[str, str]]] = {
    "1 fork, online, listening, exit: in order, once, with the worker": [
        (SCRIPT, "test_events_come_in_order_and_once_for_every_worker"),
        ("cluster/test_control.py", "test_events_tell_the_life_of_the_workers_in_order"),
    ],
    "2 the role is no environment variable that a subprocess would inherit": [
        (SCRIPT, "test_a_subprocess_of_a_worker_is_a_normal_program"),
    ],
    "3 a worker's state": [
        ("core/workers/test_lifecycle.py", "test_a_worker_goes_from_starting_to_exited"),
        ("cluster/test_control.py", "test_status_shows_every_worker_as_table_and_as_json"),
    ],
    "4 an exit has a code or a signal, exactly one": [
        (SCRIPT, "test_an_exit_has_a_code_or_a_signal"),
        ("cluster/test_deaths.py", "test_the_log_says_how_a_worker_died"),
    ],
    "5 exit 42: told once, nobody left": [
        (SCRIPT, "test_an_exit_has_a_code_or_a_signal"),
    ],
    "6 exitedAfterDisconnect: voluntary or not, undefined while alive": [
        (SCRIPT, "test_events_come_in_order_and_once_for_every_worker"),
        (SCRIPT, "test_disconnect_lets_a_request_finish_and_kill_does_not"),
        ("core/workers/test_cluster_events.py", "test_the_reason_of_an_exit_is_voluntary_or_not"),
    ],
    "7 the primary knows that a worker leaves before it can be gone": [
        (SCRIPT, "test_a_term_of_its_own_makes_a_worker_leave_in_order"),
        ("cluster/test_signals.py", "test_a_term_to_one_worker_replaces_it_first"),
    ],
    "8 without a primary there are no workers": [
        (SCRIPT, "test_the_workers_of_a_killed_primary_are_gone"),
        ("cluster/test_deaths.py", "test_a_killed_primary_takes_everybody_with_it"),
    ],
    "9 an exception in the primary": [
        (SCRIPT, "test_an_exception_that_leaves_run_ends_everybody"),
    ],
    "10 disconnect lets a worker finish, kill does not": [
        (SCRIPT, "test_disconnect_lets_a_request_finish_and_kill_does_not"),
        ("cluster/test_signals.py", "test_a_second_signal_stops_at_once"),
    ],
    "11 a worker does not exit while a request is open; jobs count": [
        ("cluster/test_signals.py", "test_a_stop_finishes_requests_and_their_jobs"),
        ("cluster/test_signals.py", "test_what_is_left_at_the_grace_limit_is_cut"),
    ],
    "12 servers are closed before the channel": [
        ("cluster/test_leadership.py", "test_hooks_run_in_order_with_the_reason"),
        (SCRIPT, "test_a_stop_answers_what_waits_in_the_backlog"),
    ],
    "13 disconnect of nobody, twice, of the dead, by both sides": [
        (SCRIPT, "test_what_is_asked_of_dead_and_missing_workers_is_harmless"),
        (SCRIPT, "test_both_sides_may_want_the_end_at_the_same_time"),
        (
            "core/workers/test_supervision.py",
            "test_one_wish_that_arrives_twice_is_not_a_second_one",
        ),
    ],
    "14 a cluster that has ended can be started again": [
        (SCRIPT, "test_a_cluster_can_be_started_again_on_its_port"),
        (SCHEDULING, "test_a_fixed_port_is_free_after_the_stop"),
    ],
    "15 no handle leaks": [
        (SCRIPT, "test_two_hundred_workers_later_the_primary_holds_what_it_held"),
        ("cluster/test_soak.py", "test_reloads_of_an_idle_cluster_leak_nothing"),
    ],
    "16 a worker in an endless loop can be killed": [
        (SCRIPT, "test_a_worker_in_an_endless_loop_can_be_killed_and_disconnect_has_an_end"),
        (
            "cluster/test_watchdog.py",
            "test_beyond_the_hang_timeout_the_stacks_are_printed_and_the_worker_replaced",
        ),
    ],
    "17 kill of a worker that is gone": [
        (SCRIPT, "test_what_is_asked_of_dead_and_missing_workers_is_harmless"),
    ],
    "18 messages both ways": [
        (WRITING, "test_messages_reach_one_worker_all_and_the_primary"),
        (SERVER, "test_a_message_reaches_one_slot_with_its_sender"),
    ],
    "20 malformed internal messages": [
        (WRITING, "test_a_worker_that_garbles_its_link_is_killed_and_nobody_else"),
        (WRITING, "test_messages_that_make_no_sense_hurt_nobody"),
        (SERVER, "test_a_garbled_link_costs_its_worker_and_nobody_else"),
        (
            "core/messages/test_link_messages.py",
            "test_what_is_taken_for_a_message_has_fields_of_the_right_type",
        ),
    ],
    "21 an exception in a callback does not end the channel": [
        (WRITING, "test_a_worker_asks_the_primary"),
        (SERVER, "test_a_handler_that_raises_fails_its_request_and_nothing_else"),
    ],
    "22 a handle behind a large payload": [
        (
            "system/sockets/test_channel.py",
            "test_descriptors_arrive_with_their_frame_even_when_it_had_to_wait",
        ),
    ],
    "23 handles both ways at once": [
        ("system/sockets/test_channel.py", "test_both_ends_may_flood_each_other_with_descriptors"),
    ],
    "24 a socket received by IPC is served": [
        ("http/test_requests.py", "test_an_adopted_socket_is_served_with_what_was_read_from_it"),
        ("system/sockets/test_handoff_socket.py", "test_a_connection_arrives_and_our_copy_stays"),
    ],
    "25 send reports backpressure and a dead reader": [
        (WRITING, "test_a_worker_that_sleeps_fills_its_outbox_and_nothing_is_lost"),
        (WRITING, "test_a_primary_that_sleeps_fills_the_outbox_of_its_worker"),
        (SERVER, "test_a_reader_that_sleeps_fills_its_outbox_and_the_sender_is_told"),
    ],
    "26 port 0 is one port": [
        (SCRIPT, "test_events_come_in_order_and_once_for_every_worker"),
        (LISTENERS, "test_port_0_becomes_a_real_port_in_the_address"),
    ],
    "27 one worker starts over, the others are undisturbed": [
        ("cluster/test_control.py", "test_drain_replaces_one_slot_and_waits_for_its_requests"),
    ],
    "28 an address in use": [
        (SCRIPT, "test_an_address_in_use_is_an_error_of_the_script_and_another_try_may_succeed"),
        ("cluster/test_start.py", "test_an_address_in_use_is_exit_1_and_one_line"),
    ],
    "29 a privileged port": [
        (LISTENERS, "test_a_privileged_port_is_refused_with_the_reason"),
    ],
    "30 Unix sockets: mode, removal, a relative path where the absolute one is too long": [
        (LISTENERS, "test_a_unix_socket_has_its_mode_and_is_removed_at_the_end"),
        (LISTENERS, "test_a_relative_path_serves_where_the_absolute_one_is_too_long"),
    ],
    "31 a listener given by its descriptor": [
        (LISTENERS, "test_an_inherited_descriptor_is_taken_as_it_is"),
        ("cluster/test_systemd.py", "test_sockets_of_the_manager_are_served"),
    ],
    "32 the backlog reaches the kernel": [
        (LISTENERS, "test_the_backlog_is_the_kernels"),
        ("http/test_draining.py", "test_the_backlog_is_untouched_by_accepting"),
    ],
    "33 dual stack and IPv6 only": [
        (LISTENERS, "test_the_ipv6_wildcard_takes_ipv4_and_an_address_does_not"),
    ],
    "34 reusePort": [
        (SCHEDULING, "test_reuseport_binds_for_a_slot_more_and_gives_it_back"),
        (SCHEDULING, "test_a_slots_listener_survives_its_worker"),
    ],
    "35 the policy is chosen once": [
        (SCHEDULING, "test_every_worker_answers_on_the_one_port"),
        (SCRIPT, "test_connections_of_a_dead_worker_wait_for_the_next_one"),
    ],
    "36 an error of accept does not end the loop": [
        (SCHEDULING, "test_a_primary_without_descriptors_backs_off_and_recovers"),
    ],
    "37 a full worker refuses, another one takes it": [
        (SCHEDULING, "test_a_full_worker_refuses_and_the_connection_waits_for_room"),
        ("http/test_limits.py", "test_above_the_limit_of_connections_the_backlog_keeps_them"),
    ],
    "39 settings of one worker": [
        (SCRIPT, "test_every_worker_gets_its_own_environment_and_arguments"),
    ],
    "40 isConnected, isDead": [
        (SCRIPT, "test_events_come_in_order_and_once_for_every_worker"),
    ],
    "41 disconnect is visible in the worker's state": [
        (SCRIPT, "test_disconnect_is_seen_at_once"),
    ],
    "44 closing HTTP: idle, running, at once": [
        ("http/test_draining.py", "test_a_running_request_is_finished_and_says_close"),
        ("http/test_draining.py", "test_an_idle_connection_lingers_for_one_more_request"),
        ("http/test_draining.py", "test_at_the_grace_limit_the_rest_is_cut_with_a_line_each"),
    ],
    "45 utilisation of the event loop": [
        ("cluster/test_watchdog.py", "test_the_line_that_blocks_the_loop_is_named_once"),
        ("cluster/test_metrics.py", "test_buckets_are_cumulative"),
    ],
    "46 a memory limit ends one job, not its neighbours": [
        ("pool/process/test_process_lane.py", "test_a_job_that_eats_all_memory_dies_alone"),
        ("cluster/test_arrays.py", "test_a_job_that_eats_all_memory_is_507_and_alone"),
    ],
}

NOT_HERE = {
    "19 richer serialisation": "messages are JSON: what arrives is never unpickled",
    "38 ref and unref": "a Python process ends when its function returns, not when nobody waits",
    "42 a debugger port per worker": "py-spy attaches to a pid; USR2 prints the stacks",
    "43 UDP": "HTTP only",
}


def test_every_behaviour_has_its_row() -> None:
    numbers = sorted(int(row.split()[0]) for row in (*PROVEN, *NOT_HERE))
    assert numbers == list(range(1, 47))


@pytest.mark.parametrize("row", PROVEN)
def test_the_tests_of_a_row_exist(row: str) -> None:
    for file, name in PROVEN[row]:
        module = ast.parse((TESTS / file).read_text())
        assert name in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
