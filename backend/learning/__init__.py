"""Runs of the learner: how they are started, that there is one at a time, what they report.

The learner itself is ``training/learning``. It runs in a process of its own and needs torch.
"""
