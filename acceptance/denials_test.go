package acceptance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/iam"
)

// everything is the script that calls each operation of ops.txt with arguments made from
// botocore's own model, as an identity without rights. A new operation is tried by itself.
const everything = `
import sys, botocore.session, botocore.exceptions
from botocore.config import Config
endpoint, service, bucket = sys.argv[1:4]
session = botocore.session.get_session()
client = session.create_client(service, region_name='us-east-1', endpoint_url=endpoint,
    config=Config(retries={'max_attempts': 0}, parameter_validation=False, s3={'addressing_style': 'path'}))
model = client.meta.service_model
special = {'Bucket': bucket, 'Key': 'key', 'CopySource': bucket + '/key', 'UserName': 'nobody2', 'KeyId': 'alias/k', 'TargetKeyId': 'alias/k',
    'AliasName': 'alias/other', 'StreamName': 's', 'DeliveryStreamName': 'd', 'BucketARN': 'arn:aws:s3:::' + bucket, 'SSEAlgorithm': 'AES256',
    'KeySpec': 'AES_256', 'RoleARN': 'arn:aws:iam::123456789012:role/r', 'PolicyDocument': '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}',
    'ShardId': 'shardId-000000000000', 'ShardIteratorType': 'TRIM_HORIZON', 'ShardIterator': sys.argv[4], 'AccessKeyId': 'AKIA' + 'A' * 16, 'Status': 'Active', 'PartNumber': 1, 'UploadId': 'x'}
optional = {'StreamName', 'KeySpec', 'ExtendedS3DestinationConfiguration'}
def make(shape, name=None):
    if name in special: return special[name]
    t = shape.type_name
    if t == 'structure':
        return {k: make(v, k) for k, v in shape.members.items() if k in shape.required_members or k in optional}
    if t == 'list': return [make(shape.member)]
    if t == 'map': return {}
    if t == 'blob': return b'xxxx'
    if t == 'boolean': return False
    if t in ('integer', 'long'): return max(1, shape.metadata.get('min', 1))
    if t == 'timestamp': return 0
    if shape.metadata.get('enum'): return shape.metadata['enum'][0]
    return 'x' * max(1, shape.metadata.get('min', 1))
for op in sys.argv[5:]:
    om = model.operation_model(op)
    args = make(om.input_shape) if om.input_shape else {}
    if op in ('CreateKey', 'Decrypt'): args.pop('KeySpec', None)
    if op == 'PutBucketEncryption': args['ServerSideEncryptionConfiguration']['Rules'] = [{'ApplyServerSideEncryptionByDefault': {'SSEAlgorithm': 'AES256'}}]
    try:
        getattr(client, botocore.xform_name(op))(**args)
        print(op, 'ALLOWED')
    except botocore.exceptions.ClientError as e:
        print(op, e.response['Error']['Code'], e.response['ResponseMetadata']['HTTPStatusCode'], e.response['Error'].get('Message', '')[:160].replace('\n', ' '))
    except Exception as e:
        print(op, 'FAILED', repr(e)[:300])
`

// operations reads the list a front is generated from.
func operations(t *testing.T, path string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(raw))
}

// python runs a script with arguments and returns what it prints.
func python(t *testing.T, n *plat.Node, k plat.Key, script string, args ...string) string {
	t.Helper()
	py := plat.Need(t, "python3")
	if err := exec.Command(py, "-c", "import boto3").Run(); err != nil {
		t.Skip("no boto3 here")
	}
	cmd := exec.Command(py, append([]string{"-c", script}, args...)...)
	cmd.Env = append(plat.Command(nil).Env, n.Env(k)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

const setUp = `
import boto3, sys
e = sys.argv[1]
c = lambda s: boto3.client(s, endpoint_url=e)
c('s3').create_bucket(Bucket='bucket'); c('s3').put_object(Bucket='bucket', Key='key', Body=b'x')
c('kinesis').create_stream(StreamName='s', ShardCount=1)
c('firehose').create_delivery_stream(DeliveryStreamName='d', ExtendedS3DestinationConfiguration={'BucketARN': 'arn:aws:s3:::bucket', 'RoleARN': 'arn:aws:iam::123456789012:role/r'})
k = c('kms').create_key()['KeyMetadata']['KeyId']; c('kms').create_alias(AliasName='alias/k', TargetKeyId=k)
c('iam').create_user(UserName='nobody2')
print(c('kinesis').get_shard_iterator(StreamName='s', ShardId='shardId-000000000000', ShardIteratorType='TRIM_HORIZON')['ShardIterator'])
`

// Every operation that is served is denied to a user without a policy, and to one whom a
// policy denies what another allows.
func TestEveryOperationIsDenied(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	iterator := strings.TrimSpace(python(t, n, n.Root, setUp, n.Endpoints.AWS))
	nobody := n.User("nobody", "")
	denied := n.User("denied", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*"}]}`)
	lists, err := filepath.Glob("../internal/api/aws/*/ops.txt")
	if err != nil || len(lists) < 6 {
		t.Fatalf("%d lists of operations, %v", len(lists), err)
	}
	total := 0
	for _, list := range lists {
		service, ops := filepath.Base(filepath.Dir(list)), operations(t, list)
		for who, key := range map[string]plat.Key{"nobody": nobody, "denied": denied} {
			out := python(t, n, key, everything, append([]string{n.Endpoints.AWS, service, "bucket", iterator}, ops...)...)
			answers := map[string]string{}
			for line := range strings.Lines(out) {
				op, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
				answers[op] = rest
			}
			for _, op := range ops {
				total++
				got := answers[op]
				refused := strings.HasPrefix(got, "AccessDenied") || strings.HasPrefix(got, "403 403") // HEAD has no body
				if service == "sts" {
					refused = !refused // who one is, everybody may ask
				}
				if service+op == "s3DeleteObjects" {
					refused = got == "ALLOWED" // the answer tells it for each object
				}
				if !refused {
					t.Errorf("%s %s as %s: %s", service, op, who, got)
				}
			}
		}
	}
	if total < 120 {
		t.Errorf("only %d calls were tried", total)
	}
	// What the batch deletion says of its object.
	out := python(t, n, nobody, `
import boto3, sys
print(boto3.client('s3', endpoint_url=sys.argv[1]).delete_objects(Bucket='bucket', Delete={'Objects': [{'Key': 'key'}]})['Errors'][0]['Code'])
`, n.Endpoints.AWS)
	if strings.TrimSpace(out) != "AccessDenied" {
		t.Errorf("DeleteObjects: %s", out)
	}
	if db, err := n.SQL(t.Context(), nobody); err == nil || !strings.Contains(err.Error(), "permission denied") {
		_ = db.Close(t.Context()) // the node goes away too
		t.Errorf("SQL: %v", err)
	}
}

func TestPoliciesDecide(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	python(t, n, n.Root, setUp, n.Endpoints.AWS)
	try := func(k plat.Key, call string) string {
		return strings.TrimSpace(python(t, n, k, `
import boto3, sys, botocore.exceptions
c = lambda s: boto3.client(s, endpoint_url=sys.argv[1])
try:
    eval(sys.argv[2]); print('allowed')
except botocore.exceptions.ClientError as e:
    print(e.response['Error']['Code'])
`, n.Endpoints.AWS, call))
	}
	statement := func(s string) string { return `{"Version":"2012-10-17","Statement":[` + s + `]}` }
	reader := n.User("reader", statement(`{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]},
		{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/secret*"}`))
	home := n.User("home", statement(`{"Effect":"Allow","Action":"s3:*Object","Resource":"arn:aws:s3:::bucket/home/${aws:username}/*"},
		{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*","Condition":{"StringLike":{"s3:prefix":"home/${aws:username}/*"}}}`))
	but := n.User("but", statement(`{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`))
	elsewhere := n.User("elsewhere", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"127.0.0.0/8"}}}`))
	for _, c := range []struct {
		who  plat.Key
		call string
		want string
	}{
		{reader, "c('s3').get_object(Bucket='bucket', Key='key')", "allowed"},
		{reader, "c('s3').get_object(Bucket='bucket', Key='secret/key')", "AccessDenied"},
		{reader, "c('s3').get_object(Bucket='bucket', Key='none')", "NoSuchKey"},
		{reader, "c('s3').put_object(Bucket='bucket', Key='key', Body=b'')", "AccessDenied"},
		{reader, "c('s3').list_buckets()", "AccessDenied"},
		{home, "c('s3').put_object(Bucket='bucket', Key='home/home/x', Body=b'')", "allowed"},
		{home, "c('s3').put_object(Bucket='bucket', Key='home/other/x', Body=b'')", "AccessDenied"},
		{home, "c('s3').get_object(Bucket='bucket', Key='home/home/none')", "AccessDenied"}, // may not list the bucket, so is not told
		{home, "c('s3').list_objects_v2(Bucket='bucket', Prefix='home/home/a')", "allowed"},
		{home, "c('s3').list_objects_v2(Bucket='bucket')", "AccessDenied"},
		{but, "c('kinesis').list_streams()", "allowed"},
		{but, "c('iam').list_users()", "AccessDenied"},
		{elsewhere, "c('s3').list_buckets()", "AccessDenied"},
	} {
		if got := try(c.who, c.call); got != c.want {
			t.Errorf("%s: %s, want %s", c.call, got, c.want)
		}
	}
	// Rights end at once: with the policy, with the key, with the user.
	root := n.AWS(n.Root).IAM
	call := "c('s3').get_object(Bucket='bucket', Key='key')"
	if _, err := root.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: new("reader"), PolicyName: new("policy")}); err != nil {
		t.Fatal(err)
	}
	if got := try(reader, call); got != "AccessDenied" {
		t.Errorf("without the policy: %s", got)
	}
	if _, err := root.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: new("but"), AccessKeyId: &but.ID, Status: new("Inactive")}); err != nil {
		t.Fatal(err)
	}
	if got := try(but, call); got != "InvalidAccessKeyId" {
		t.Errorf("with the key inactive: %s", got)
	}
	for _, bad := range []string{`{`, `{"Statement":[]}`, statement(`{"Effect":"Perhaps","Action":"*","Resource":"*"}`),
		statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2020-01-01"}}}`),
		statement(`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}`),
		statement(`{"Effect":"Deny","Effect":"Allow","Action":"*","Resource":"*"}`)} {
		_, err := root.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: new("home"), PolicyName: new("bad"), PolicyDocument: &bad})
		if code(err) != "MalformedPolicyDocument" {
			t.Errorf("%s: %v, want a refusal", bad, err)
		}
	}
}
