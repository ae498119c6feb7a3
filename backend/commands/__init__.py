"""The operator's commands, a module for each.

Each has ``add_to``, which adds the command's parser. The parser's default ``run`` takes the
parsed options and the settings, and returns the exit status: 0, or 1 if a part of the work failed.
"""
