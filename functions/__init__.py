"""The stages: one folder each; they talk to one another by events alone."""
