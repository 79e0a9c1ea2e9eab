"""What people would write instead of callsheet: scripts without ledger, manifest or checks.

Each is as good as such a script can be: one client, connections kept, bodies streamed to the file.
"""
