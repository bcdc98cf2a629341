"""The options of the trainer, checked before anything starts."""

import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

__all__ = ["Settings", "available_cores"]


@dataclass(frozen=True)
class Settings:
    """How a job is trained by several workers; every field is JSON data.

    Attributes
    ----------
    workers : int or None
        Number of workers; by default as many as the hosts have slots, or one for each
        `cores` of this machine.
    hosts : str or None
        Where they run, as ``"a:4,b:4"``: host names with the number of workers on each. By
        default all run on this machine.
    controller : {"gloo", "mpi"}
        Who starts the workers and carries what they say: Gloo (`horovodrun`) or MPI (`mpirun`).
    cores : int or None
        Cores that each worker is bound to; by default those of a host divided evenly.
    data : {"all", "shards"}
        Whether each worker draws from all images, as one large batch would, or reads only its own
        share of the store.
    reshuffle_every : int or None
        Epochs after which the shares are dealt anew; None keeps them for good.
    rate_scaling : {"auto", "linear", "sqrt", "none"}
        How the learning rate grows with the number of workers: in proportion (Goyal et al. 2017),
        with the square root, which suits optimizers that divide by the size of the gradient
        (Malladi et al. 2022), or not at all. "auto" is the first for SGD and the second for the
        others.
    warm_up_epochs : float
        Epochs over which it grows from the rate of one worker to that (Goyal et al. 2017).
    accumulate : int
        Parts in which a worker goes through its batch, so that only one part is in memory.
    checkpoint_steps : int or None
        Steps between checkpoints within an epoch; there is always one at its end.
    cycle_time : float or None
        Milliseconds between two looks of Horovod's background thread; chosen from the size of the
        network when None.
    fusion_bytes : int or None
        Bytes that travel together; None lets all gradients travel as one.
    autotune : bool
        Let Horovod try its own settings in the first steps.
    timeline : str or None
        File for Horovod's timeline (Chrome's trace viewer reads it).
    elastic : bool
        Go on with the workers that are left when one is lost. Horovod's cycle time and fusion
        are then its own, which costs some speed.
    min_workers : int
        Fewest workers to go on with.
    restarts : int
        How often to begin again from the last checkpoint when a worker is lost.
    stall_seconds : int
        Seconds after which a worker that does not answer is given up; five times as many for one
        that answers but takes no step.
    deterministic : bool
        The same numbers in every run, for a price in speed.
    tensorboard : bool
        Also write logs that TensorBoard shows.
    """

    workers: int | None = None
    hosts: str | None = None
    controller: str = "gloo"
    cores: int | None = None
    data: str = "all"
    reshuffle_every: int | None = None
    rate_scaling: str = "auto"
    warm_up_epochs: float = 5.0
    accumulate: int = 1
    checkpoint_steps: int | None = None
    cycle_time: float | None = None
    fusion_bytes: int | None = None
    autotune: bool = False
    timeline: str | None = None
    elastic: bool = False
    min_workers: int = 1
    restarts: int = 0
    stall_seconds: int = 30
    deterministic: bool = False
    tensorboard: bool = False

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            kind = field.type | int if isinstance(0.0, field.type) else field.type
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                name = getattr(kind, "__name__", kind)
                raise ValueError(f"trainer option {field.name}: must be {name}; got {value!r}")
        choices = {
            "controller": ("gloo", "mpi"),
            "data": ("all", "shards"),
            "rate_scaling": ("auto", "linear", "sqrt", "none"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"trainer option {name}: {getattr(self, name)!r} is not one of "
                    f"{', '.join(known)}"
                )
        lowest = {
            "workers": 1,
            "cores": 1,
            "reshuffle_every": 1,
            "accumulate": 1,
            "checkpoint_steps": 1,
            "fusion_bytes": 1,
            "min_workers": 1,
            "restarts": 0,
            "stall_seconds": 1,
            "warm_up_epochs": 0,
            "cycle_time": 0,
        }
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"trainer option {name}: must be at least {least}; got {value!r}")
        if self.reshuffle_every is not None and self.data != "shards":
            raise ValueError(
                "trainer option reshuffle_every deals the shares of the workers anew, but with "
                "data = 'all' there are none; set data = 'shards'"
            )
        if self.elastic and self.controller == "mpi":
            raise ValueError("trainer option elastic: Horovod's elastic mode needs Gloo, not MPI")
        told = [name for name in ("cycle_time", "fusion_bytes") if getattr(self, name) is not None]
        if self.elastic and (told or self.autotune):
            raise ValueError(
                f"trainer option elastic: without {' and '.join(told or ['autotune'])}, as Horovod "
                "0.28 would crash when the workers that are left meet again"
            )
        self.slots()

    @classmethod
    def from_options(cls, options):
        """Settings from the options of a trainer.

        Parameters
        ----------
        options : dict
            Values by the names of the fields.

        Returns
        -------
        Settings

        Raises
        ------
        ValueError
            If there is no such option, or a value is wrong.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(
                f"the trainer 'horovod' has no option {', '.join(unknown)}; it has "
                f"{', '.join(known)}"
            )
        return cls(**options)

    def to_dict(self):
        """The settings as JSON data."""
        return asdict(self)

    def slots(self):
        """Workers on each host, in order.

        Returns
        -------
        dict of str to int

        Raises
        ------
        ValueError
            If the hosts cannot be read, or have fewer slots than there are to be workers.
        """
        if self.hosts is None:
            return {
                "localhost": self.workers or max(1, len(available_cores()) // (self.cores or 1))
            }
        slots = {}
        for entry in self.hosts.split(","):
            found = re.fullmatch(r"([A-Za-z0-9][\w.-]*)(?::(\d+))?", entry.strip())
            if found is None or found[2] == "0" or found[1] in slots:
                raise ValueError(
                    f"trainer option hosts: {entry.strip()!r} in {self.hosts!r} is not a host once "
                    "with its number of workers, as in 'a:4,b:4'"
                )
            slots[found[1]] = int(found[2] or 1)
        wanted = self.workers or sum(slots.values())
        if wanted > sum(slots.values()):
            raise ValueError(
                f"there are to be {wanted} workers, but {self.hosts!r} has slots for "
                f"{sum(slots.values())}; name more hosts or slots"
            )
        used = {}
        for host, n in slots.items():
            used[host] = min(n, wanted - sum(used.values()))
        return {host: n for host, n in used.items() if n}

    def rate_factor(self, optimizer, workers):
        """By how much the learning rate is multiplied.

        Parameters
        ----------
        optimizer : str
            Its Keras name.
        workers : int
            How many there are.

        Returns
        -------
        float
        """
        rule = self.rate_scaling
        if rule == "auto":
            rule = "linear" if optimizer.lower() == "sgd" else "sqrt"
        return {"linear": float(workers), "sqrt": workers**0.5, "none": 1.0}[rule]


def available_cores():
    """Numbers of the cores that this process may use; those that share a real one in sequence."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0), key=_real_core)
    return list(range(os.cpu_count()))


def _real_core(number):
    """Where Linux says that a core is: package, core, and its number."""
    topology = Path(f"/sys/devices/system/cpu/cpu{number}/topology")
    try:
        place = [int((topology / n).read_text()) for n in ("physical_package_id", "core_id")]
    except (OSError, ValueError):
        place = []
    return (*place, number)
