package awslambda_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/awslambda"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// lambda is the Invoke call of Lambda's API, and AssumeRole of STS's, for one key each.
type lambda struct {
	*httptest.Server
	t       *testing.T
	head    http.Header
	uri     string
	event   map[string]any
	answer  string
	header  map[string]string
	status  int
	assumed int
	expires time.Time
	wait    chan struct{}
}

func newLambda(t *testing.T) *lambda {
	l := &lambda{t: t, answer: `{"a":[],"s":"[]"}`, status: 200}
	l.Server = httptest.NewServer(l)
	t.Cleanup(l.Close)
	return l
}

func (l *lambda) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Query().Get("Action") == "AssumeRole" {
		l.assumed++
		l.verify(r, body, "key", "secret", "sts")
		if r.URL.Query().Get("RoleArn") != "arn:aws:iam::1:role/r" {
			w.WriteHeader(403)
			return
		}
		if r.Header.Get("Accept") != "application/json" {
			l.t.Error("STS was asked for XML")
		}
		fmt.Fprintf(w, `{"AssumeRoleResponse":{"AssumeRoleResult":{"Credentials":{"AccessKeyId":"temp","SecretAccessKey":"tsecret","SessionToken":"token","Expiration":%d.0}}}}`,
			l.expires.Unix())
		return
	}
	if r.Header.Get("X-Amz-Security-Token") == "token" {
		l.verify(r, body, "temp", "tsecret", "lambda")
	} else {
		l.verify(r, body, "key", "secret", "lambda")
	}
	if l.wait != nil {
		<-l.wait
	}
	l.head, l.uri, l.event = r.Header, r.RequestURI, nil
	if err := json.Unmarshal(body, &l.event); err != nil {
		l.t.Errorf("event: %v in %s", err, body)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	for name, value := range l.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(l.status)
	io.WriteString(w, l.answer)
}

// verify checks a signature by the steps of AWS's documentation of version 4.
func (l *lambda) verify(r *http.Request, body []byte, key, secret, service string) {
	part := func(name string) string {
		_, rest, _ := strings.Cut(r.Header.Get("Authorization"), name+"=")
		v, _, _ := strings.Cut(rest, ",")
		return v
	}
	at := r.Header.Get("X-Amz-Date")
	scope := at[:8] + "/eu-west-1/" + service + "/aws4_request"
	names := strings.Split(part("SignedHeaders"), ";")
	head := ""
	for _, name := range names {
		v := r.Header.Get(name)
		switch name {
		case "host":
			v = r.Host
		case "content-length":
			v = fmt.Sprint(r.ContentLength)
		}
		head += name + ":" + v + "\n"
	}
	hash := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	mac := func(k []byte, s string) []byte { h := hmac.New(sha256.New, k); h.Write([]byte(s)); return h.Sum(nil) }
	path := strings.ReplaceAll(r.URL.EscapedPath(), "%", "%25")
	query := strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20")
	text := "AWS4-HMAC-SHA256\n" + at + "\n" + scope + "\n" +
		hash([]byte(strings.Join([]string{r.Method, path, query, head, strings.Join(names, ";"), hash(body)}, "\n")))
	k := mac(mac(mac(mac([]byte("AWS4"+secret), at[:8]), "eu-west-1"), service), "aws4_request")
	if want := hex.EncodeToString(mac(k, text)); part("Credential") != key+"/"+scope || part("Signature") != want || !slices.Contains(names, "host") {
		l.t.Errorf("%s %s: signed %s, want signature %s", r.Method, r.URL, r.Header.Get("Authorization"), want)
	}
}

// gate is a gateway with the plugin before the function.
func (l *lambda) gate(t *testing.T, config schema.Record, clock *gatewaytest.Clock) *gateway.Gateway {
	t.Helper()
	u, _ := url.Parse(l.URL)
	var port float64
	fmt.Sscan(u.Port(), &port)
	full := schema.Record{"aws_key": "key", "aws_secret": "secret", "aws_region": "eu-west-1", "host": "127.0.0.1", "port": port,
		"disable_https": true, "function_name": "arn:aws:lambda:eu-west-1:1:function:f", "aws_sts_endpoint_url": l.URL, "timeout": 5000.0}
	for k, v := range config {
		full[k] = v
	}
	g := gatewaytest.New(t, []gateway.Plugin{awslambda.New()}, func(d *gateway.Deps) {
		if clock != nil {
			d.Clock = clock
		}
	})
	gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "url": "http://h/base"})
	gatewaytest.Create(t, g, "routes", schema.Record{"paths": []any{`~/in/(?<id>\d+)`, "/"}, "service": schema.Record{"name": "s"}, "strip_path": false})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "aws-lambda", "config": full})
	return g
}

func at(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func TestEvents(t *testing.T) {
	all := schema.Record{"forward_request_method": true, "forward_request_uri": true, "forward_request_headers": true, "forward_request_body": true}
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for _, c := range []struct {
		name         string
		config       schema.Record
		header       []string
		target, body string
		want         map[string]any // by dotted path
	}{
		{"arguments", nil, form, "/?a=1&a=2&b=3", "b=4&c=5", map[string]any{"a.#": 2.0, "b": "4", "c": "5"}},
		{"json", nil, []string{"Content-Type", "application/json; charset=utf-8"}, "/", `{"x":[1]}`, map[string]any{"x.#": 1.0}},
		{"json that is none", nil, []string{"Content-Type", "application/json"}, "/?a=1", `nope`, map[string]any{"a": "1"}},
		{"everything", all, append(form, "X-Two", "1", "x-two", "2"), "/p?a=1", "b=2", map[string]any{"request_method": "POST", "request_uri": "/p?a=1",
			"request_uri_args.a": "1", "request_headers.x-two.#": 2.0, "request_headers.host": "h.example", "request_body": "b=2", "request_body_args.b": "2"}},
		{"binary", all, []string{"Content-Type", "image/png"}, "/", "\xff", map[string]any{"request_body": "/w==", "request_body_base64": true}},
		{"text", all, []string{"Content-Type", "text/plain"}, "/", "t", map[string]any{"request_body": "t", "request_body_base64": nil}},
		{"large", all, []string{"Content-Type", "text/plain"}, "/", strings.Repeat("x", 1<<20+1), map[string]any{"request_body": ""}},
		{"gateway", schema.Record{"awsgateway_compatible": true}, form, "/in/42?a=1&a=2", "b=2", map[string]any{"version": "1.0", "httpMethod": "POST",
			"path": "/base/in/42", "pathParameters.id": "42", "queryStringParameters.a": "1", "multiValueQueryStringParameters.a.#": 2.0,
			"multiValueHeaders.host.#": 1.0, "body": "Yj0y", "isBase64Encoded": true, "requestContext.identity.sourceIp": "127.0.0.1",
			"requestContext.domainPrefix": "h", "requestContext.protocol": "HTTP/1.1"}},
		{"gateway, text", schema.Record{"awsgateway_compatible": true, "base64_encode_body": false}, form, "/", "b=2", map[string]any{"body": "b=2", "isBase64Encoded": false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLambda(t)
			got := gatewaytest.Do(l.gate(t, c.config, nil), gatewaytest.Request{Method: "POST", Host: "h.example", Target: c.target, Header: c.header, Body: c.body, Minor: 1})
			if got.Status != 200 {
				t.Fatalf("%d %s", got.Status, got.Body)
			}
			for path, want := range c.want {
				names := strings.Split(path, ".")
				v := any(nil)
				if path == strings.TrimSuffix(path, ".#") {
					v = at(l.event, names...)
				} else if list, ok := at(l.event, names[:len(names)-1]...).([]any); ok {
					v = float64(len(list))
				}
				if v != want {
					t.Errorf("%s is %v, want %v, in %.300v", path, v, want, l.event)
				}
			}
		})
	}
}

func TestInvocation(t *testing.T) {
	l := newLambda(t)
	g := l.gate(t, schema.Record{"qualifier": "v 1", "invocation_type": "Event", "log_type": "None"}, nil)
	got := gatewaytest.Do(g, gatewaytest.Request{})
	if l.uri != "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A1%3Afunction%3Af/invocations?Qualifier=v+1" && !strings.HasSuffix(l.uri, "?Qualifier=v%201") {
		t.Errorf("%s", l.uri)
	}
	if l.head.Get("X-Amz-Invocation-Type") != "Event" || l.head.Get("X-Amz-Log-Type") != "None" || got.Header.Get("X-Amz-Executed-Version") != "$LATEST" ||
		got.Header.Get("Content-Length") != "" {
		t.Errorf("%v %v", l.head, got.Header.Fields())
	}
	if got.Body != `{"a":{},"s":"[]"}` {
		t.Errorf("legacy arrays: %s", got.Body)
	}
	if got := gatewaytest.Do(l.gate(t, schema.Record{"empty_arrays_mode": "correct"}, nil), gatewaytest.Request{}); got.Body != l.answer {
		t.Errorf("correct arrays: %s", got.Body)
	}
	l.header = map[string]string{"X-Amz-Function-Error": "Unhandled"}
	for want, config := range map[int]schema.Record{200: nil, 412: {"unhandled_status": 412.0}} {
		if got := gatewaytest.Do(l.gate(t, config, nil), gatewaytest.Request{}); got.Status != want {
			t.Errorf("unhandled: %d, want %d", got.Status, want)
		}
	}
}

func TestProxyIntegration(t *testing.T) {
	l := newLambda(t)
	g := l.gate(t, schema.Record{"is_proxy_integration": true}, nil)
	for _, c := range []struct {
		answer string
		status int
		body   string // a part
	}{
		{`{"statusCode":201,"headers":{"X-A":"1","Content-Type":"text/plain"},"multiValueHeaders":{"X-B":["1","2"]},"body":"hi"}`, 201, "hi"},
		{`{"statusCode":"202","isBase64Encoded":true,"body":"aGk="}`, 202, "hi"},
		{`{"statusCode":204}`, 204, ""},
		{`{}`, 502, "statusCode validation failed"}, {`{"statusCode":99}`, 502, "statusCode validation failed"}, {`[]`, 502, "could not JSON decode"},
		{`{"statusCode":200,"body":{}}`, 502, "body must be a string"}, {`{"statusCode":200,"headers":1}`, 502, "headers must be a table"},
		{`{"statusCode":200,"isBase64Encoded":1}`, 502, "isBase64Encoded must be a boolean"},
		{`{"statusCode":200,"isBase64Encoded":true,"body":"!"}`, 502, "body must be base64"},
	} {
		l.answer = c.answer
		got := gatewaytest.Do(g, gatewaytest.Request{})
		if got.Status != c.status || !strings.Contains(got.Body, c.body) {
			t.Errorf("%s: %d %s", c.answer, got.Status, got.Body)
		}
		if c.status == 201 && (got.Header.Count("X-B") != 2 || got.Header.Count("Content-Type") != 1 || got.Header.Get("Content-Type") != "text/plain") {
			t.Errorf("%v", got.Header.Fields())
		}
	}
}

func TestFailures(t *testing.T) {
	l := newLambda(t)
	l.status, l.answer = 403, `{"Message":"the secret is secret"}`
	if got := gatewaytest.Do(l.gate(t, nil, nil), gatewaytest.Request{}); got.Status != 500 || !gatewaytest.Says(got, "An unexpected error occurred") {
		t.Errorf("refused: %d %s", got.Status, got.Body)
	}
	l.status, l.answer = 200, strings.Repeat("x", 8<<20+1)
	if got := gatewaytest.Do(l.gate(t, nil, nil), gatewaytest.Request{}); got.Status != 500 {
		t.Errorf("a large answer: %d", got.Status)
	}
	if got := gatewaytest.Do(l.gate(t, schema.Record{"skip_large_bodies": false}, nil), gatewaytest.Request{Method: "POST", Body: strings.Repeat("x", 6<<20+1)}); got.Status != 413 {
		t.Errorf("a large body: %d", got.Status)
	}
	l.wait = make(chan struct{})
	if got := gatewaytest.Do(l.gate(t, schema.Record{"timeout": 20.0}, nil), gatewaytest.Request{}); got.Status != 500 {
		t.Errorf("no answer: %d", got.Status)
	}
	close(l.wait)
}

func TestAssumedRole(t *testing.T) {
	l := newLambda(t)
	clock := gatewaytest.NewClock(time.Unix(1_800_000_000, 0))
	l.expires = clock.Now().Add(time.Hour)
	g := l.gate(t, schema.Record{"aws_assume_role_arn": "arn:aws:iam::1:role/r"}, clock)
	for _, want := range []int{1, 1, 2} {
		if got := gatewaytest.Do(g, gatewaytest.Request{}); got.Status != 200 || l.assumed != want || l.head.Get("X-Amz-Security-Token") != "token" {
			t.Errorf("%d, assumed %d times, want %d", got.Status, l.assumed, want)
		}
		if want == 1 && l.assumed == 1 {
			clock.Pass(29*time.Minute + 45*time.Second)
		}
	}
	if got := gatewaytest.Do(l.gate(t, schema.Record{"aws_assume_role_arn": "arn:aws:iam::1:role/x"}, nil), gatewaytest.Request{}); got.Status != 500 {
		t.Errorf("a role that is not ours: %d", got.Status)
	}
}

func TestConfiguration(t *testing.T) {
	config := awslambda.New().Config
	for want, in := range map[string]schema.Record{
		"": {"aws_region": "eu-west-1", "function_name": "f", "aws_key": "{vault://env/key}", "aws_secret": "s"},
		"schema violation (all or none of these fields must be set: 'aws_key', 'aws_secret')": {"aws_key": "k"},
		"schema violation (invocation_type: expected one of: RequestResponse, Event, DryRun)": {"invocation_type": "x"},
	} {
		got := ""
		if bad := config.Validate(config.Complete(in)); bad != nil {
			got = bad.String()
		}
		if got != want {
			t.Errorf("%v:\n got %s\nwant %s", in, got, want)
		}
	}
}
