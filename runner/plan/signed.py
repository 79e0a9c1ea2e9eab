"""Addresses that are signed for a while: each time another one, though what lies there is the same."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from runner.slug import slug

_SIGNED_BY: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        # S3 and what speaks its protocol, Google Cloud Storage, Volcengine TOS, Alibaba OSS: version 4
        "x-amz-signature",
        "x-amz-credential",
        "x-amz-security-token",
        "x-amz-expires",
        "x-goog-signature",
        "x-goog-credential",
        "x-goog-expires",
        "x-tos-signature",
        "x-oss-signature",
        "x-oss-credential",
        "x-obs-signature",
        "x-obs-security-token",
        # the same before version 4, CloudFront
        "awsaccesskeyid",
        "googleaccessid",
        "ossaccesskeyid",
        "key-pair-id",
        # Azure, by a shared access signature
        "sig se",
        "sig sv",
        # Tencent COS and CDN, Qiniu, Alibaba CDN, Upyun
        "q-signature",
        "txsecret",
        "wssecret",
        "auth_key",
        "e token",
        "_upt",
        # Akamai, Fastly, Bunny, Cloudflare, Backblaze
        "hdnts",
        "hdnea",
        "hdntl",
        "__token__",
        "verify",
        "authorization",
        # Discord, Facebook and Instagram, LinkedIn
        "ex hm",
        "oh oe",
        "e v t",
        # Firebase, Supabase, GitLab, Mapbox and many services of their own
        "token",
        "access_token",
        "private_token",
        "auth_token",
        "sastoken",
        "jwt",
        "signature",
        "sign",
        "sig",
        "hmac",
        "expires",
        "expire",
        "expiry",
        "exp",
    )
)
"""The names of the query, in lower case, that together show a signature."""
_MOST = 40
_WORD = re.compile(r"[a-z0-9][a-z0-9-]*")


def signature_in(url: str) -> str:
    """The name of the query by which a URL is known to be signed, as it is written; empty where it is not."""
    if url[:8].casefold() != "https://" or "?" not in url:
        return ""
    try:
        query = urlsplit(url).query
    except ValueError:
        return ""
    written = {name.casefold(): name for name, _ in parse_qsl(query, keep_blank_values=True)}
    for names in _SIGNED_BY:
        if names <= written.keys():
            return written[min(names)]
    return ""


def key_for(url: str) -> str:
    """A stable name for what lies at `url`, by its path."""
    name = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]
    word = slug(name.rpartition(".")[0] or name).casefold()[:_MOST]
    return word if _WORD.fullmatch(word) and not word.isdigit() else "a-name"
