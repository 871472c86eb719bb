"""A service that cannot start: it says why and exits."""

import sys

print("the database password is missing")
sys.exit(1)
