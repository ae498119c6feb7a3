"""The addresses from which an image may come."""

import ipaddress

import pytest

from backend.http.addresses import AllowedHosts, is_public


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("127.0.0.1", id="loopback"),
        pytest.param("127.255.0.9", id="loopback-network"),
        pytest.param("10.1.2.3", id="private-10"),
        pytest.param("172.17.0.1", id="private-docker"),
        pytest.param("192.168.1.1", id="private-192"),
        pytest.param("100.64.0.1", id="shared-cgnat"),
        pytest.param("169.254.169.254", id="metadata"),
        pytest.param("100.100.100.200", id="metadata-alibaba"),
        pytest.param("192.0.0.192", id="metadata-oracle"),
        pytest.param("168.63.129.16", id="metadata-azure"),
        pytest.param("0.0.0.0", id="unspecified"),
        pytest.param("224.0.0.1", id="multicast"),
        pytest.param("239.1.2.3", id="multicast-private"),
        pytest.param("255.255.255.255", id="broadcast"),
        pytest.param("240.0.0.1", id="reserved"),
        pytest.param("::", id="unspecified-6"),
        pytest.param("::1", id="loopback-6"),
        pytest.param("fe80::1%eth0", id="link-local-6"),
        pytest.param("fc00::1", id="unique-local-6"),
        pytest.param("fd00:ec2::254", id="metadata-6"),
        pytest.param("fec0::1", id="site-local-6"),
        pytest.param("ff02::1", id="multicast-6"),
        pytest.param("::ffff:127.0.0.1", id="mapped-loopback"),
        pytest.param("::ffff:169.254.169.254", id="mapped-metadata"),
        pytest.param("::7f00:1", id="compatible-loopback"),
        pytest.param("64:ff9b::a9fe:a9fe", id="nat64-metadata"),
        pytest.param("64:ff9b:1::a00:1", id="nat64-local"),
        pytest.param("2002:7f00:1::", id="6to4-loopback"),
        pytest.param("2001:0:7f00:1::", id="teredo"),
        pytest.param("2001:db8::1", id="documentation"),
    ],
)
def test_not_public(address: str) -> None:
    parsed = ipaddress.ip_address(address)
    assert not is_public(parsed)
    assert not AllowedHosts().allow("images.example", parsed)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_public(address: str) -> None:
    assert AllowedHosts().allow("images.example", ipaddress.ip_address(address))


class TestAllowedHosts:
    def test_a_name_allows_every_address_of_the_host(self) -> None:
        allowed = AllowedHosts.parse("MinIO, images.example")
        assert allowed.allow("minio", ipaddress.ip_address("10.0.0.1"))
        assert allowed.allow("images.example.", ipaddress.ip_address("::1"))
        assert not allowed.allow("other.example", ipaddress.ip_address("10.0.0.1"))

    def test_a_network_allows_every_name_with_an_address_in_it(self) -> None:
        allowed = AllowedHosts.parse("10.0.0.0/8 fd00::/8,127.0.0.1")
        assert allowed.allow("minio", ipaddress.ip_address("10.9.9.9"))
        assert allowed.allow("minio", ipaddress.ip_address("::ffff:10.9.9.9"))
        assert allowed.allow("minio", ipaddress.ip_address("fd00::5"))
        assert allowed.allow("localhost", ipaddress.ip_address("127.0.0.1"))
        assert not allowed.allow("localhost", ipaddress.ip_address("127.0.0.2"))
        assert not allowed.allow("minio", ipaddress.ip_address("192.168.0.1"))

    @pytest.mark.parametrize("text", ["http://minio", "10.0.0.0/99", "a b$", "*"])
    def test_neither_a_name_nor_a_network(self, text: str) -> None:
        with pytest.raises(ValueError, match="neither a host name nor a network"):
            AllowedHosts.parse(text)
