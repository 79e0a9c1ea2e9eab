"""Work over many files, at threads, processes or a Dask cluster: pure functions of plain values."""
