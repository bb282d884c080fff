"""The machine: its description, telemetry, free memory and timer."""
