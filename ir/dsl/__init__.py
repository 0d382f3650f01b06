"""The language: text to graph and back, with diagnostics."""

from .genotypes import format_genotype, is_genotype, load_genotype, parse_genotype
from .load import Program, elaborated, load, loads
from .parse import parse

__all__ = [
    "Program",
    "elaborated",
    "format_genotype",
    "is_genotype",
    "load",
    "load_genotype",
    "loads",
    "parse",
    "parse_genotype",
]
