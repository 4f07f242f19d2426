"""Workloads, traces of requests, recorded evidence and its laws, and the record of a call."""
