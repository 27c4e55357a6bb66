# Writes sigv4.json: requests signed by botocore at a fixed time, which the verifier must accept.
# usage: python3 sigv4.py > sigv4.json
import datetime, itertools, json
import botocore, botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 11, 21, 10, 20, 30)
botocore.auth.get_current_datetime = lambda remove_tzinfo=True: NOW

KEY, SECRET, TEMP, TOKEN = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", "ASIAIOSFODNN7EXAMPLE", "sessiontokensessiontoken"

paths = ["/", "/a", "/a/b/", "/a//b", "/./a/../b", "/%20a", "/a%2Fb", "/%C3%BC", "/a+b", "/a~b-c_d.e", "/a:b@c", "/a*b", "/a%2520b", "/foo%3Dbar"]
queries = ["", "a=1&b=2", "b=2&a=1", "a=2&a=1", "a=", "a", "a=%20x", "a=x%2By", "uploads", "prefix=a%2Fb&list-type=2", "A=1&a=2", "%C3%BC=%E2%82%AC", "a=%2A~%27%28%29"]
headers = [{}, {"X-Amz-Meta-A": "  two   blanks "}, {"Content-Type": "application/json", "X-Amz-Target": "T.Op"}]

def case(auth, name, service, presigned, method, path, query, header, body, temp):
    creds = Credentials(TEMP, SECRET, TOKEN) if temp else Credentials(KEY, SECRET)
    url = "https://host.example:4566" + path + ("?" + query if query else "")
    req = AWSRequest(method=method, url=url, data=body.encode(), headers=header)
    kw = {"expires": 3600} if presigned else {}
    auth(creds, service, "eu-west-1", **kw).add_auth(req)
    p = req.prepare()
    sent = {k: (v.decode() if isinstance(v, bytes) else v) for k, v in p.headers.items()}
    sent.pop("Content-Length", None)
    return {"name": name, "service": service, "method": method, "target": p.url[len("https://host.example:4566"):], "headers": sent, "body": body}

cases = []
A = botocore.auth
for i, (path, query) in enumerate(itertools.chain(((p, "") for p in paths), (("/x", q) for q in queries))):
    for auth, name, service, presigned in ((A.SigV4Auth, "header", "kinesis", False), (A.S3SigV4Auth, "s3 header", "s3", False),
                                           (A.SigV4QueryAuth, "presigned", "sts", True), (A.S3SigV4QueryAuth, "s3 presigned", "s3", True)):
        header = headers[i % len(headers)] if not presigned else {}
        cases.append(case(auth, name, service, presigned, "GET" if presigned else "POST", path, query, dict(header), "" if presigned else "body %d" % i, i % 2 == 1))
print(json.dumps({"botocore": botocore.__version__, "time": NOW.isoformat() + "Z", "cases": cases}, indent=1))
