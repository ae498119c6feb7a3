"""The decoders that projects have learnt: which there are, and which of them serves."""
