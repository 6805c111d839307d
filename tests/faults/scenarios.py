"""The table of all faults: each hurts a plant so many times and returns its line of the table in docs/reliability.md.

A new fault goes into the file of its kind, and its name into FAULTS below. `tests/faults/test_faults.py` runs each in its
short form, `python -m tools.soak.faults` in its long one.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.faults import configs, disk, files, hostile, kills, nats, outbox, resources, surroundings
from tests.faults.plant import Row

Fault = Callable[[Path, int], Awaitable[Row]]

FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kills.restart_in_order,
        kills.stop_busy_targets,
        kills.kill_while_running,
        kills.kill_at_start,
        kills.kill_in_checkpoint,
        kills.kill_at_shutdown,
        kills.kill_the_writer,
        kills.cut_the_power,
        outbox.stop_the_writer,
        outbox.orphan_the_writer,
        outbox.delete_the_file,
        nats.restore_an_older_store,
        nats.pause_a_dispatcher,
        nats.move_there_and_back,
        disk.fill_the_disk,
        disk.break_the_disk,
        surroundings.set_the_clock,
        surroundings.fail_names,
        surroundings.stop_the_receiver,
        surroundings.one_target_dead,
        files.leave_the_log_unread,
        files.rewrite_the_certificate,
        configs.cut_the_config,
        hostile.misbehave,
        hostile.draw_responses,
        resources.half_requests,
        resources.idle_clients,
        resources.sign_ins,
        resources.unread_clients,
        resources.idle_handshakes,
    )
}
