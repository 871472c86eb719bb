"""What a topology becomes."""

from pathlib import Path

from bulkhead.topology.parse import load

SHIPPED = Path("stack.toml")


def test_instances_are_flat_records_on_consecutive_ports() -> None:
    found = load(SHIPPED, ["services.web.instances=1"]).instances()
    assert [(one.name, one.address) for one in found] == [
        ("api-1", "127.0.0.1:8101"),
        ("api-2", "127.0.0.1:8102"),
        ("api-3", "127.0.0.1:8103"),
        ("api-4", "127.0.0.1:8104"),
        ("web-1", "127.0.0.1:8201"),
    ]


def test_a_later_assignment_wins_and_text_that_is_not_toml_is_a_string() -> None:
    topology = load(
        SHIPPED,
        [
            "services.api.instances=2",
            "services.api.instances=3",
            "services.api.policy=hash",
            "services.api.hash_key=$arg_user",
        ],
    )
    assert topology.services["api"].instances == 3
    assert topology.services["api"].hash_key == "$arg_user"


def test_weights_reach_the_instances() -> None:
    topology = load(SHIPPED, ["services.api.instances=3", "services.api.weights=[5,1,1]"])
    assert [one.weight for one in topology.instances("api")] == [5, 1, 1]


def test_home_is_beside_the_file_and_absolute() -> None:
    topology = load(SHIPPED)
    assert topology.home == SHIPPED.resolve().parent / "var"
    assert load(SHIPPED, ["stack.home=/tmp/x"]).home == Path("/tmp/x")


def test_a_wildcard_listener_is_reached_through_loopback() -> None:
    topology = load(SHIPPED, ["proxy.listen=0.0.0.0:8080", "proxy.allow_remote=true"])
    assert topology.url == "http://127.0.0.1:8080"
