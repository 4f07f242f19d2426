"""Jobs on the GPUs of a cluster over time, and services that are balanced over its nodes."""
