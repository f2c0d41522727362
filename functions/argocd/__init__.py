"""Decides from the Git host and Argo CD whether changes are merged and live."""
