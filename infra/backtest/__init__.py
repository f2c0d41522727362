"""Walk-forward tests: what a way of sizing would have requested, and how the following days turned out."""
