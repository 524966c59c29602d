"""The cells of the field by family: adding a cell is one entry in one of these files, and a planted
fault or two."""

from . import elman_family, gru_family, irregular, linear_family, lstm_family

FAMILIES = (elman_family, lstm_family, gru_family, linear_family, irregular)
KNOWN = {name: known for family in FAMILIES for name, known in family.CELLS.items()}
MUTANTS = [mutant for family in FAMILIES for mutant in family.MUTANTS]
