"""Masks as others write them: polygons, run lengths, files. Arrays in, plain values out."""
