"""The one who is asked: the functions, the sandbox they run in, the inputs they get."""
