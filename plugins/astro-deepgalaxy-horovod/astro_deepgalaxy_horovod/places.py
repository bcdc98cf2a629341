"""Where the workers of a run are, and whether they can run there."""

import json
import os
import shlex
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .settings import available_cores

__all__ = ["Place", "address_towards", "check_hosts", "interface_of", "places", "remote_command"]

_SSH = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]


@dataclass(frozen=True)
class Place:
    """Where a worker runs.

    Attributes
    ----------
    rank : int
        Number of the worker.
    host : str
        Name of its host.
    slot : int
        Number of the worker on that host.
    slots : int
        Workers on that host.
    """

    rank: int
    host: str
    slot: int
    slots: int

    @property
    def local(self):
        """Whether that is this machine."""
        return self.host in ("localhost", "127.0.0.1", socket.gethostname())

    def cores(self, numbers, each=None):
        """The cores of the worker among those of its host.

        Parameters
        ----------
        numbers : list of int
            Numbers of the cores of the host.
        each : int, optional
            Cores of a worker; by default they are divided evenly.

        Returns
        -------
        list of int
        """
        each = each or max(1, len(numbers) // self.slots)
        return numbers[self.slot * each : (self.slot + 1) * each]


def places(settings):
    """Where the workers of a run are.

    Parameters
    ----------
    settings : Settings
        How many and on which hosts.

    Returns
    -------
    list of Place
        In the order of their ranks.
    """
    found = []
    for host, slots in settings.slots().items():
        for slot in range(slots):
            found.append(Place(len(found), host, slot, slots))
    return found


def check_hosts(found, settings):
    """Cores of each host, once it is sure that the workers can run there.

    Parameters
    ----------
    found : list of Place
        Where the workers are to run.
    settings : Settings
        How many cores each needs.

    Returns
    -------
    dict of str to list of int
        Numbers of the cores of each host.

    Raises
    ------
    ValueError
        If a host cannot be reached, has other versions of the packages, or has fewer cores than
        its workers need.
    """
    from .about import about, difference

    slots = {place.host: place.slots for place in found}
    remote = [place.host for place in found if not place.local and place.slot == 0]
    with ThreadPoolExecutor(32) as pool:
        answers = dict(zip(remote, pool.map(_ask, remote), strict=True))
    own = about()
    for host, answer in answers.items():
        other = difference(own, answer)
        if other:
            raise ValueError(f"{host} has {other}; install the same version on all hosts")
    for told in (own, *answers.values()):
        # Horovod's Gloo gives this address to the workers of the other hosts.
        elsewhere = any(other["host"] != told["host"] for other in (own, *answers.values()))
        if elsewhere and told["address"].startswith("127."):
            raise ValueError(
                f"{told['host']} takes itself to be {told['address']}, where other hosts cannot "
                "reach it; give it its address in the network in its /etc/hosts"
            )
    cores = {
        host: answers[host]["cores"] if host in answers else available_cores() for host in slots
    }
    for host, number in slots.items():
        needed, there = number * (settings.cores or 1), len(cores[host])
        if needed > there:
            each = f" of {settings.cores} cores" if settings.cores else ""
            raise ValueError(
                f"{number} workers{each} need {needed} cores, but {host} has {there} to use; ask "
                f"for at most {there // (settings.cores or 1)} workers there"
            )
    return cores


def remote_command(host, words, environment):
    """A command that runs another one on a host.

    Parameters
    ----------
    host : str
        Its name.
    words : list of str
        The command.
    environment : dict of str to str
        Variables to set for it.

    Returns
    -------
    list of str
    """
    setting = [f"{name}={value}" for name, value in environment.items()]
    line = f"cd {shlex.quote(os.getcwd())} && exec env {shlex.join([*setting, *words])}"
    # With a terminal of its own the command ends when the connection does.
    return [*_SSH, "-tt", host, line]


def address_towards(host):
    """The address of this machine from which a host is reached.

    Parameters
    ----------
    host : str
        Its name or address.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is no such host.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # nothing is sent
            return probe.getsockname()[0]
    except OSError as error:
        raise ValueError(f"{host}: there is no such host ({error.strerror or error})") from error


def interface_of(address):
    """Name of the network interface of this machine that reaches an address.

    Parameters
    ----------
    address : str
        Where to.

    Returns
    -------
    str
    """
    import psutil

    own = address_towards(address)
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == own for entry in entries):
            return name
    return "lo" if own.startswith("127.") else ""


def _ask(host):
    """What a host says of itself."""
    words = [sys.executable, "-m", "astro_deepgalaxy_horovod.about"]
    try:
        done = subprocess.run(
            [*_SSH, host, shlex.join(words)], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{host}: cannot be reached by ssh: {error}") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
        raise ValueError(
            f"{host}: cannot run a worker there: {why}; 'ssh {host}' must work without a password, "
            f"and {sys.executable} must have this package there too"
        )
    return json.loads(done.stdout.strip().splitlines()[-1])
