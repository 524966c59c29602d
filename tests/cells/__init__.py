"""The cells of the field by family: adding a cell is one entry in one of these files."""

from . import gru_family, lstm_family

FAMILIES = (gru_family, lstm_family)
KNOWN = {name: known for family in FAMILIES for name, known in family.CELLS.items()}
