"""Directives that print the flags and the label columns from their definitions."""

from docutils import nodes
from docutils.parsers.rst import Directive

from astro_deepgalaxy.flags import FLAGS
from astro_deepgalaxy.labels import LABEL_COLUMNS


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


def _literal(text):
    return nodes.literal(text, text)


def setup(app):
    app.add_directive("flag-table", FlagTable)
    app.add_directive("label-table", LabelTable)
    return {"version": "1", "parallel_read_safe": True}
