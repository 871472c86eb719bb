"""The kinds of hosts that there are, by the name that a user gives them."""

from bulkhead.hosts.base import Hosts
from bulkhead.hosts.containers import Containers
from bulkhead.hosts.namespaces import Namespaces

KINDS: dict[str, type[Hosts]] = {one.kind: one for one in (Namespaces, Containers)}
