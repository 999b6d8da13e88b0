"""
Recordings: a file of snapshots, one JSON line each, with the configuration that was in force.

Nothing here knows what a snapshot means, nor what is decided on it.
"""

from plimsoll.recording.lines import BadRecording, Configured
from plimsoll.recording.recorder import Recorder, recorder_of
from plimsoll.recording.recording import Recording

__all__ = ["BadRecording", "Configured", "Recorder", "Recording", "recorder_of"]
