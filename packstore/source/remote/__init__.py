"""Objects behind URLs: a URL goes in, a source that reads it by byte ranges comes out.

`clients` finds the client of a URL: ``by_…`` has one module a library that makes requests. `source` is one object, read
through a client; `ranges` joins byte ranges to requests, `blocks` keeps what was read of an object's index, `urls`
hides secrets from texts.
"""
