"""The packed format: tars, indices and manifest; opening, selecting, tasks and splits. Needs neither torch nor OpenCV."""
