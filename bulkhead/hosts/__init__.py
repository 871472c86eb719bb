"""The kinds of hosts that there are, by the name that a user gives them."""

from bulkhead.hosts.containers import Containers
from bulkhead.hosts.interface import Hosts
from bulkhead.hosts.namespaces import Namespaces

KINDS: dict[str, type[Hosts]] = {kind.kind: kind for kind in (Namespaces, Containers)}
