"""Which runs are meant: by a name, by a pattern, or by conditions on what they are.

finding     the one run or comparison that a target names
glances     the runs whose names begin as somebody has typed, for shells
facts       what can be asked of a run: its results, labels and settings
conditions  `optimizer=adam test_acc>0.9`
listing     the rows of the list of runs, filtered and sorted
"""
