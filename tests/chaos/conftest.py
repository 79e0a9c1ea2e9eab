"""The project and the counting sandbox of the end-to-end tests serve here too."""

from tests.end_to_end.conftest import film

__all__ = ["film"]
