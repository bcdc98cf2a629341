"""Going on with the workers that are left when one is lost.

Horovod's elastic mode does it: it notices, gives the others new numbers, and lets them meet again.
Two things are done differently here. Horovod's Keras state and its loop do not know Keras 3 and
grouped allreduces. And it gives up all workers of a host when one is lost, so that on a single
machine nothing would be left; here each worker counts as a host of its own.
"""

import time
from contextlib import contextmanager
from dataclasses import replace

__all__ = ["lost_workers", "run_elastic", "start_elastic"]

_MEETING_SECONDS = 60  # for the workers that are left to find each other


@contextmanager
def lost_workers():
    """Turn what TensorFlow says of a lost worker into Horovod's own error.

    Raises
    ------
    horovod.common.exceptions.HorovodInternalError
        If an exchange failed within the block.
    """
    import tensorflow as tf
    from horovod.common.exceptions import HorovodInternalError

    try:
        yield
    except tf.errors.UnknownError as error:
        if "Horovod" not in str(error):
            raise
        raise HorovodInternalError(error.message.splitlines()[0]) from error


def run_elastic(training):
    """Train to the end of a job, whoever is lost.

    Parameters
    ----------
    training : Training
        What to run.
    """
    import horovod.tensorflow as hvd
    from horovod.common.elastic import State, run_fn

    class WorkerState(State):
        """Weights and place of the last commit, in memory."""

        def __init__(self):
            super().__init__(hvd.broadcast_object, hvd.rank)
            self.save()

        def save(self):
            self.kept = training.snapshot()

        def restore(self):
            training.revert(self.kept)

        def sync(self):
            with lost_workers():
                training.synchronise()
                if hvd.rank() == 0:  # of which there may be another now
                    training.checkpoints.sweep()
            self.save()

    def run(state):
        with lost_workers():
            training.run(state.commit)

    def reset():
        hvd.shutdown()
        training.status.write("meeting")
        hvd.init()

    run_fn(run, reset)(WorkerState())


def start_elastic(folder, found, cores, settings, environment, stack, running):
    """Start workers, and start none again; as the other starters of `launch`.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Folder of the run.
    found : list of Place
        Where the workers are.
    cores : dict of str to list of int
        Cores of each host.
    settings : Settings
        How.
    environment : dict of str to str
        Variables to set for Horovod.
    stack : contextlib.ExitStack
        What is to be closed at the end.
    running : list of Worker
        Where to put them.
    """
    from horovod.runner.elastic.discovery import FixedHosts
    from horovod.runner.elastic.driver import ElasticDriver
    from horovod.runner.elastic.rendezvous import create_rendezvous_handler
    from horovod.runner.gloo_run import create_slot_env_vars
    from horovod.runner.http.http_server import RendezvousServer

    from .launch import Worker, gloo_environment, own_environment, worker_command

    places = {f"{place.host}_{place.slot}": place for place in found}
    server = RendezvousServer(0)
    driver = ElasticDriver(
        server,
        FixedHosts(dict.fromkeys(places, 1)),
        settings.min_workers,
        len(found),
        timeout=_MEETING_SECONDS,
    )
    port = server.start(create_rendezvous_handler(driver))
    server._httpd.socket.listen(len(found) + 64)
    environment = environment | gloo_environment(found, port) | {"HOROVOD_ELASTIC": "1"}

    def work(slot, events):
        place = replace(places[slot.hostname], rank=slot.rank)
        worker = Worker(
            place,
            worker_command(folder),
            environment | create_slot_env_vars(slot) | own_environment(place, cores, settings),
            folder / "logs" / f"worker_{place.rank:05d}.log",
        )
        running.append(worker)
        while worker.ended is None:
            if any(event.is_set() for event in events):
                worker.end()
            time.sleep(0.1)
        return worker.ended, time.time()

    stack.callback(driver.stop)
    driver.wait_for_available_slots(len(found))
    driver.start(len(found), work)
    while len(running) < len(found):
        time.sleep(0.05)
