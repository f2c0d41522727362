"""Keeps one record of every event of the product, apart from what wrote it."""
