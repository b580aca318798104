"""The verbs of the command line, one file each: what it is for, its arguments, and the call into the library.

A verb is a module with ``HELP`` (one line), ``arguments(parser)`` and ``run(**values) -> exit code``. Verbs hold no logic, and
import the library only when they are run, so that ``--help`` comes at once.
"""
