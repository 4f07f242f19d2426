"""Strategies decide how much compute a question gets: one file each in `rules`, and the driver that runs them.

A file of `rules` defines one class, its stem in capitals and `Strategy`: `best_of_n.py` holds `BestOfNStrategy`. The
folder is the registry; a user's own class is named by a dotted path or a path to a file, `my/rule.py:MyRule`.
"""
