"""What suggested masks were worth: accepted as they were, corrected, or rejected."""
