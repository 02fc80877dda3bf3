"""humanpose-cli: photos and videos of people into 3-D bodies and new images.

The Python interface is `humanpose_cli.pipelines`; the command line is `hpc`. Importing this package loads
neither torch nor any other heavy library.
"""

from humanpose_cli.version import __version__

__all__ = ["__version__"]
