"""MobileSAM as torch modules: used to load checkpoints, to run on torch devices and to train."""
