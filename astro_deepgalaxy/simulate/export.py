"""A survey of simulations as DeepGalaxy's own data set."""

from pathlib import Path

from tqdm.auto import tqdm

from ..jobs import check_space
from ..store.deepgalaxy_writer import write_deepgalaxy_hdf5
from .labelling import label_table, snapshot_labels
from .survey import open_survey
from .views import logarithmic, snapshot_views

__all__ = ["export_deepgalaxy"]


def export_deepgalaxy(folder, path, images, progress=None):
    """Write a survey in the layout of `~astro_deepgalaxy.store.deepgalaxy_hdf5`.

    Pixels are the logarithm of the ideal surface brightness, see
    `~astro_deepgalaxy.simulate.views.logarithmic`.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the survey, with all its simulations finished.
    path : str or `~pathlib.Path`
        HDF5 file to write; it appears whole or not at all.
    images : ImagePlan
        How to look at the snapshots.
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.

    Returns
    -------
    int
        Number of images.

    Raises
    ------
    ValueError
        If a simulation is not finished or not of two galaxies, two have the same ratios, for
        which the layout has no room, or the disk is too small.
    """
    simulations = open_survey(folder)
    for simulation in simulations:
        name, state = simulation.planned.name, simulation.state
        if simulation.planned.kind not in ("merger", "flyby"):
            raise ValueError(
                f"{folder}: {name} is of the kind {simulation.planned.kind!r}; the layout has "
                "room for encounters of two galaxies only"
            )
        if state.status != "done":
            raise ValueError(f"{folder}: {name} is {state.status}; finish the survey first")
    rows = []
    for simulation in simulations:
        history = simulation.history()
        for number in range(len(simulation.snapshots)):
            snapshot = simulation.snapshot(number)
            truth = snapshot_labels(simulation, history, snapshot, number)
            rows += [truth | {"camera": camera} for camera in range(images.cameras)]
    needed = {f"{len(rows)} images": 2 * len(rows) * images.pixels**2}
    check_space(Path(path).parent, needed, "choose fewer pixels or cameras, or another disk")
    pixels = tqdm(
        _pixels(simulations, images),
        total=len(rows),
        desc="export",
        unit="image",
        disable=None if progress is None else not progress,
    )
    write_deepgalaxy_hdf5(path, pixels, label_table(rows))
    return len(rows)


def _pixels(simulations, images):
    for simulation in simulations:
        for number in range(len(simulation.snapshots)):
            for brightness in snapshot_views(simulation, number, images):
                yield logarithmic(brightness)
