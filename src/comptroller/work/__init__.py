"""What is asked and what happened: workloads, traces of requests, the record of a call."""
