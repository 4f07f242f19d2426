"""Spot policies: where replicas stand and how they are rented, one file each."""
