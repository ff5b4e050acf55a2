"""Sends Singer streams to the Segment Tracking API."""
