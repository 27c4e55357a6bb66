package awswire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/iam"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/kms"
	"sluice.dev/sluice/internal/api/aws/s3"
	"sluice.dev/sluice/internal/api/aws/sts"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
)

// What clients are told, to the byte where clients parse it.
func TestAnswers(t *testing.T) {
	p := fixedServer(t)
	p.s3.buckets["lake"] = map[string]object{"k": {data: []byte("hello")}}
	form := func(body string) *http.Request {
		return post(p.URL+"/", body, "Content-Type", "application/x-www-form-urlencoded")
	}
	target := func(op, body string) *http.Request {
		return post(p.URL+"/", body, "Content-Type", "application/x-amz-json-1.1", "X-Amz-Target", op)
	}
	rest := func(method, path string) *http.Request {
		r, err := http.NewRequest(method, p.URL+path, nil)
		must(t, err)
		return r
	}
	for _, tc := range []struct {
		name    string
		service string
		req     *http.Request
		status  int
		want    string // with ID for the request's id and HOST for S3's second one
		header  map[string]string
	}{
		{
			"query", "sts", form("Action=GetCallerIdentity&Version=2011-06-15"), 200,
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
				`<UserId>123456789012</UserId><Account>123456789012</Account><Arn>arn:aws:iam::123456789012:root</Arn></GetCallerIdentityResult>` +
				`<ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></GetCallerIdentityResponse>`,
			map[string]string{"Content-Type": "text/xml"},
		},
		{
			"query error", "iam", form("Action=GetUser&Version=2010-05-08&UserName=bob"), 404,
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code>` +
				`<Message>The user with name bob cannot be found.</Message></Error><RequestId>ID</RequestId></ErrorResponse>`,
			nil,
		},
		{"query, unknown operation", "iam", form("Action=Fly&Version=2010-05-08"), 400, "*<Code>InvalidAction</Code><Message>Could not find operation Fly for version 2010-05-08</Message>*", nil},
		{"query, another version", "iam", form("Action=GetUser&Version=2011-06-15"), 400, "*<Code>InvalidAction</Code><Message>Could not find operation GetUser for version 2011-06-15</Message>*", nil},
		{"query, no version", "iam", form("Action=GetUser"), 400, "*NO_VERSION_SPECIFIED*", nil},
		{
			"query, bad member", "iam", form("Action=ListUsers&Version=2010-05-08&MaxItems=many"), 400,
			"*<Code>MalformedInput</Code><Message>Value 'many' at 'maxItems' failed to satisfy constraint: Member must be an Integer</Message>*", nil,
		},
		{
			"query, missing member", "iam", form("Action=CreateUser&Version=2010-05-08"), 400,
			"*<Code>ValidationError</Code><Message>1 validation error detected: Value null at 'userName' failed to satisfy constraint: Member must not be null</Message>*", nil,
		},
		{"json", "kinesis", target("Kinesis_20131202.CreateStream", `{"StreamName":"s"}`), 200, "", map[string]string{"Content-Type": "application/x-amz-json-1.1"}},
		{
			"json error", "kinesis", target("Kinesis_20131202.DescribeStreamSummary", `{"StreamName":"nix"}`), 400,
			`{"__type":"ResourceNotFoundException","message":"Stream nix under account 123456789012 not found."}`, nil,
		},
		{"json, kind", "kms", target("TrentService.Decrypt", `{"CiphertextBlob":"eA=="}`), 400, `{"__type":"AccessDeniedException","message":"User: x is not authorized to perform: kms:Decrypt"}`, nil},
		{"json, not served", "kms", target("TrentService.ListGrants", `{}`), 400, `{"__type":"UnknownOperationException","message":"The operation ListGrants is not known or not served."}`, nil},
		{"json, unknown API", "kms", target("Nobody.ListGrants", `{}`), 400, `{"__type":"UnknownOperationException","message":"No API with the target Nobody is served here."}`, nil},
		{"json, no JSON", "kinesis", target("Kinesis_20131202.CreateStream", `{"StreamName":`), 400, `{"__type":"SerializationException"*`, nil},
		{
			"json, wrong type", "kinesis", target("Kinesis_20131202.CreateStream", `{"StreamName":7}`), 400,
			`{"__type":"SerializationException","message":"'streamName': NUMBER_VALUE can not be converted to a String"}`, nil,
		},
		{
			"json, wrong type inside", "kinesis", target("Kinesis_20131202.PutRecords", `{"Records":[{"Data":"eA==","PartitionKey":"a"},{"Data":1}]}`), 400,
			`{"__type":"SerializationException","message":"'records.2.member.data': NUMBER_VALUE can not be converted to a Blob"}`, nil,
		},
		{
			"json, constraints", "kinesis", target("Kinesis_20131202.CreateStream", `{"StreamName":"a b","ShardCount":0}`), 400,
			`{"__type":"ValidationException","message":"2 validation errors detected: Value 'a b' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; ` +
				`Value '0' at 'shardCount' failed to satisfy constraint: Member must have value greater than or equal to 1"}`, nil,
		},
		{"json, too large", "kms", target("TrentService.Encrypt", strings.Repeat(" ", 1<<20+1)), 413, `{"__type":"RequestEntityTooLargeException"*`, nil},
		{"json, without a row", "kms", target("TrentService.EnableKey", `{"KeyId":"k"}`), 500, `{"__type":"InternalFailure"*not set up for authorisation*`, nil},
		{"json, without its check", "kinesis", target("Kinesis_20131202.ListStreams", `{}`), 500, `{"__type":"InternalFailure","message":"We encountered an internal error. Please try again."}`, nil},
		{"json, panic", "kinesis", target("Kinesis_20131202.DeleteStream", `{}`), 500, `{"__type":"InternalFailure","message":"We encountered an internal error. Please try again."}`, nil},
		{
			"S3", "s3", rest("GET", "/"), 200,
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + `<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Buckets><Bucket><Name>lake</Name>` +
				`<CreationDate>2026-11-21T10:00:00Z</CreationDate></Bucket></Buckets><Owner><ID>owner</ID></Owner></ListAllMyBucketsResult>`,
			map[string]string{"Content-Type": "application/xml"},
		},
		{
			"S3, a bare root", "s3", rest("GET", "/lake?location"), 200,
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-west-1</LocationConstraint>`, nil,
		},
		{
			"S3 error", "s3", rest("GET", "/lake/nix"), 404,
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + `<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Resource>/lake/nix</Resource>` +
				`<RequestId>ID</RequestId><HostId>HOST</HostId></Error>`, nil,
		},
		{"S3 HEAD", "s3", rest("HEAD", "/lake/k"), 200, "", map[string]string{"Content-Length": "5", "Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT"}},
		{"S3 HEAD error", "s3", rest("HEAD", "/lake/nix"), 404, "", nil},
		{"S3, not served", "s3", rest("GET", "/lake?acl"), 501, "*<Code>NotImplemented</Code><Message>The operation GetBucketAcl is not implemented.</Message>*", nil},
		{"S3, no such method", "s3", rest("POST", "/lake"), 405, "*<Code>MethodNotAllowed</Code>*", nil},
		{"S3, no content", "s3", rest("DELETE", "/lake/k"), 204, "", nil},
		{"S3, no such number", "s3", rest("GET", "/lake?list-type=2&max-keys=x"), 400, "*<Code>InvalidArgument</Code>*maxKeys*", nil},
		{"another service", "rds", form("Action=X&Version=2014-10-31"), 400, "*<Code>InvalidAction</Code>*", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, body := do(t, p, signed(tc.req, signer(tc.service), now))
			if resp.StatusCode != tc.status {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, tc.status, body)
			}
			body = strings.ReplaceAll(body, resp.Header.Get("X-Amzn-Requestid")+resp.Header.Get("X-Amz-Request-Id"), "ID")
			if host := resp.Header.Get("X-Amz-Id-2"); host != "" {
				body = strings.ReplaceAll(body, host, "HOST")
			}
			parts := strings.Split(tc.want, "*")
			if len(parts) == 1 && body != tc.want {
				t.Errorf("body (-want +got):\n%s", cmp.Diff(tc.want, body))
			}
			for _, part := range parts {
				if !strings.Contains(body, part) {
					t.Errorf("%s does not contain %s", body, part)
				}
			}
			for k, v := range tc.header {
				if got := resp.Header.Get(k); got != v {
					t.Errorf("%s: %q, want %q", k, got, v)
				}
			}
		})
	}
	for _, want := range []string{"without authorising kinesis:ListStreams", "panic: boom"} {
		if !strings.Contains(p.logged(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

func TestPipelineOrder(t *testing.T) {
	want := []string{"admit", "route", "pass", "authenticate", "read", "verify", "operation", "decode", "row", "invoke", "proof"}
	if diff := cmp.Diff(want, awswire.Stages()); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
}

// What another node serves goes there as it came; what cannot get there is answered as the
// protocol does.
func TestElsewhere(t *testing.T) {
	var got *http.Request
	var failure error
	p := serve(t, false, func(c *awswire.Config) {
		for i := range c.Services {
			if c.Services[i].API.Signing == "kinesis" {
				c.Services[i].Elsewhere = func(w http.ResponseWriter, r *http.Request) error {
					got = r
					if failure == nil {
						w.WriteHeader(299)
					}
					return failure
				}
			}
		}
	})
	// Nobody here knows the key: the other node does.
	resp, _ := do(t, p, signed(jsonCall.request(p.URL), awswire.Signer{AccessKeyID: "AKIDELSEWHERE", Secret: "s", Region: "us-east-1", Service: "kinesis"}, now))
	if resp.StatusCode != 299 || got == nil || !strings.Contains(got.Header.Get("Authorization"), "AKIDELSEWHERE") {
		t.Errorf("status %d, request %v", resp.StatusCode, got)
	}
	failure = (&fault.Reason{Kind: fault.Unavailable, Name: "Gone"}).New("the node is gone")
	resp, body := do(t, p, jsonCall.request(p.URL))
	if resp.StatusCode != 503 || !strings.Contains(body, "the node is gone") || resp.Header.Get("x-amzn-RequestId") == "" {
		t.Errorf("status %d, %s", resp.StatusCode, body)
	}
}

func TestObserve(t *testing.T) {
	p := fixedServer(t)
	do(t, p, signed(jsonCall.request(p.URL), signer("kinesis"), now))
	do(t, p, jsonCall.request(p.URL))
	calls := p.calls()
	if len(calls) != 2 {
		t.Fatalf("%d calls were observed", len(calls))
	}
	good, bad := calls[0], calls[1]
	if good.Service != "kinesis" || good.Operation != "CreateStream" || good.Status != 200 || good.Code != "" || good.Region != "us-east-1" ||
		good.Identity.AccessKeyID != keyID || good.SourceIP != "127.0.0.1" || good.RequestID == "" || good.In != 33 {
		t.Errorf("%+v", good)
	}
	if bad.Status != 400 || bad.Code != "MissingAuthenticationTokenException" || bad.Identity != (caller.Identity{}) || bad.Err == nil {
		t.Errorf("%+v", bad)
	}
}

// The typed clients speak to the server in every protocol.
func TestClient(t *testing.T) {
	p := serve(t, false)
	ctx := context.Background()
	id, err := sts.Client{Client: p.client()}.GetCallerIdentity(ctx, nil)
	must(t, err)
	if *id.Account != account {
		t.Errorf("account %s", *id.Account)
	}
	users := iam.Client{Client: p.client()}
	_, err = users.CreateUser(ctx, &iam.CreateUserInput{UserName: new("alice"), Tags: []iam.Tag{{Key: new("a"), Value: new("b c")}}})
	must(t, err)
	list, err := users.ListUsers(ctx, nil)
	must(t, err)
	if len(list.Users) != 1 || *list.Users[0].UserName != "alice" || *list.Users[0].Tags[0].Value != "b c" {
		t.Errorf("%+v", list.Users)
	}
	sealed, err := kms.Client{Client: p.client()}.Encrypt(ctx, &kms.EncryptInput{KeyId: new("k"), Plaintext: []byte{0, 1}})
	must(t, err)
	if string(sealed.CiphertextBlob) != "sealed:\x00\x01" {
		t.Errorf("%q", sealed.CiphertextBlob)
	}
	_, err = kinesis.Client{Client: p.client()}.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: new("nix")})
	var e *awswire.Error
	if !errors.As(err, &e) || e.Code != "ResourceNotFoundException" || e.Status != 400 || !strings.Contains(e.Message, "nix") {
		t.Errorf("%v", err)
	}

	lake := s3.Client{Client: p.client()}
	_, err = lake.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: new("lake")})
	must(t, err)
	for _, n := range []int{0, 1, 64 << 10, 200_000} { // about the size of a chunk
		data := bytes.Repeat([]byte("x"), n)
		_, err = lake.PutObject(ctx, &s3.PutObjectInput{
			Bucket: new("lake"), Key: new("a b/ü+%"), Metadata: map[string]string{"team": "a"},
			Body: awswire.NewBody(bytes.NewReader(data), int64(n)),
		})
		must(t, err)
		got, err := lake.GetObject(ctx, &s3.GetObjectInput{Bucket: new("lake"), Key: new("a b/ü+%")})
		must(t, err)
		back, err := io.ReadAll(got.Body)
		must(t, err)
		must(t, got.Body.Close())
		if !bytes.Equal(back, data) || *got.ContentLength != int64(n) || got.Metadata["team"] != "a" {
			t.Errorf("%d bytes came back as %d, metadata %v", n, len(back), got.Metadata)
		}
	}
	deleted, err := lake.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: new("lake"), Delete: &s3.Delete{Objects: []s3.ObjectIdentifier{{Key: new("a b/ü+%")}}}})
	must(t, err)
	if len(deleted.Deleted) != 1 {
		t.Errorf("%+v", deleted)
	}
	_, err = lake.HeadObject(ctx, &s3.HeadObjectInput{Bucket: new("lake"), Key: new("nix")})
	if !errors.As(err, &e) || e.Status != 404 || e.Code != "NotFound" {
		t.Errorf("%v", err)
	}
}

// A front that answers before the body is proved must not be believed.
func TestUnreadBody(t *testing.T) {
	p := serve(t, false)
	p.s3.lazy = true
	_, err := s3.Client{Client: p.client()}.PutObject(context.Background(), &s3.PutObjectInput{
		Bucket: new("lake"), Key: new("k"), Body: awswire.NewBody(strings.NewReader("x"), 1),
	})
	var e *awswire.Error
	if !errors.As(err, &e) || e.Code != "InternalError" || !strings.Contains(p.logged(), "without reading its body") {
		t.Errorf("%v; log %s", err, p.logged())
	}
}

// A stream that breaks off must not look whole to the client.
func TestBrokenStream(t *testing.T) {
	p := serve(t, false, func(c *awswire.Config) {
		svc := s3.Service(brokenS3{})
		svc.Resources = map[string][]name.Action{"GetObject": {}}
		c.Services = []awswire.Service{svc}
	})
	got, err := s3.Client{Client: p.client()}.GetObject(context.Background(), &s3.GetObjectInput{Bucket: new("b"), Key: new("k")})
	if err == nil {
		_, err = io.ReadAll(got.Body)
	}
	if err == nil {
		t.Error("half an object was read without an error")
	}
}

type brokenS3 struct{ s3.Operations }

func (brokenS3) GetObject(context.Context, *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	return &s3.GetObjectOutput{Body: io.NopCloser(io.MultiReader(strings.NewReader("half"), failing{}))}, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk error") }

func TestIdempotencyToken(t *testing.T) {
	type input struct {
		Token *string `aws:"Token,idem"`
	}
	api := &awswire.API{Name: "x", Protocols: []awswire.Protocol{awswire.JSON11}, Ops: []awswire.Op{{Name: "Op"}}}
	var seen []string
	svc := awswire.Service{
		API: api, Resources: map[string][]name.Action{"Op": {}},
		Handlers: []awswire.Handler{awswire.Do("Op", func(_ context.Context, in *input) (*struct{}, error) {
			seen = append(seen, *in.Token)
			return nil, nil
		})},
	}
	api.Signing, api.Target = "x", "X"
	p := serve(t, false, func(c *awswire.Config) { c.Services = []awswire.Service{svc} })
	for _, in := range []*input{nil, {}, {Token: new("mine")}} {
		_, err := awswire.Invoke[struct{}](context.Background(), p.client(), api, "Op", in)
		must(t, err)
	}
	if len(seen) != 3 || len(seen[0]) != 36 || seen[0] == seen[1] || seen[2] != "mine" {
		t.Errorf("tokens %q", seen)
	}
}

func TestHeaderLimit(t *testing.T) {
	p := fixedServer(t)
	r := s3Call.request(p.URL)
	for i := range 201 {
		r.Header.Set(fmt.Sprintf("X-Many-%d", i), "1")
	}
	if resp, _ := do(t, p, signed(r, signer("s3"), now)); resp.StatusCode/100 != 4 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// Protocols that no front here speaks yet.
func TestOtherProtocols(t *testing.T) {
	type input struct {
		Name *string `aws:"Name,required"`
	}
	type output struct{ Name *string }
	fail := func(_ context.Context, in *input) (*output, error) {
		if *in.Name == "bad" {
			return nil, noUser.New("no such thing")
		}
		return &output{Name: in.Name}, nil
	}
	service := func(name_ string, p ...awswire.Protocol) awswire.Service {
		return awswire.Service{
			API: &awswire.API{
				Name: name_, Signing: name_, Version: "2020-01-01", Target: name_, Protocols: p, QueryCompatible: true,
				Namespace: "http://" + name_ + "/", Ops: []awswire.Op{{Name: "Op", Method: "POST", URI: "/op"}},
			},
			Handlers:  []awswire.Handler{awswire.Do("Op", fail)},
			Resources: map[string][]name.Action{"Op": {}},
			Codes:     map[*fault.Reason]awswire.Code{noUser: {Code: "QueueDoesNotExist", Status: 400, Query: "Old.NonExistentQueue"}},
		}
	}
	p := serve(t, false, func(c *awswire.Config) {
		c.Clock = clock.Fixed(now)
		ec2 := service("ec2", awswire.EC2)
		ec2.Codes = nil
		c.Services = []awswire.Service{service("sqs", awswire.JSON10, awswire.Query), ec2, service("lambda", awswire.RestJSON), service("route53", awswire.RestXML)}
		for i := range c.Services {
			c.Services[i].API.Version += fmt.Sprint(i)
		}
	})
	for _, tc := range []struct {
		name, service string
		req           *http.Request
		status        int
		want          string
		header        map[string]string
	}{
		{"json 1.0", "sqs", post(p.URL, `{"Name":"a"}`, "X-Amz-Target", "sqs.Op", "Content-Type", "application/x-amz-json-1.0"), 200, `{"Name":"a"}`, map[string]string{"Content-Type": "application/x-amz-json-1.0"}},
		{
			"json 1.0 error", "sqs", post(p.URL, `{"Name":"bad"}`, "X-Amz-Target", "sqs.Op", "Content-Type", "application/x-amz-json-1.0"), 400,
			`{"__type":"QueueDoesNotExist","message":"no such thing"}`, map[string]string{"X-Amzn-Query-Error": "Old.NonExistentQueue;Sender"},
		},
		{"the same by query", "sqs", post(p.URL, "Action=Op&Version=2020-01-010&Name=bad", "Content-Type", "application/x-www-form-urlencoded"), 400, "<Code>Old.NonExistentQueue</Code>", nil},
		{"ec2", "ec2", post(p.URL, "Action=Op&Version=2020-01-011&Name=a", "Content-Type", "application/x-www-form-urlencoded"), 200, `<OpResponse xmlns="http://ec2/"><requestId>ID</requestId><Name>a</Name></OpResponse>`, nil},
		{
			"ec2 error", "ec2", post(p.URL, "Action=Op&Version=2020-01-011&Name=bad", "Content-Type", "application/x-www-form-urlencoded"), 400,
			`<Response><Errors><Error><Code>InvalidParameterValue</Code><Message>no such thing</Message></Error></Errors><RequestID>ID</RequestID></Response>`, nil,
		},
		{"rest-json", "lambda", post(p.URL+"/op", `{"Name":"a"}`, "Content-Type", "application/json"), 200, `{"Name":"a"}`, map[string]string{"Content-Type": "application/json"}},
		{"rest-json error", "lambda", post(p.URL+"/op", `{"Name":"bad"}`), 400, `{"__type":"QueueDoesNotExist","message":"no such thing"}`, map[string]string{"X-Amzn-Errortype": "QueueDoesNotExist"}},
		{"rest-json, no such path", "lambda", post(p.URL+"/nix", `{}`), 404, `UnknownOperationException`, nil},
		{"rest-xml", "route53", post(p.URL+"/op", `<OpRequest><Name>a</Name></OpRequest>`), 200, `<OpResponse xmlns="http://route53/"><Name>a</Name></OpResponse>`, nil},
		{"rest-xml error", "route53", post(p.URL+"/op", `<OpRequest><Name>bad</Name></OpRequest>`), 400, `<ErrorResponse xmlns="http://route53/"><Error><Type>Sender</Type><Code>QueueDoesNotExist</Code>`, nil},
	} {
		resp, body := do(t, p, signed(tc.req, signer(tc.service), now))
		body = strings.ReplaceAll(body, resp.Header.Get("X-Amzn-Requestid"), "ID")
		if resp.StatusCode != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%s: %d %s, want %d %s", tc.name, resp.StatusCode, body, tc.status, tc.want)
		}
		for k, v := range tc.header {
			if got := resp.Header.Get(k); got != v {
				t.Errorf("%s: %s: %q, want %q", tc.name, k, got, v)
			}
		}
	}
}

// The bodies of all calls together take a bounded amount of memory: a call waits until another one's is free.
func TestBufferIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var entered atomic.Int32
		leave := make(chan struct{})
		type input struct{ Name *string }
		svc := awswire.Service{
			API:       &awswire.API{Name: "x", Signing: "x", Target: "X", Protocols: []awswire.Protocol{awswire.JSON11}, Ops: []awswire.Op{{Name: "Op"}}},
			Resources: map[string][]name.Action{"Op": {}},
			Handlers: []awswire.Handler{awswire.Do("Op", func(context.Context, *input) (*struct{}, error) {
				entered.Add(1)
				<-leave
				return nil, nil
			})},
		}
		h := awswire.New(awswire.Config{Services: []awswire.Service{svc}, Credentials: keys{}, Log: quiet, Clock: clock.Fixed(now), Buffer: 100})
		var calls sync.WaitGroup
		for range 3 {
			r := httptest.NewRequest("POST", "/", strings.NewReader(`{"Name":"`+strings.Repeat("x", 60)+`"}`))
			r.Header.Set("X-Amz-Target", "X.Op")
			awswire.SignPayload(signer("x"), r, []byte(`{"Name":"`+strings.Repeat("x", 60)+`"}`), now)
			calls.Go(func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != 200 {
					t.Errorf("status %d: %s", w.Code, w.Body)
				}
			})
		}
		for n := range int32(3) {
			synctest.Wait()
			if got := entered.Load(); got != n+1 {
				t.Errorf("%d calls hold their bodies, want %d", got, n+1)
			}
			leave <- struct{}{}
		}
		calls.Wait()
	})
}
