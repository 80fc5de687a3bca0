"""Shell, disk: frames to WebM files, their metadata, and what a crash left."""
