package acceptance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

// awsCLIs are the clients installed here: an old one is as much a user as a new one.
func awsCLIs(t *testing.T) []string {
	t.Helper()
	seen := map[string]bool{}
	var out []string
	for _, path := range []string{"/root/.pyenv/shims/aws", "/usr/bin/aws", "aws"} {
		if found, err := exec.LookPath(path); err == nil && !seen[found] {
			seen[found] = true
			out = append(out, found)
		}
	}
	if len(out) == 0 {
		t.Skip("no aws here")
	}
	return out
}

// cliSession is what somebody does at a shell.
const cliSession = `
set -eu
s3() { "$AWS" --endpoint-url "$AWS_ENDPOINT_URL" s3 "$@"; }
api() { "$AWS" --endpoint-url "$AWS_ENDPOINT_URL" --output text "$@"; }
same() { [ "$1" = "$2" ] || { echo "got <$1> want <$2>"; exit 1; }; }
fails() { # fails CODE command…
	code=$1; shift
	if out=$("$@" 2>&1); then echo "$* succeeded: $out"; exit 1; fi
	case $out in *"$code"*) ;; *) echo "$*: got <$out> want $code"; exit 1 ;; esac
}
step() { STEP=$1; }
unblob() { if [ -n "$B64" ]; then echo "$1"; else echo "$1" | base64 -d >blob; echo fileb://blob; fi; }
trap 'code=$?; [ $code = 0 ] || echo "at: $STEP"' EXIT
cd "$WORK"

step "mb, cp, ls"
s3 mb s3://tree >/dev/null
mkdir -p tree/a/b; i=0; while [ $i -lt 12 ]; do echo "file $i" >tree/a/f$i.txt; i=$((i+1)); done
echo deep >tree/a/b/deep.txt; : >tree/empty; printf 'space and ü' >"tree/a name + ü.txt"
s3 cp --only-show-errors --recursive tree s3://tree/
same "$(s3 ls --recursive s3://tree/ | wc -l)" 15
same "$(s3 ls s3://tree/ | awk '{print $1}' | head -1)" PRE
same "$(s3 cp --only-show-errors s3://tree/a/b/deep.txt -)" deep
echo piped | s3 cp --only-show-errors - s3://tree/piped
same "$(s3 cp --only-show-errors s3://tree/piped -)" piped

step "sync there and back"
echo new >tree/a/b/new.txt
same "$(s3 sync --no-progress tree s3://tree/ | wc -l)" 1
same "$(s3 sync --no-progress tree s3://tree/ | wc -l)" 0
s3 rm --only-show-errors s3://tree/piped
s3 sync --only-show-errors s3://tree/ back
diff -r tree back
rm tree/a/f0.txt
same "$(s3 sync --no-progress --delete tree s3://tree/ | grep -c delete)" 1

step "multipart of 30 MB"
head -c 30000000 /dev/urandom >big
s3 cp --only-show-errors big s3://tree/big
s3 cp --only-show-errors s3://tree/big big2
cmp big big2
case $(api s3api head-object --bucket tree --key big --query ETag) in *-[0-9]*) ;; *) echo "the ETag is not that of parts"; exit 1 ;; esac
s3 cp --only-show-errors s3://tree/a/f1.txt s3://tree/copied
same "$(s3 cp --only-show-errors s3://tree/copied -)" "file 1"
s3 mv --only-show-errors s3://tree/copied s3://tree/moved
fails 404 api s3api head-object --bucket tree --key copied

step "ranges"
api s3api get-object --bucket tree --key big --range bytes=8388600-8388799 part >/dev/null
same "$(wc -c <part)" 200
tail -c +8388601 big | head -c 200 | cmp - part
api s3api get-object --bucket tree --key big --range bytes=-7 part >/dev/null
tail -c 7 big | cmp - part
fails InvalidRange api s3api get-object --bucket tree --key big --range bytes=30000000- part

step "presign" # with the signature of today: the first version falls back to the old one here
printf '[default]\ns3 =\n  signature_version = s3v4\n' >config; export AWS_CONFIG_FILE="$WORK/config"
curl -fsS "$(s3 presign s3://tree/a/b/deep.txt)" >got; same "$(cat got)" deep
same "$(curl -s -o /dev/null -w '%{http_code}' "$(s3 presign s3://tree/a/b/deep.txt | sed 's/Signature=..../Signature=0000/')")" 403

step "lists in pages"
same "$(api s3api list-objects-v2 --bucket tree --prefix a/ --delimiter / --page-size 3 --query 'Contents[].Key' | tr '\t' '\n' | grep -c txt)" 11
same "$(api s3api list-objects-v2 --bucket tree --prefix a/ --delimiter / --query 'CommonPrefixes[].Prefix')" a/b/

step "errors"
fails NoSuchBucket s3 ls s3://none
fails 404 api s3api head-object --bucket tree --key none
fails BucketNotEmpty s3 rb s3://tree
fails BucketAlreadyOwnedByYou api s3api create-bucket --bucket tree
fails InvalidBucketName api s3api create-bucket --bucket UPPER

step "rm, rb"
s3 rm --only-show-errors --recursive s3://tree/a/
s3 rb --force s3://tree >/dev/null
fails NoSuchBucket s3 ls s3://tree

step "kinesis"
api kinesis create-stream --stream-name s --shard-count 2
same "$(api kinesis describe-stream-summary --stream-name s --query StreamDescriptionSummary.StreamStatus)" ACTIVE
same "$(api kinesis list-streams --query StreamNames)" s
same "$(api kinesis list-shards --stream-name s --query 'length(Shards)')" 2
shard=$(api kinesis put-record --stream-name s --partition-key k --data "$BLOB" $B64 --query ShardId)
it=$(api kinesis get-shard-iterator --stream-name s --shard-id "$shard" --shard-iterator-type TRIM_HORIZON)
same "$(api kinesis get-records --shard-iterator "$it" --query 'Records[].[PartitionKey,Data]' | tr '\t' ' ')" "k aGVsbG8="
fails ResourceNotFoundException api kinesis describe-stream --stream-name none
fails ResourceInUseException api kinesis create-stream --stream-name s --shard-count 1
api kinesis delete-stream --stream-name s

step "kms"
key=$(api kms create-key --description d --query KeyMetadata.KeyId)
api kms create-alias --alias-name alias/k --target-key-id "$key"
blob=$(api kms encrypt --key-id alias/k --plaintext "$BLOB" $B64 --encryption-context a=b --query CiphertextBlob)
same "$(api kms decrypt --ciphertext-blob "$(unblob "$blob")" $B64 --encryption-context a=b --query Plaintext)" aGVsbG8=
fails InvalidCiphertextException api kms decrypt --ciphertext-blob "$(unblob "$blob")" $B64
api kms disable-key --key-id "$key"
fails DisabledException api kms decrypt --ciphertext-blob "$(unblob "$blob")" $B64 --encryption-context a=b

step "iam and sts"
same "$(api sts get-caller-identity --query Account)" 123456789012
api iam create-user --user-name joe >/dev/null
fails EntityAlreadyExists api iam create-user --user-name joe
api iam put-user-policy --user-name joe --policy-name p --policy-document '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}'
same "$(api iam list-user-policies --user-name joe --query PolicyNames)" p
set -- $(api iam create-access-key --user-name joe --query 'AccessKey.[AccessKeyId,SecretAccessKey]')
AWS_ACCESS_KEY_ID=$1 AWS_SECRET_ACCESS_KEY=$2 s3 mb s3://joes >/dev/null
same "$(api iam get-access-key-last-used --access-key-id "$1" --query AccessKeyLastUsed.ServiceName)" s3
fails AccessDenied env AWS_ACCESS_KEY_ID=$1 AWS_SECRET_ACCESS_KEY=$2 "$AWS" --endpoint-url "$AWS_ENDPOINT_URL" iam list-users
fails SignatureDoesNotMatch env AWS_ACCESS_KEY_ID=$1 AWS_SECRET_ACCESS_KEY=wrong "$AWS" --endpoint-url "$AWS_ENDPOINT_URL" s3api list-buckets
fails DeleteConflict api iam delete-user --user-name joe
api iam delete-access-key --user-name joe --access-key-id "$1"
api iam delete-user-policy --user-name joe --policy-name p
api iam delete-user --user-name joe
fails NoSuchEntity api iam get-user --user-name joe

step "firehose"
s3 mb s3://out >/dev/null
api firehose create-delivery-stream --delivery-stream-name d --extended-s3-destination-configuration \
	'{"BucketARN":"arn:aws:s3:::out","RoleARN":"arn:aws:iam::123456789012:role/r","Prefix":"p/","BufferingHints":{"SizeInMBs":1,"IntervalInSeconds":60}}' >/dev/null
same "$(api firehose list-delivery-streams --query DeliveryStreamNames)" d
api firehose put-record --delivery-stream-name d --record "$RECORD" >/dev/null
same "$(api firehose describe-delivery-stream --delivery-stream-name d --query DeliveryStreamDescription.DeliveryStreamStatus)" ACTIVE
fails ResourceNotFoundException api firehose put-record --delivery-stream-name none --record "$RECORD"
api firehose delete-delivery-stream --delivery-stream-name d
`

func TestAWSCLI(t *testing.T) {
	plat.Need(t, "curl")
	for _, cli := range awsCLIs(t) {
		version, err := exec.Command(cli, "--version").CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v", cli, err)
		}
		t.Run(strings.SplitN(string(version), " ", 2)[0], func(t *testing.T) {
			t.Parallel() // it is the clients that take their time
			n := plat.Start(t, plat.Options{Env: []string{"SLUICE_LOG_LEVEL=debug"}})
			sh := exec.Command("/bin/sh", "-c", cliSession)
			// The second version takes blobs in base64 in any case; the first encodes what it is given.
			b64, blob, record := "", "hello", "Data=hello"
			if strings.HasPrefix(string(version), "aws-cli/2") {
				b64, blob, record = "--cli-binary-format base64", "aGVsbG8=", "Data=aGVsbG8="
			}
			sh.Env = append(append(plat.Command(nil).Env, n.Env(n.Root)...), "AWS="+cli, "B64="+b64, "BLOB="+blob, "RECORD="+record, "WORK="+t.TempDir(), "LC_ALL=C.UTF-8")
			if out, err := sh.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

func TestBoto3(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	script, err := os.ReadFile(filepath.Join("testdata", "boto3_session.py"))
	if err != nil {
		t.Fatal(err)
	}
	if out := python(t, n, n.Root, string(script), n.Endpoints.AWS); strings.TrimSpace(out) != "done" {
		t.Fatal(out)
	}
}
