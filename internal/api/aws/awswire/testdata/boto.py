# Drives the server with boto3: every protocol, S3 with checksums, multipart and presigned URLs.
# usage: boto.py ENDPOINT [CA-FILE]
import hashlib, io, os, sys, urllib.request, urllib.error, ssl
import boto3, botocore
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

endpoint, ca = sys.argv[1], (sys.argv[2] if len(sys.argv) > 2 else None)
session = boto3.session.Session(
    aws_access_key_id=os.environ["KEY"], aws_secret_access_key=os.environ["SECRET"],
    aws_session_token=os.environ.get("TOKEN"), region_name="us-east-1")

def client(service, **kw):
    cfg = dict(retries={"max_attempts": 0}, s3={"addressing_style": "path"})
    cfg.update(kw)
    return session.client(service, endpoint_url=endpoint, verify=ca, config=Config(**cfg))

def refused(code, f, **kw):
    try:
        f(**kw)
    except botocore.exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == code, (code, e.response)
        return e.response
    raise AssertionError("expected " + code)

def equal(a, b):
    assert a == b, (a, b)

# query
equal(client("sts").get_caller_identity()["Account"], "123456789012")
iam = client("iam")
iam.create_user(UserName="alice", Tags=[{"Key": "team", "Value": "a b/c=ü"}, {"Key": "x", "Value": ""}])
user = iam.get_user(UserName="alice")["User"]
equal(user["Tags"], [{"Key": "team", "Value": "a b/c=ü"}, {"Key": "x", "Value": ""}])
equal(user["CreateDate"].isoformat(), "2026-11-21T10:00:00+00:00")
equal([u["UserName"] for u in iam.list_users()["Users"]], ["alice"])
refused("NoSuchEntity", iam.get_user, UserName="bob")
refused("InvalidAction", iam.list_roles)

# json
kms = client("kms")
equal(kms.encrypt(KeyId="alias/a", Plaintext=b"\x00\xff")["CiphertextBlob"], b"sealed:\x00\xff")
refused("AccessDeniedException", kms.decrypt, CiphertextBlob=b"x")
refused("UnknownOperationException", kms.list_grants, KeyId="a")
kinesis = client("kinesis")
kinesis.create_stream(StreamName="s", ShardCount=1)
refused("ResourceNotFoundException", kinesis.describe_stream_summary, StreamName="nix")
raw = os.urandom(1000)
kinesis.put_record(StreamName="s", Data=raw, PartitionKey="k")
got = kinesis.get_records(ShardIterator="i")["Records"][-1]
equal(got["Data"], raw)
equal(got["ApproximateArrivalTimestamp"].timestamp(), 1795262400.123)
refused("ValidationException", client("kinesis", parameter_validation=False).create_stream, StreamName="no blanks")

# S3
s3 = client("s3")
s3.create_bucket(Bucket="lake")
equal([b["Name"] for b in s3.list_buckets()["Buckets"]], ["lake"])
equal(s3.get_bucket_location(Bucket="lake")["LocationConstraint"], "eu-west-1")
body = os.urandom(300_000)
for i, extra in enumerate([{}, {"ChecksumAlgorithm": "SHA256"}, {"ChecksumAlgorithm": "SHA1"},
                           {"ChecksumSHA256": __import__("base64").b64encode(hashlib.sha256(body).digest()).decode()}]):
    key = "dir with blank/ü+%d//x" % i
    s3.put_object(Bucket="lake", Key=key, Body=body, Metadata={"a": "b"}, ContentEncoding="gzip", **extra)
    got = s3.get_object(Bucket="lake", Key=key, ChecksumMode="ENABLED")
    equal(got["Body"].read(), body)
    equal(got["Metadata"], {"a": "b"})
    equal(got["ContentEncoding"], "gzip")
equal(s3.get_object(Bucket="lake", Key=key, Range="bytes=10-19")["ResponseMetadata"]["HTTPStatusCode"], 206)
equal(s3.head_object(Bucket="lake", Key=key)["ContentLength"], len(body))
equal(refused("404", s3.head_object, Bucket="lake", Key="nix")["ResponseMetadata"]["HTTPStatusCode"], 404)
refused("NoSuchKey", s3.get_object, Bucket="lake", Key="nix")
refused("NoSuchBucket", s3.put_object, Bucket="nix", Key="x", Body=b"x")
refused("BadDigest", s3.put_object, Bucket="lake", Key="bad", Body=b"x", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
refused("BadDigest", s3.put_object, Bucket="lake", Key="bad", Body=b"x", ChecksumCRC32="AAAAAA==")
refused("NotImplemented", s3.get_bucket_acl, Bucket="lake")
equal(s3.list_objects_v2(Bucket="lake")["KeyCount"], 4)
equal(len(s3.delete_objects(Bucket="lake", Delete={"Objects": [{"Key": key}, {"Key": "a<b&c"}]})["Deleted"]), 2)
s3.put_object(Bucket="lake", Key="a<b&c\r\n\"", Body=b"x")
assert "a<b&c\r\n\"" in [o["Key"] for o in s3.list_objects_v2(Bucket="lake")["Contents"]]
s3.put_object(Bucket="lake", Key="empty", Body=b"")
equal(s3.get_object(Bucket="lake", Key="empty")["Body"].read(), b"")

class Unseekable(io.RawIOBase):
    def __init__(self, b): self.b = io.BytesIO(b)
    def readable(self): return True
    def readinto(self, buf):
        d = self.b.read(len(buf)); buf[:len(d)] = d; return len(d)
s3.upload_fileobj(Unseekable(body), "lake", "stream")
equal(s3.get_object(Bucket="lake", Key="stream")["Body"].read(), body)

big = os.urandom(12 * 1024 * 1024)
s3.upload_fileobj(io.BytesIO(big), "lake", "big", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
equal(hashlib.md5(s3.get_object(Bucket="lake", Key="big")["Body"].read()).digest(), hashlib.md5(big).digest())

context = ssl.create_default_context(cafile=ca) if ca else None
signed = client("s3", signature_version="s3v4")
url = signed.generate_presigned_url("put_object", Params={"Bucket": "lake", "Key": "pre signed"}, ExpiresIn=60)
urllib.request.urlopen(urllib.request.Request(url, data=b"hello", method="PUT"), context=context)
url = signed.generate_presigned_url("get_object", Params={"Bucket": "lake", "Key": "pre signed"}, ExpiresIn=60)
equal(urllib.request.urlopen(url, context=context).read(), b"hello")
try:
    urllib.request.urlopen(url.replace("pre%20signed", "big"), context=context)
    raise AssertionError("a changed URL was served")
except urllib.error.HTTPError as e:
    equal(e.code, 403)
    assert b"SignatureDoesNotMatch" in e.read()
for method, data in (("GET", None), ("POST", b"")):
    url = client("sts").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod=method)
    assert b"123456789012" in urllib.request.urlopen(urllib.request.Request(url, data=data, method=method), context=context).read()

# the wrong secret, in each protocol's words
session = boto3.session.Session(aws_access_key_id=os.environ["KEY"], aws_secret_access_key="wrong",
                                aws_session_token=os.environ.get("TOKEN"), region_name="us-east-1")
refused("SignatureDoesNotMatch", client("sts").get_caller_identity)
refused("InvalidSignatureException", client("kms").encrypt, KeyId="a", Plaintext=b"x")
refused("SignatureDoesNotMatch", client("s3").list_buckets)
session = boto3.session.Session(aws_access_key_id="AKIANOBODY0000000000", aws_secret_access_key="wrong", region_name="us-east-1")
refused("InvalidClientTokenId", client("sts").get_caller_identity)
refused("UnrecognizedClientException", client("kms").encrypt, KeyId="a", Plaintext=b"x")
refused("InvalidAccessKeyId", client("s3").list_buckets)
print("boto3", boto3.__version__, "ok")
