"""The machine: everything that needs torch."""
