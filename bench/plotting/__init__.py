"""Tables to figures.

They are the program's own: what a user has set for matplotlib, by a variable or a file, neither changes nor
breaks them. Where a program has imported matplotlib before, as a notebook may have, its settings stay.
"""

import logging
import os
import sys

if "matplotlib" not in sys.modules:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # without a home it says where its cache is
    _chosen = os.environ.pop("MPLBACKEND", None)  # one that it does not know is an error at once
    import matplotlib as mpl

    if _chosen is not None:
        os.environ["MPLBACKEND"] = _chosen
    mpl.rcdefaults()
