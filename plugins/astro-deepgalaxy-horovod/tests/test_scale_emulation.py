"""Emulated hosts and workers, for real: the network is what it was set to, and nothing stays."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from astro_deepgalaxy_horovod.scale import namespaces
from astro_deepgalaxy_horovod.scale.emulated import EmulatedCrew
from astro_deepgalaxy_horovod.scale.namespaces import EmulatedHosts, inside, why_not

needs_namespaces = pytest.mark.skipif(bool(why_not()), reason=why_not() or "never")


def _left(pid=None):
    folder = Path("/run/netns")
    return list(folder.glob(f"deepgalaxy-scale-{pid or os.getpid()}-*")) if folder.exists() else []


def _answer(server):
    """Tell whoever sends something when it has come."""
    connection, _ = server.accept()
    with connection:
        while length := connection.recv(8):
            left = int.from_bytes(length, "big")
            while left:
                left -= len(connection.recv(min(left, 2**20)))
            connection.sendall(b"k")


@pytest.fixture
def two_hosts():
    """Two hosts, and a function that times sending some bytes from one to the other."""
    with EmulatedHosts(2) as hosts:
        with inside(hosts.names[1]):
            server = socket.create_server(("", 7000))
        threading.Thread(target=_answer, args=(server,), daemon=True).start()
        with inside(hosts.names[0]):
            client = socket.create_connection((hosts.address(1), 7000), timeout=20)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def seconds(nbytes):
            start = time.perf_counter()
            client.sendall(nbytes.to_bytes(8, "big") + bytes(nbytes))
            assert client.recv(1) == b"k"
            return time.perf_counter() - start

        with server, client:
            yield hosts, seconds
    assert _left() == []


@needs_namespaces
def test_wire_has_the_latency(two_hosts):
    hosts, seconds = two_hosts
    hosts.shape(0, 0)
    at_once = np.median([seconds(1) for _ in range(15)])
    hosts.shape(0, 0.01)
    assert np.median([seconds(1) for _ in range(9)]) - at_once == pytest.approx(0.02, rel=0.2)


@needs_namespaces
def test_wire_has_the_bandwidth(two_hosts):
    hosts, seconds = two_hosts
    hosts.shape(2e8, 0)
    found = np.median([seconds(5_000_000) for _ in range(5)])
    assert found == pytest.approx(8 * 5_000_000 / 2e8, rel=0.15)


@needs_namespaces
def test_hosts_have_no_way_out():
    with EmulatedHosts(1) as hosts, inside(hosts.names[0]):
        with pytest.raises(OSError, match="unreachable"):
            socket.create_connection(("192.0.2.1", 80), timeout=1)
        own = socket.create_server(("", 7001))
        own.close()


@needs_namespaces
def test_hosts_are_removed_after_an_error():
    with pytest.raises(ZeroDivisionError), EmulatedHosts(2):
        assert len(_left()) == 2
        1 / 0  # noqa: B018
    assert _left() == []


@needs_namespaces
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_hosts_are_removed_when_it_is_ended(number):
    program = (
        "import time\n"
        "from astro_deepgalaxy_horovod.scale.namespaces import EmulatedHosts\n"
        "with EmulatedHosts(2):\n"
        "    print('there', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout.readline() == b"there\n"
        assert len(_left(process.pid)) == 2
        process.send_signal(number)
        assert process.wait(20) != 0
    assert _left(process.pid) == []


@needs_namespaces
def test_what_a_killed_process_left_is_removed_by_the_next():
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    name = f"deepgalaxy-scale-{gone.pid}-0"
    subprocess.run(["ip", "netns", "add", name], check=True)
    with EmulatedHosts(1):
        assert _left(gone.pid) == []


def test_without_permission_it_says_why(monkeypatch):
    monkeypatch.setattr(namespaces.os, "geteuid", lambda: 1000)
    assert "root" in why_not()


@pytest.mark.horovod
def test_emulated_workers_sleep_and_exchange():
    with EmulatedCrew(2, cycle_time=0.001) as crew:
        small, large = (crew.allreduce(n, 5) for n in (4_000, 16_000_000))
        assert np.median(large) > np.median(small)
        waits = np.array([[0.05, 0.05, 0.2], [0.05, 0.2, 0.05]])
        steps = crew.steps(waits, 4_000)
    # Each step waits for the slower one.
    np.testing.assert_array_less(waits.max(axis=0), steps)
    np.testing.assert_allclose(steps, waits.max(axis=0), atol=0.1)


@pytest.mark.horovod
@needs_namespaces
def test_gradients_take_as_long_as_the_network_lets_them():
    nbytes = 2_000_000
    with EmulatedHosts(2) as hosts, EmulatedCrew(2, hosts, cycle_time=0.001) as crew:
        hosts.shape(1e8, 0)
        seconds = np.median(crew.allreduce(nbytes, 5))
    # Half of the gradients in each direction, twice.
    assert seconds == pytest.approx(8 * nbytes / 1e8, rel=0.2)


@pytest.mark.horovod
def test_a_worker_that_dies_is_named():
    with EmulatedCrew(2) as crew:
        crew._members[1][0].kill()
        with pytest.raises(RuntimeError, match="emulated worker 1 died"):
            crew.idle(0.1)
    assert all(not process.is_alive() for process, _ in crew._members)
