"""What the launcher makes of workers, without any being started."""

from types import SimpleNamespace

import pytest
from astro_deepgalaxy_horovod.launch import _end_hanging
from astro_deepgalaxy_horovod.status import Status


@pytest.mark.parametrize(
    ("state", "local", "ends"),
    [
        ("training", True, True),
        ("starting", True, True),  # it says little in its first seconds
        ("meeting", True, False),
        ("training", False, False),  # of which only its connection is known here
    ],
)
def test_who_does_not_come_to_a_meeting_is_ended(tmp_path, state, local, ends):
    ended = []
    running = [
        SimpleNamespace(
            place=SimpleNamespace(local=local),
            process=SimpleNamespace(pid=pid),
            ended=None,
            end=lambda pid=pid: ended.append(pid),
        )
        for pid in (11, 12)
    ]
    for rank, (pid, said) in enumerate(((11, "meeting"), (12, state))):
        status = Status(tmp_path, rank)
        status._about["pid"] = pid
        status.write(said)
    settings = SimpleNamespace(stall_seconds=5)
    since = _end_hanging(tmp_path, running, settings, None)
    assert since is not None
    assert ended == []  # there is time
    assert _end_hanging(tmp_path, running, settings, since - 6) is None
    assert ended == ([12] if ends else [])
