"""A worker whose steps are timed: ``python -m astro_deepgalaxy_horovod.scale.measured_worker``.

It takes one JSON object a line from its standard input, does what it says, and answers with one on
its standard output. The first one says what it is: ``{"role": ..., "backbone": ..., "pixels": ...,
"batch": ...}`` with one of the roles

``fit``
    Keras's own ``model.fit``.
``step``
    The step of the trainer, without Horovod.
``horovod``
    The step of the trainer.
``exchange``
    No network: what is asked for is added up over the workers.
"""

import contextlib
import json
import os
import sys
import time
from itertools import pairwise

from ..places import interface_of
from ..worker import bind, end_with_parent

CLASSES = 71


def main():
    """Answer until there is nothing more to be asked."""
    end_with_parent()  # even at rest: a stopped process does not see its pipe close
    # What libraries print must not get among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if worker is None:
                worker, found = _begin(**asked)
            else:
                found = getattr(worker, asked.pop("do"))(**asked)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            found = {"error": f"{type(error).__name__}: {lines[-1]}"}
        print(json.dumps(found), file=answers, flush=True)
    if worker is not None:
        worker.end()


def _begin(role, **network):
    cores = os.environ.get("ASTRO_DEEPGALAXY_CORES")
    if cores:
        bind({int(core) for core in cores.split(",")})
    if "HOROVOD_GLOO_RENDEZVOUS_ADDR" in os.environ:
        os.environ["HOROVOD_GLOO_IFACE"] = interface_of(os.environ["HOROVOD_GLOO_RENDEZVOUS_ADDR"])
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
    if role != "fit":
        tf.config.threading.set_inter_op_parallelism_threads(1)
    worker = {"fit": _Fit, "step": _Step, "horovod": _Horovod, "exchange": _Exchange}[role](
        **network
    )
    return worker, worker.about


def _images(pixels, batch):
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.random((batch, pixels, pixels, 1), dtype=np.float32)
    return images, rng.integers(0, CLASSES, batch)


def _network(backbone, pixels):
    from astro_deepgalaxy.network import GalaxyNetwork, NetworkConfig

    config = NetworkConfig((pixels, pixels, 1), {"time_class": CLASSES}, backbone)
    return GalaxyNetwork(config)


class _Fit:
    """Keras's own training."""

    def __init__(self, backbone, pixels, batch):
        import keras
        import numpy as np

        images, classes = _images(pixels, batch)
        self.data = images, {"time_class": np.eye(CLASSES, dtype=np.float32)[classes]}
        self.batch = batch
        self.model = _network(backbone, pixels).model(["time_class"])
        losses = {"time_class": "categorical_crossentropy"}
        self.model.compile(keras.optimizers.Adam(1e-4), losses, jit_compile=False)
        self.about = {}
        self.steps(2)

    def steps(self, number):
        """Seconds of some steps."""
        import keras
        import tensorflow as tf

        data = tf.data.Dataset.from_tensors(self.data).repeat()
        ends = []
        note = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
        )
        # The first one waits for the threads of the data.
        self.model.fit(data, steps_per_epoch=number + 1, epochs=1, verbose=0, callbacks=[note])
        return {"seconds": [b - a for a, b in pairwise(ends)]}

    def end(self):
        """Nothing to do."""


class _Step:
    """The step of the trainer, of a worker that is alone."""

    def __init__(self, backbone, pixels, batch, add=list, workers=1):
        import keras
        import numpy as np
        import tensorflow as tf

        from astro_deepgalaxy.store import TimeTarget
        from astro_deepgalaxy.trainers import TrainingJob

        from ..step import TrainingStep, WeightedLosses

        images, classes = _images(pixels, batch)
        network = _network(backbone, pixels)
        job = TrainingJob(
            network=network.config.to_dict(),
            store="",
            rows={"train": [0]},
            targets={"time_class": TimeTarget().to_dict()},
            checkpoint="",
        )
        model = network.model(["time_class"])
        optimizer = keras.optimizers.Adam(1e-4)
        optimizer.build(model.trainable_variables)
        encoded = {"time_class": np.eye(CLASSES, dtype=np.float32)[classes]}
        batch_of_images = (images, encoded, {"time_class": np.ones(batch, dtype=np.float32)})
        self.batch = tf.nest.map_structure(tf.constant, batch_of_images)
        element = tf.nest.map_structure(tf.TensorSpec.from_tensor, self.batch)
        losses = WeightedLosses(job)
        self.step = TrainingStep(model, optimizer, losses, add, element)
        self.scale = [[1 / (batch * workers), 1.0]]
        self.share = 1 / workers
        told = [*model.trainable_variables, *self.step.statistics]
        self.about = {
            "nbytes": 4 * sum(int(np.prod(v.shape)) for v in told),
            "tensors": len(told) + 1,
        }
        self.steps(2)

    def steps(self, number):
        """Seconds of some steps."""
        seconds = []
        for _ in range(number):
            start = time.perf_counter()
            report, _ = self.step(*self.batch, self.scale, self.share, 0.0)
            report.numpy()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}

    def end(self):
        """Nothing to do."""


class _Horovod(_Step):
    """The step of the trainer, of one of several workers."""

    def __init__(self, backbone, pixels, batch):
        import horovod.tensorflow as hvd

        from ..training import add_over_workers

        hvd.init()
        super().__init__(backbone, pixels, batch, add_over_workers, hvd.size())

    def end(self):
        """Leave the others."""
        import horovod.tensorflow as hvd

        hvd.shutdown()


class _Exchange:
    """Nothing but the exchange."""

    TENSORS = 20

    def __init__(self):
        import horovod.tensorflow as hvd

        hvd.init()
        self.about = {}

    def allreduce(self, nbytes, repeats):
        """Seconds of some allreduces, after two that do not count."""
        import horovod.tensorflow as hvd
        import numpy as np
        import tensorflow as tf

        arrays = [tf.zeros([max(1, nbytes // 4 // self.TENSORS)]) for _ in range(self.TENSORS)]
        rng = np.random.default_rng(0)  # the same for all workers
        seconds = []
        for _ in range(repeats + 2):
            time.sleep(rng.uniform(0.005, 0.025))  # no fixed phase to the cycles
            start = time.perf_counter()
            hvd.grouped_allreduce(arrays, op=hvd.Sum)[-1].numpy()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds[2:]}

    def end(self):
        """Leave the others."""
        import horovod.tensorflow as hvd

        with contextlib.suppress(Exception):
            hvd.shutdown()


if __name__ == "__main__":
    main()
