"""Liquid as Segment has it: `template` compiles and renders, `filters` is what it may use."""
