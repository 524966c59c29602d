"""The cells of the field by family: adding a cell is one entry in one of these files."""

from . import gru_family, linear_family

KNOWN = {
    name: known for family in (gru_family, linear_family) for name, known in family.CELLS.items()
}
