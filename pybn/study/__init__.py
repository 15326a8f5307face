"""What a teacher or a student holds against the layer."""
