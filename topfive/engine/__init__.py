"""The machine: everything that needs torch."""

from topfive.engine.benchmark import load as load  # first: what else runs is seen while torch is imported
