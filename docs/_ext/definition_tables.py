"""Directives that print the flags, the label columns and the telescopes from their definitions."""

from docutils import nodes
from docutils.parsers.rst import Directive

from astro_deepgalaxy.flags import FLAGS
from astro_deepgalaxy.labels import LABEL_COLUMNS
from astro_deepgalaxy.simulate.telescopes import telescope, telescope_names


class _Table(Directive):
    titles, widths = (), ()

    def rows(self):
        raise NotImplementedError

    def run(self):
        group = nodes.tgroup(cols=len(self.titles))
        group += [nodes.colspec(colwidth=width) for width in self.widths]
        head, body = nodes.thead(), nodes.tbody()
        head += self._row(nodes.Text(title) for title in self.titles)
        for row in self.rows():
            body += self._row(row)
        group += [head, body]
        table = nodes.table()
        table += group
        return [table]

    @staticmethod
    def _row(cells):
        row = nodes.row()
        for cell in cells:
            entry, paragraph = nodes.entry(), nodes.paragraph()
            paragraph += cell
            entry += paragraph
            row += entry
        return row


class FlagTable(_Table):
    """All flags: bit, name and meaning."""

    titles, widths = ("Bit", "Flag", "Meaning"), (10, 30, 60)

    def rows(self):
        for flag in FLAGS:
            yield nodes.Text(str(flag.bit)), _literal(flag.name), nodes.Text(flag.summary)


class LabelTable(_Table):
    """All columns of the label table: name, unit and meaning."""

    titles, widths = ("Column", "Unit", "Meaning"), (30, 12, 58)

    def rows(self):
        for column in LABEL_COLUMNS:
            summary = column.summary.replace("`", "")
            yield _literal(column.name), nodes.Text(column.unit or column.kind), nodes.Text(summary)


class TelescopeTable(_Table):
    """All surveys: what their telescopes see."""

    titles = ("Survey", "Band", "Pixel (″)", "PSF (″)", "Sky", "Exposure (s)", "Depth", "What")
    widths = (14, 8, 8, 8, 8, 10, 14, 40)

    def rows(self):
        for name in telescope_names():
            one = telescope(name)
            depth = f"{one.depth.magnitude:g} ({one.depth.sigma:g} sigma)"
            numbers = (one.pixel_scale, one.psf_fwhm, one.sky_brightness, one.exposure)
            texts = (one.band, *(f"{number:g}" for number in numbers), depth, one.summary)
            yield _literal(name), *map(nodes.Text, texts)


class TelescopeSources(Directive):
    """Where the numbers of each survey come from."""

    def run(self):
        items = nodes.definition_list()
        for name in telescope_names():
            one = telescope(name)
            term, definition, paragraph = nodes.term(), nodes.definition(), nodes.paragraph()
            term += _literal(name)
            paragraph += nodes.Text(f"{one.source} Depth: {one.depth.source}.")
            definition += paragraph
            items += nodes.definition_list_item("", term, definition)
        return [items]


def _literal(text):
    return nodes.literal(text, text)


def setup(app):
    app.add_directive("flag-table", FlagTable)
    app.add_directive("label-table", LabelTable)
    app.add_directive("telescope-table", TelescopeTable)
    app.add_directive("telescope-sources", TelescopeSources)
    return {"version": "1", "parallel_read_safe": True}
