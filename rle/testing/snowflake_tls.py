"""Certificates for the stand-in for Snowflake: an authority of its own, and what it signs.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

_LIFE = dt.timedelta(days=30)
_NO_USAGE = dict.fromkeys(
    (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    ),
    False,
)


def make_certificates(folder: Path, host: str) -> tuple[Path, Path]:
    """Make an authority and a certificate that it signs.

    Args:
        folder: Where the files go.
        host: Address that the certificate is for.

    Returns:
        The authority's certificate, which clients are to trust, and a file with the server's key
        and certificate.
    """
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _builder("Authority of the stand-in", authority_key)
    authority = authority.issuer_name(_name("Authority of the stand-in"))
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    usage = x509.KeyUsage(**_NO_USAGE | {"key_cert_sign": True, "crl_sign": True})
    root = authority.add_extension(usage, True).sign(authority_key, hashes.SHA256())

    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(host, key).issuer_name(root.subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    usage = x509.KeyUsage(**_NO_USAGE | {"digital_signature": True})
    builder = builder.add_extension(usage, True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    names = [x509.IPAddress(ipaddress.ip_address(host))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    leaf = builder.add_extension(identifier, False).sign(authority_key, hashes.SHA256())

    trusted, own = folder / "authority.pem", folder / "server.pem"
    trusted.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    packed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    own.touch(mode=0o600)
    own.write_bytes(packed + leaf.public_bytes(serialization.Encoding.PEM))
    return trusted, own


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    """A certificate for a name and a key, still without an issuer."""
    now = dt.datetime.now(dt.UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + _LIFE)
        .add_extension(identifier, critical=False)
    )
