"""From rows of any table to Segment calls: the language of Segment's own mappings.

`value` has the words that the others share, `path` and `directive` read one
field of a mapping, `trigger` decides whether a row is meant, `field` and
`payload` make the event that Segment Connections would make.
"""
