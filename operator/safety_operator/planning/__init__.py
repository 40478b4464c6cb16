"""Pure decisions: what exists goes in, what should exist comes out.

``dispatch`` has the two functions that ``handlers`` and the plugin call. Both are pure and total: any
resource of one of the four kinds gives an answer, a wrong spec gives Stalled.
"""
