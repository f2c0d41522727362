"""Reads what workloads use, proposes what they should ask for, and says why."""
