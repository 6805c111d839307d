"""An operator, an account and a user for a NATS server, signed as its own tool nsc would: for the credentials test.

https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt
"""

import base64
import hashlib
import json
import time
from pathlib import Path

import nacl.signing
import nkeys


def _pair(prefix: int) -> tuple[nkeys.KeyPair, str]:
    seed = nkeys.encode_seed(bytes(nacl.signing.SigningKey.generate()), prefix)
    pair = nkeys.from_seed(seed)
    return pair, bytes(pair.public_key).decode()


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _token(signer: nkeys.KeyPair, issuer: str, subject: str, name: str, claims: dict[str, object]) -> str:
    body = {"iss": issuer, "sub": subject, "name": name, "iat": int(time.time()), "nats": {**claims, "version": 2}}
    body["jti"] = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    head = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
    return f"{head}.{base64.urlsafe_b64encode(signer.sign(head.encode())).rstrip(b'=').decode()}"


def write(folder: Path) -> str:
    """Write `user.creds` into a folder; return the settings of a server that lets in those who hold it."""
    operator, operator_id = _pair(nkeys.PREFIX_BYTE_OPERATOR)
    account, account_id = _pair(nkeys.PREFIX_BYTE_ACCOUNT)
    user, user_id = _pair(nkeys.PREFIX_BYTE_USER)
    no_limits = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1, "subs": -1, "data": -1}
    no_streams = {"subs": -1, "conn": -1, "wildcards": True}
    no_limits |= {"payload": -1, "conn": -1, "imports": -1, "exports": -1, "wildcards": True}
    operator_token = _token(operator, operator_id, operator_id, "operator", {"type": "operator"})
    _, system_id = _pair(nkeys.PREFIX_BYTE_ACCOUNT)
    system_token = _token(operator, operator_id, system_id, "SYS", {"type": "account", "limits": no_streams})
    account_token = _token(operator, operator_id, account_id, "plant", {"type": "account", "limits": no_limits})
    user_token = _token(
        account, account_id, user_id, "vdevice", {"type": "user", "subs": -1, "data": -1, "payload": -1}
    )
    seed = user.seed.decode()
    (folder / "user.creds").write_text(
        f"-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    accounts = f"{account_id}: {account_token}\n{system_id}: {system_token}"
    return (
        f"operator: {operator_token}\nsystem_account: {system_id}\nresolver: MEMORY\nresolver_preload: {{ {accounts} }}"
    )
