"""Label Studio's labeling configs and regions: what was clicked, and how a mask is drawn."""
