"""What `import topfive` offers: thin functions that join the other parts. Names are found in `topfive/__init__.py`."""
