"""Measures what each client does with a POST whose answer is lost, and writes the table of
docs/explanation/why-not-the-sdk.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.cut_posts import PAGE, rows, rows_of  # noqa: E402


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before = [row.line() for row in rows_of(page)]
    measured = "\n".join(row.line() for row in rows())
    head, _, tail = page.partition("\n".join(before))
    PAGE.write_text(f"{head}{measured}{tail}", encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {measured.count(chr(10)) + 1} rows")


if __name__ == "__main__":
    main()
