"""A local server that speaks the services' wire protocols and renders real MP4s.

Imports nothing else of runner: shared wire code would prove `providers` only against itself.
"""
