"""Segment's query language, FQL: from the text of a query to a function of a record.

`lexer` reads words, `parser` puts them together, `term` knows what the parts
mean, with the conversions of `function` and the globs of `pattern`.
"""
