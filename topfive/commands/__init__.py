"""The commands: one typed function each; its docstring is its help. Whatever is heavy is imported inside."""
