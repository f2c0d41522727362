"""Shows what MongoDB holds as Prometheus metrics."""
