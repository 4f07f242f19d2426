"""How pools of requests stand: `classes(calls)` tells calls apart, `choose(view)` sets layout, replicas and clock.

`choose` is asked of every pool before the first call and every EVERY_S seconds; CLASSES names the classes, smallest
first, CLOCKS are the settings of clocks, the highest first.
"""
