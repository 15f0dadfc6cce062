"""Programs compiled for processors without having them."""
