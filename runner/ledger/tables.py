"""The tables of a ledger, as one is copied into another."""

from __future__ import annotations

from collections.abc import Mapping

META_OF_ITS_OWN = frozenset({"schema", "system_identifier", "timeline", "moved"})
"""Keys of `meta` that say something of the place of a ledger, and are not copied."""

TABLES: Mapping[str, tuple[str, ...]] = {
    "runs": (
        "id",
        "job_file",
        "job_name",
        "job_digest",
        "edition",
        "run_date",
        "provider",
        "origin",
        "started_at",
        "finished_at",
    ),
    "sessions": ("rowid", "run_id", "started_at", "ended_at", "facts", "exit_code"),
    "tasks": (
        "identity",
        "name",
        "step",
        "job_file",
        "provider",
        "origin",
        "model",
        "seed",
        "sample",
        "edition",
        "cell",
        "request",
        "output",
    ),
    "attempts": (
        "seq",
        "id",
        "identity",
        "run_id",
        "reason",
        "origin",
        "key_hash",
        "model",
        "seed",
        "tag",
        "body_sha256",
        "server_time",
        "intended_at",
        "state",
        "verdict",
        "evidence",
        "resolution",
        "resolution_evidence",
        "remote_id",
        "accepted_at",
        "echoed_tag",
        "echoed_seed",
        "echoed_input",
        "generation",
        "error_code",
        "error_message",
        "price",
        "taken",
        "estimate_micros",
        "cost_micros",
        "account",
        "labels",
        "handle",
        "day",
        "decision",
    ),
    "history": ("rowid", "attempt_id", "at", "state", "status"),
    "claims": ("path", "identity"),
    "outputs": (
        "seq",
        "path",
        "identity",
        "attempt_id",
        "kind",
        "ordinal",
        "bytes",
        "sha256",
        "media",
        "created_at",
    ),
    "archived": ("sha256", "store", "key", "bytes", "archived_at"),
}
"""By name the columns of each, the first of which orders its rows; what a row needs comes before it. `spends`
is left out: triggers keep it, and `month` is made of `day`.
"""
