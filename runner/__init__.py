"""callsheet: declarative runs of paid, asynchronous video-generation APIs."""

__version__ = "0.1.0"
