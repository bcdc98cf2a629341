"""``astro-deepgalaxy cluster``."""

import json
from pathlib import Path

import click


@click.command()
@click.argument("latents", type=click.Path(exists=True, file_okay=False))
@click.option(
    "-o",
    "--output",
    required=True,
    help="Table to write; the suffix chooses the format (.ecsv, .fits, .vot, .csv, .parquet).",
)
@click.option("-n", "number", type=int, help="Number of clusters; by default the spectrum's gap.")
@click.option("-k", type=int, help="Neighbours that each image is joined to; 60 to 300 of many.")
@click.option("--index", default="exact", show_default=True, help="Registered index.")
@click.option("--figure", help="Also draw the most typical images of each cluster (.png, .pdf).")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def cluster(latents, output, number, k, index, figure, as_json):
    """Group images that look alike.

    LATENTS is a folder that 'astro-deepgalaxy index' wrote. The images are joined to their
    nearest neighbours, and the parts of this graph that hang together are the clusters. The table
    has a row for each image: its cluster, how typical it is of it, and its labels.

    \b
    Examples:
      astro-deepgalaxy cluster latents -o clusters.ecsv
      astro-deepgalaxy cluster latents -o clusters.fits -n 5 --figure clusters.png
    """
    from ..io.tables import check_table_suffix, write_table
    from ..jobs import atomic_path
    from ..tasks.cluster import GalaxyClusterer

    check_table_suffix(output)
    found = GalaxyClusterer(number, k=k, index=index).fit(latents)
    write_table(found.catalogue(), output)
    if figure:
        drawn = found.figure()
        with atomic_path(Path(figure)) as partial:
            drawn.savefig(partial, dpi=150)
    agreement = {}
    for name in ("stage", "group"):
        known = found.latents_.column(name)
        if (known != "").any():
            agreement[name] = found.agreement(name)
    sizes = [int((found.labels_ == i).sum()) for i in range(found.n_clusters_)]
    if as_json:
        summary = {"clusters": output, "sizes": sizes, "agreement": agreement}
        click.echo(json.dumps(summary))
        return
    click.echo(f"{len(found.labels_)} images in {found.n_clusters_} clusters {sizes} -> {output}")
    for name, scores in agreement.items():
        click.echo(
            f"  agreement with {name}: NMI {scores['nmi']:.2f}, ARI {scores['ari']:.2f} "
            f"({scores['n']} images)"
        )
