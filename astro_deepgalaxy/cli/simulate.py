"""``astro-deepgalaxy simulate``: surveys of galaxy mergers, and what is made of them."""

import json
import time
from dataclasses import asdict

import click


@click.group()
def simulate():
    """Simulate galaxy mergers, and observe them as a telescope would.

    Two disc galaxies with bulges and live dark halos fall together under their own gravity.
    'survey' runs the simulations of a plan; 'render' and 'observe' turn their snapshots into
    FITS images with a label table, as often and in as many ways as you like.

    \b
    Examples:
      astro-deepgalaxy simulate survey --preset first-look -o mergers
      astro-deepgalaxy simulate status mergers
      astro-deepgalaxy simulate observe mergers -o observed
      astro-deepgalaxy simulate movie mergers sim_003 -o merger.gif
    """


_FARTHEST = 20  # redshift

_json = click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
_processes = click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Simulations at once; by default as many as there are cores.",
)


def _image_options(command):
    options = (
        click.option("--pixels", type=int, help="Side of an image."),
        click.option("--cameras", type=int, help="Directions, no two of them opposite."),
        click.option("--field", type=float, help="Side of the field of view in kpc."),
        click.option("--disc-mass-to-light", type=float, help="Of disc stars, in solar units."),
        click.option("--bulge-mass-to-light", type=float, help="Of bulge stars."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@simulate.command()
@click.argument("plan", required=False)
@click.option("--preset", help="A plan that comes with the package: see 'simulate presets'.")
@click.option("-o", "--output", required=True, help="Folder of the survey.")
@_processes
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Dask scheduler (tcp://...) whose workers run the simulations.",
)
@_json
def survey(plan, preset, output, processes, scheduler, as_json):
    """Run the simulations of PLAN, a TOML file.

    Every simulation is a job with its state on disk. Given again after an interruption, the
    command continues: finished simulations are kept, a started one goes on from its last
    snapshot, a failed one is tried again. Workers of a cluster must see the folder under the
    same name.

    \b
    Examples:
      astro-deepgalaxy simulate survey --preset paper -o paper
      astro-deepgalaxy simulate presets paper > grid.toml
      astro-deepgalaxy simulate survey grid.toml -o mergers --processes 4
      astro-deepgalaxy simulate survey grid.toml -o /shared/mergers --scheduler tcp://head:8786
    """
    from ..simulate.plan import read_plan, read_preset
    from ..simulate.survey import run_survey

    if (plan is None) == (preset is None):
        raise click.UsageError("give either a plan (a TOML file) or --preset NAME")
    plan = read_preset(preset) if plan is None else read_plan(plan)
    states = run_survey(output, plan, processes, scheduler, progress=False if as_json else None)
    failed = [state for state in states if state.status != "done"]
    if as_json:
        click.echo(json.dumps(_summary(states)))
    else:
        click.echo(f"{len(states) - len(failed)} of {len(states)} simulations done -> {output}")
        for state in failed:
            click.echo(f"  {state.name} {state.status}: {state.reason}", err=True)
    if failed:
        raise click.ClickException(
            f"{len(failed)} simulations are not done; run the command again to go on with them"
        )


@simulate.command()
@click.argument("name", required=False)
def presets(name):
    """List the plans that come with the package, or print the one called NAME.

    \b
    Examples:
      astro-deepgalaxy simulate presets
      astro-deepgalaxy simulate presets paper > grid.toml
    """
    from ..simulate.plan import PRESETS, preset_toml, read_preset

    if name is not None:
        click.echo(preset_toml(name), nl=False)
        return
    for preset in PRESETS:
        plan = read_preset(preset)
        n = len(plan.planned())
        images = n * plan.run.snapshots * plan.images.cameras
        click.echo(
            f"{preset:12} {n:3} simulations of {plan.run.particles} particles, {images} images"
        )


@simulate.command()
@click.argument("folder")
@click.option("--watch", is_flag=True, help="Show a live table until all is done.")
@_json
def status(folder, watch, as_json):
    """Where each simulation of the survey in FOLDER stands.

    \b
    Examples:
      astro-deepgalaxy simulate status mergers
      astro-deepgalaxy simulate status mergers --watch
    """
    from ..simulate.survey import open_survey

    simulations = open_survey(folder)
    states = [simulation.state for simulation in simulations]
    if as_json:
        click.echo(json.dumps(_summary(states) | {"simulations": [asdict(s) for s in states]}))
        return
    while watch and any(state.status in ("planned", "running") for state in states):
        click.clear()
        _show(states)
        time.sleep(2)
        states = [simulation.state for simulation in simulations]
    if watch:
        click.clear()
    _show(states)


def _show(states):
    width = 24
    for state in states:
        share = state.time / state.duration
        bar = "#" * round(width * share)
        click.echo(
            f"{state.name}  {state.kind:11} {state.status:11} [{bar:{width}}] "
            f"{state.time:5.0f} of {state.duration:.0f} Myr {state.seconds:7.0f} s"
            + (f"  {state.reason}" if state.reason else "")
        )
    counts = _summary(states)["status"]
    click.echo(", ".join(f"{n} {status}" for status, n in counts.items()))


def _summary(states):
    names = [state.status for state in states]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return {"status": counts, "done": names.count("done") == len(names)}


@simulate.command()
@click.argument("folder")
@click.option("-o", "--output", required=True, help="Folder for images and labels.")
@_image_options
@_processes
@_json
def render(folder, output, processes, as_json, **changes):
    """Render ideal images of the survey in FOLDER: surface brightness in Lsun / kpc^2.

    \b
    Examples:
      astro-deepgalaxy simulate render mergers -o ideal
      astro-deepgalaxy simulate render mergers -o large --pixels 1024 --cameras 3 --field 80
    """
    from ..simulate.imaging import IdealTelescope

    _take(folder, output, IdealTelescope(), changes, processes, as_json)


@simulate.command()
@click.argument("folder")
@click.option("-o", "--output", required=True, help="Folder for images and labels.")
@click.option(
    "--survey",
    "survey_name",
    default="",
    help="Survey whose telescope takes the images (see --surveys); by default circumstances vary.",
)
@click.option(
    "--surveys",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, value: _list_surveys(ctx) if value else None,
    help="List the known surveys and end.",
)
@click.option(
    "--redshift",
    nargs=2,
    type=float,
    default=(0.02, 0.08),
    show_default=True,
    help="Smallest and largest redshift.",
)
@click.option(
    "--psf",
    "psf_file",
    metavar="FITS",
    help="Image of a point source at the images' pixel scale, instead of the survey's PSF.",
)
@click.option(
    "--background",
    metavar="FITS",
    help="Image of the real sky, also as file.fits[SCI], to put the galaxies into.",
)
@_image_options
@_processes
@_json
def observe(
    folder, output, survey_name, redshift, psf_file, background, processes, as_json, **changes
):
    """Observe the survey in FOLDER: FITS images with a WCS, seeing, sky and noise.

    What is true about an image stands in the label table alone. With --survey, the size of an
    image follows from its redshift and the survey's pixels. A --background gives each galaxy a
    random place, its own sky and neighbours, and its pixel scale; its header must have a WCS and
    say how bright a count is (BUNIT = 'nanomaggy', or MAGZERO, the AB magnitude of one count).

    \b
    Examples:
      astro-deepgalaxy simulate observe mergers -o observed
      astro-deepgalaxy simulate observe mergers -o sdss --survey sdss --redshift 0.02 0.05
      astro-deepgalaxy simulate observe mergers -o deep --survey hsc --psf psf.fits
      astro-deepgalaxy simulate observe mergers -o field --survey decals --background brick.fits
      astro-deepgalaxy simulate observe --surveys
    """
    from dataclasses import replace

    from ..simulate.imaging import RealTelescope
    from ..simulate.psf import read_psf
    from ..simulate.telescopes import telescope

    if not 0 < redshift[0] <= redshift[1] <= _FARTHEST:
        raise click.UsageError(
            f"--redshift takes a smaller and a larger number up to {_FARTHEST}; got {redshift}"
        )
    if survey_name:
        telescope(survey_name)
    elif psf_file or background:
        name = "--psf" if psf_file else "--background"
        raise click.UsageError(f"{name} needs --survey, to whose telescope it belongs")
    if survey_name and changes["pixels"] is not None:
        raise click.UsageError("--pixels does not go with --survey; --field sets the size")
    camera = RealTelescope(survey_name, redshift, background=background or "")
    if psf_file:
        camera = replace(camera, psf=read_psf(psf_file, camera.pixel_scale))
    _take(folder, output, camera, changes, processes, as_json)


def _list_surveys(ctx):
    from ..simulate.telescopes import telescope, telescope_names

    for name in telescope_names():
        survey = telescope(name)
        click.echo(f"{name:11} {survey.band:6} {survey.pixel_scale:5.3f} arcsec  {survey.summary}")
    ctx.exit()


def _take(folder, output, telescope, changes, processes, as_json):
    from ..io import read_table
    from ..simulate.imaging import write_images
    from ..simulate.survey import open_survey
    from ..simulate.views import image_plan

    simulations = open_survey(folder)
    images = image_plan(simulations[0].plan, **changes)
    path = write_images(
        folder, output, telescope, images, processes, progress=False if as_json else None
    )
    labels = read_table(path)
    done = len(json.loads(labels.meta["energy_drift"]))
    if as_json:
        summary = {"labels": str(path), "images": len(labels), "simulations": done}
        click.echo(json.dumps(summary))
        return
    click.echo(f"{len(labels)} images of {done} simulations -> {path}")
    if done < len(simulations):
        click.echo(f"{len(simulations) - done} simulations are not finished; run again later")


@simulate.command()
@click.argument("folder")
@click.argument("file")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["deepgalaxy-hdf5"]),
    default="deepgalaxy-hdf5",
    show_default=True,
    help="Layout of the file.",
)
@_image_options
def export(folder, file, layout, **changes):
    """Write the survey in FOLDER into FILE as DeepGalaxy's own data set.

    One HDF5 group for each mass and size ratio, with images in [0, 1] and times for each camera.
    'astro-deepgalaxy preprocess' reads such files.

    \b
    Examples:
      astro-deepgalaxy simulate export paper deepgalaxy.h5 --format deepgalaxy-hdf5
      astro-deepgalaxy simulate export paper small.h5 --pixels 128 --cameras 3
    """
    from ..simulate.export import export_deepgalaxy
    from ..simulate.survey import open_survey
    from ..simulate.views import image_plan

    images = image_plan(open_survey(folder)[0].plan, **changes)
    n = export_deepgalaxy(folder, file, images)
    click.echo(f"{n} images -> {file}")


@simulate.command()
@click.argument("folder")
@click.argument("simulation", required=False)
@click.option("-o", "--output", default="merger.gif", show_default=True, help="GIF or MP4 file.")
@click.option("--sheet", help="Also write a contact sheet (PNG).")
@click.option("--camera", default=0, show_default=True, help="Number of the camera.")
@click.option(
    "--pixels",
    type=click.IntRange(32, 2048),
    default=256,
    show_default=True,
    help="Side of a picture.",
)
@click.option("--field", type=float, help="Side of the field of view in kpc.")
@click.option(
    "--fps", type=click.IntRange(1, 100), default=12, show_default=True, help="Pictures a second."
)
def movie(folder, simulation, output, sheet, camera, pixels, field, fps):
    """Make a movie of SIMULATION (by default the first) of the survey in FOLDER.

    \b
    Examples:
      astro-deepgalaxy simulate movie mergers
      astro-deepgalaxy simulate movie mergers sim_003 -o merger.mp4 --sheet merger.png
    """
    import numpy as np

    from ..figures import contact_sheet
    from ..jobs import atomic_path
    from ..simulate.movie import MOVIE_SUFFIXES, frames, write_movie
    from ..simulate.survey import open_survey

    for file, suffixes in ((output, MOVIE_SUFFIXES), (sheet or ".png", (".png",))):
        if not file.lower().endswith(suffixes):
            raise click.UsageError(f"{file}: the name must end in {' or '.join(suffixes)}")
    simulations = {s.planned.name: s for s in open_survey(folder)}
    if simulation is not None and simulation not in simulations:
        known = f"{min(simulations)} to {max(simulations)}"
        raise click.UsageError(f"no simulation {simulation!r} in {folder}; known are {known}")
    chosen = simulations[simulation or min(simulations)]
    pictures = list(frames(chosen, camera, pixels, field))
    write_movie(output, pictures, fps)
    click.echo(f"{len(pictures)} pictures -> {output}")
    if sheet:
        count = min(len(pictures), 18)
        every = [round(i * (len(pictures) - 1) / max(count - 1, 1)) for i in range(count)]
        # The figure's first row of pixels is at the bottom, a picture's at the top.
        figure = contact_sheet([np.asarray(pictures[i])[::-1] for i in every])
        with atomic_path(sheet) as partial:
            figure.savefig(partial, dpi=150)
        click.echo(f"contact sheet -> {sheet}")
