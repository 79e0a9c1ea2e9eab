"""Mesh API."""
