"""Fleets tried in simulation before they are promised."""
