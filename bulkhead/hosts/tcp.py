"""What the kernel of a proxy's host must know of silence: TCP's own answers to it take minutes.

By default Linux resends what is not acknowledged for 15 minutes (tcp_retries2) and asks an idle
connection after two hours whether anybody is there (tcp(7), ip-sysctl). Here a peer that is off the
network is given up after 3 s, or when the next resend is due, which is 7 s at most: what was sent
and not acknowledged after four tries, and what was acknowledged but not answered by keep-alive
probes (nginx: proxy_socket_keepalive). A frozen host's
kernel acknowledges both; only `services.*.timeout_s` ends that. docker-compose.yml and
deploy/swarm.yml have the same.
"""

PROXY = {
    "tcp_retries2": 3,  # 0.2 + 0.4 + 0.8 + 1.6 s
    "tcp_keepalive_time": 1,
    "tcp_keepalive_intvl": 1,
    "tcp_keepalive_probes": 2,
}
"""The settings of net.ipv4, each of which belongs to a network namespace."""
