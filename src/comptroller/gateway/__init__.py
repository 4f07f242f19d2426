"""The OpenAI-compatible door: runs a plan or a strategy over real backends, and books every call.

`backends` has one file per engine. Nothing is computed here that another room computes.
"""
