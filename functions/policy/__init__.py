"""Judges each proposal by the organisation's policies."""
