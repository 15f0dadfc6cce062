"""Programs compiled for processors that are not there."""
