"""One file per outside system, each behind a small Protocol that a stateful fake can stand in for."""
