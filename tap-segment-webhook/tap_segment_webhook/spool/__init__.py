"""Where events wait between the receiver's 200 and the tap.

`Store` is the one writer of a spool, `Reader` any number of readers, and
`Committer` lets many requests share one commit of the store. Nothing outside
this package knows what a spool is made of.
"""
