"""The images, without torch: where they come from, and how they are decoded."""
