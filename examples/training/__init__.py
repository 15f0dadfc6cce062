"""The training program in rooms: settings, data, models, steps, loop, reports."""
