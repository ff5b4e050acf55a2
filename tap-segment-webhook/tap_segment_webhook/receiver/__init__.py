"""The HTTP side: takes deliveries, has them committed, answers.

Nothing here imports the Singer SDK.
"""
