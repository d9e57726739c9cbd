"""What both ends of a call share. Knows no service.

Importing it disarms grpc's fork handlers: children of a process that uses grpc crash otherwise.
"""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
