"""Receives Segment webhooks durably and emits them as Singer streams."""
