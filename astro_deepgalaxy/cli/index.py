"""``astro-deepgalaxy index``."""

import click


@click.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False))
@click.argument("stores", nargs=-1, required=True)
@click.option("-o", "--output", required=True, help="Folder of latents to write.")
@click.option(
    "--index",
    "index_name",
    default="exact",
    show_default=True,
    help="Registered index; 'faiss' for large sets.",
)
@click.option("-k", default=15, show_default=True, help="Neighbours that each image is joined to.")
@click.option("--append", is_flag=True, help="Add to the folder of latents that stands there.")
def index(model, stores, output, index_name, k, append):
    """Embed a store of images, so that they can be searched.

    MODEL is a saved model folder whose network has a latent z. STORES are stores of images that
    were prepared with its recipe; their labels come with them. The folder gets the latents, the
    labels, an index of the latents and the graph of their nearest neighbours.

    \b
    Examples:
      astro-deepgalaxy index model mergers.zarr -o latents
      astro-deepgalaxy index model mergers.zarr controls.zarr -o latents --index faiss
      astro-deepgalaxy index model more.zarr -o latents --append
    """
    from ..plugins import get_spec
    from ..search.latents import check_folder
    from . import load_keras

    get_spec("index", index_name).load()
    check_folder(output)
    load_keras()
    from ..tasks.search import SimilaritySearch

    stores = list(stores)
    if append:
        search = SimilaritySearch.load(output, model).add(stores)
    else:
        search = SimilaritySearch(model, index=index_name, k=k).fit(stores)
    search.save(output)
    parts = int(search.graph_.components.max()) + 1
    click.echo(
        f"{len(search.latents_)} images, {search.latents_.vectors.shape[1]} numbers each, in "
        f"{parts} connected part{'s' * (parts > 1)} -> {output}"
    )
