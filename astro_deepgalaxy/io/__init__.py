"""Images and tables from files."""

from .catalog import Source, resolve_inputs
from .read import read_cutout
from .tables import read_table, write_table

__all__ = ["Source", "read_cutout", "read_table", "resolve_inputs", "write_table"]
