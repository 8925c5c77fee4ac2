"""The machine: everything that needs torch."""

from topfive.lab import load as load  # first: what else runs is seen while torch is imported
