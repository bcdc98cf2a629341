"""Hosts on one machine: network namespaces joined by a wire of known bandwidth and latency."""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

__all__ = ["EmulatedHosts", "enter", "inside", "rename_host", "why_not"]

INTERFACE = "wire0"
_PREFIX = "deepgalaxy-scale-"
_RUN = Path("/run/netns")
_CLONE_NEWNET, _CLONE_NEWUTS = 0x40000000, 0x04000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MTU = 65000
# The wire shall be what limits, not the windows of TCP, which are small until it has seen a lot of
# traffic, nor a congestion control that paces what it sends.
_TCP = {
    "congestion_control": "reno",
    "rmem": "4096 8388608 33554432",
    "wmem": "4096 8388608 33554432",
    "slow_start_after_idle": "0",
}


def why_not():
    """Why network namespaces cannot be made here.

    Returns
    -------
    str
        A sentence; empty if they can.
    """
    if not sys.platform.startswith("linux"):
        return "network namespaces are made on Linux only"
    if os.geteuid() != 0:
        return "network namespaces are made by root only"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no /dev/net/tun"
    name = f"{_PREFIX}{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except (OSError, RuntimeError) as error:
        return f"network namespaces cannot be made ({error})"
    return ""


class EmulatedHosts:
    """Network namespaces of this machine that stand for hosts; a context manager.

    They have no way to the network of the machine, nor it to them. All of them are removed at the
    end of the context, also when the process is interrupted or terminated; those that a killed
    process left behind are removed by the next one.

    Parameters
    ----------
    number : int
        How many hosts.
    """

    def __init__(self, number):
        self.number = number
        self.names = [f"{_PREFIX}{os.getpid()}-{i}" for i in range(number)]
        self._cables = []
        self._wire = None
        self._handler = None

    def __enter__(self):
        _remove_leftovers()
        with contextlib.suppress(ValueError):  # not the main thread: no signals
            self._handler = signal.signal(signal.SIGTERM, _terminated)
        try:
            for i, namespace in enumerate(self.names):
                _ip("netns", "add", namespace)
                with inside(namespace):
                    for name, value in _TCP.items():
                        Path(f"/proc/sys/net/ipv4/tcp_{name}").write_text(value)
                    self._cables.append(_open_tun())
                    _ip("link", "set", "lo", "up")
                    _ip("address", "add", f"{self.address(i)}/24", "dev", INTERFACE)
                    _ip("link", "set", INTERFACE, "mtu", str(_MTU), "txqueuelen", "10000", "up")
            command = [sys.executable, "-m", f"{__package__}.wire", *map(str, self._cables)]
            self._wire = subprocess.Popen(
                command,
                pass_fds=self._cables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self.shape(0, 0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._wire is not None:
            with contextlib.suppress(OSError):  # it has ended already
                self._wire.stdin.close()
            try:
                self._wire.wait(5)
            except subprocess.TimeoutExpired:
                self._wire.kill()
                self._wire.wait()
            self._wire.stdout.close()
        for fd in self._cables:
            os.close(fd)
        self._cables, self._wire = [], None
        for name in self.names:
            if (_RUN / name).exists():
                with contextlib.suppress(RuntimeError):
                    _ip("netns", "del", name)
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)

    def address(self, i):
        """Address of a host.

        Parameters
        ----------
        i : int
            Number of the host.

        Returns
        -------
        str
        """
        return f"198.18.0.{i + 1}"

    def shape(self, bandwidth, latency):
        """Set the wire, also while it carries something.

        Parameters
        ----------
        bandwidth : float
            Bits per second of the cable of each host, in each direction; 0: as fast as it goes.
        latency : float
            Seconds from host to host.
        """
        print(json.dumps([bandwidth, latency]), file=self._wire.stdin, flush=True)
        if not self._wire.stdout.readline():
            raise RuntimeError("the wire between the emulated hosts broke")


@contextlib.contextmanager
def inside(name):
    """Let this thread, and what it starts, use the network of a namespace.

    Parameters
    ----------
    name : str
        Name of the namespace, as for ``ip netns``.
    """
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter(name)
        try:
            yield
        finally:
            _setns(outside)
    finally:
        os.close(outside)


def enter(name):
    """Have this thread, and what it starts, use the network of a namespace from now on.

    Parameters
    ----------
    name : str
        Name of the namespace, as for ``ip netns``.
    """
    fd = os.open(_RUN / name, os.O_RDONLY)
    try:
        _setns(fd)
    finally:
        os.close(fd)


def rename_host(name):
    """Give the host another name, for this process alone.

    Horovod's process sets take the network interface that the name of the host leads to, whatever
    ``HOROVOD_GLOO_IFACE`` says; an address leads to itself.

    Parameters
    ----------
    name : str
        The name, or an address.
    """
    _call("unshare", _CLONE_NEWUTS)
    socket.sethostname(name)


def _setns(fd):
    _call("setns", fd, _CLONE_NEWNET)


def _call(function, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def _open_tun():
    fd = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH22x", INTERFACE.encode(), _IFF_TUN | _IFF_NO_PI)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, request)
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove_leftovers():
    if not _RUN.exists():
        return
    for path in _RUN.glob(f"{_PREFIX}*"):
        pid = re.match(rf"{_PREFIX}(\d+)-", path.name)
        if pid and not Path(f"/proc/{pid[1]}").exists():
            _ip("netns", "del", path.name)


def _ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _terminated(*_):
    raise SystemExit(128 + signal.SIGTERM)
