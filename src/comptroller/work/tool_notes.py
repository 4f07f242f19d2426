"""What a round of a tool says of itself, in a word that a row keeps where the texts are not kept.

Three of the four patterns of inefficiency of arXiv 2604.05404 are told from them; the fourth, several tools in one
task, from the rows' roles.
"""

from __future__ import annotations

KNOWN = "known before"
"""The result had been said before the call, or the same call had given it: confirmatory use."""

NOTHING = "nothing came back"
"""The tool was called in a way that gives no result: no prior of how the tool is used."""

MALFORMED = "arguments are no JSON"
"""The call could not be read: the format collapsed."""

MONITOR = "monitor:"
"""What the role of a row begins with that says that a monitor stopped a run."""

CHECKER = "checker"
"""The role of what judges a reply: no tool of an agent's."""
