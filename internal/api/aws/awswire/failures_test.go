package awswire_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/clock"
)

var now = time.Date(2026, 11, 21, 10, 20, 30, 0, time.UTC)

// wire is how a simple call is put to each protocol.
type wire struct {
	service string
	request func(url string) *http.Request
}

func post(url, body string, header ...string) *http.Request {
	r, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

var (
	queryCall = wire{"sts", func(u string) *http.Request {
		return post(u+"/", "Action=GetCallerIdentity&Version=2011-06-15", "Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	}}
	jsonCall = wire{"kinesis", func(u string) *http.Request {
		return post(u+"/", `{"StreamName":"s","ShardCount":1}`, "Content-Type", "application/x-amz-json-1.1", "X-Amz-Target", "Kinesis_20131202.CreateStream")
	}}
	s3Call = wire{"s3", func(u string) *http.Request {
		r, _ := http.NewRequest("GET", u+"/", nil)
		return r
	}}
)

// signed signs r over its body as the given key at the given time.
func signed(r *http.Request, s awswire.Signer, at time.Time) *http.Request {
	var body []byte
	if r.GetBody != nil {
		b, _ := r.GetBody()
		body, _ = io.ReadAll(b)
	}
	s.Sign(r, body, at)
	return r
}

func signer(service string) awswire.Signer {
	return awswire.Signer{AccessKeyID: keyID, Secret: secret, Region: "us-east-1", Service: service}
}

func fixedServer(t *testing.T) *platform {
	return serve(t, false, func(c *awswire.Config) { c.Clock = clock.Fixed(now) })
}

func do(t *testing.T, p *platform, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := p.Client().Do(r)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp, string(b)
}

// Every way in which a signature can fail, in the words of each protocol.
func TestAuthenticationFailures(t *testing.T) {
	p := fixedServer(t)
	sign := func(change func(*awswire.Signer)) func(wire) *http.Request {
		return func(w wire) *http.Request {
			s := signer(w.service)
			change(&s)
			return signed(w.request(p.URL), s, now)
		}
	}
	at := func(d time.Duration) func(wire) *http.Request {
		return func(w wire) *http.Request { return signed(w.request(p.URL), signer(w.service), now.Add(d)) }
	}
	after := func(change func(*http.Request)) func(wire) *http.Request {
		return func(w wire) *http.Request {
			r := signed(w.request(p.URL), signer(w.service), now)
			change(r)
			return r
		}
	}
	auth := func(old, new string) func(wire) *http.Request {
		return after(func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
		})
	}
	for name, tc := range map[string]struct {
		make            func(wire) *http.Request
		query, json, s3 string
		contains        string
	}{
		"the right one": {make: at(0), query: "200", json: "200", s3: "200"},
		"no signature": {
			make:  func(w wire) *http.Request { return w.request(p.URL) },
			query: "403 MissingAuthenticationToken", json: "400 MissingAuthenticationTokenException", s3: "403 AccessDenied",
		},
		"unknown key": {
			make:  sign(func(s *awswire.Signer) { s.AccessKeyID = "AKIANOBODY0000000000" }),
			query: "403 InvalidClientTokenId", json: "400 UnrecognizedClientException", s3: "403 InvalidAccessKeyId",
		},
		"expired key": {
			make:  sign(func(s *awswire.Signer) { s.AccessKeyID = "ASIAEXPIRED000000000" }),
			query: "403 ExpiredToken", json: "400 ExpiredTokenException", s3: "400 ExpiredToken",
		},
		"no answer about the key": {
			make:  sign(func(s *awswire.Signer) { s.AccessKeyID = "AKIADOWN000000000000" }),
			query: "503 ServiceUnavailable", json: "503 ServiceUnavailableException", s3: "503 ServiceUnavailable",
		},
		"wrong secret": {
			make:  sign(func(s *awswire.Signer) { s.Secret = "wrong" }),
			query: "403 SignatureDoesNotMatch", json: "400 InvalidSignatureException", s3: "403 SignatureDoesNotMatch",
		},
		"temporary key without token": {
			make:  sign(func(s *awswire.Signer) { s.AccessKeyID = tempID }),
			query: "403 InvalidClientTokenId", json: "400 UnrecognizedClientException", s3: "400 InvalidToken",
		},
		"temporary key with its token": {
			make:  sign(func(s *awswire.Signer) { s.AccessKeyID, s.SessionToken = tempID, token }),
			query: "200", json: "200", s3: "200",
		},
		"token of another key": {
			make:  sign(func(s *awswire.Signer) { s.SessionToken = token }),
			query: "403 InvalidClientTokenId", json: "400 UnrecognizedClientException", s3: "400 InvalidToken",
		},
		"scope of another service": {
			make:  sign(func(s *awswire.Signer) { s.Service = "kms" }),
			query: "403 SignatureDoesNotMatch", json: "400 InvalidSignatureException", s3: "403 SignatureDoesNotMatch",
		},
		"fourteen minutes old": {make: at(-14 * time.Minute), query: "200", json: "200", s3: "200"},
		"sixteen minutes old": {
			make: at(-16 * time.Minute), contains: "20261121T10",
			query: "403 SignatureDoesNotMatch", json: "400 InvalidSignatureException", s3: "403 RequestTimeTooSkewed",
		},
		"sixteen minutes ahead": {
			make:  at(16 * time.Minute),
			query: "403 SignatureDoesNotMatch", json: "400 InvalidSignatureException", s3: "403 RequestTimeTooSkewed",
		},
		"unsigned x-amz header": {
			make:  after(func(r *http.Request) { r.Header.Set("X-Amz-Meta-Evil", "1") }),
			query: "403 SignatureDoesNotMatch", json: "400 InvalidSignatureException", s3: "403 AccessDenied",
		},
		"unsigned host": {
			make:  auth("host;", ""),
			query: "403 SignatureDoesNotMatch", json: "400 InvalidSignatureException", s3: "403 AccessDenied",
		},
		"another day": {
			make: auth("/20261121/", "/20261120/"), contains: "Date in Credential scope does not match",
			query: "403 SignatureDoesNotMatch", json: "400 InvalidSignatureException", s3: "403 SignatureDoesNotMatch",
		},
		"another region": {
			make:  auth("/us-east-1/", "/us-west-1/"),
			query: "403 SignatureDoesNotMatch", json: "400 InvalidSignatureException", s3: "403 SignatureDoesNotMatch",
		},
		"no terminator": {
			make:  auth("/aws4_request", "/aws5_request"),
			query: "400 IncompleteSignature", json: "400 IncompleteSignatureException", s3: "400 AuthorizationHeaderMalformed",
		},
		"no signature part": {
			make:  auth("Signature=", "Signatur="),
			query: "400 IncompleteSignature", json: "400 IncompleteSignatureException", s3: "400 AuthorizationHeaderMalformed",
		},
		"another scheme": {
			make:  auth("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
			query: "400 IncompleteSignature", json: "400 IncompleteSignatureException", s3: "400 AuthorizationHeaderMalformed",
		},
		"no date": {
			make:  after(func(r *http.Request) { r.Header.Del("X-Amz-Date") }),
			query: "400 IncompleteSignature", json: "400 IncompleteSignatureException", s3: "400 AuthorizationHeaderMalformed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, w := range []struct {
				wire
				want string
			}{{queryCall, tc.query}, {jsonCall, tc.json}, {s3Call, tc.s3}} {
				// A malformed or missing scope leaves S3 as the only one whose requests look like that.
				resp, body := do(t, p, tc.make(w.wire))
				status, code, _ := strings.Cut(w.want, " ")
				if got := resp.Status[:3]; got != status || !strings.Contains(body, code) {
					t.Errorf("%s: %s %s, want %s", w.service, got, body, w.want)
				}
				if !strings.Contains(body, tc.contains) && w.service != "s3" {
					t.Errorf("%s: %s does not mention %s", w.service, body, tc.contains)
				}
				if resp.Header.Get("Date") != "Sat, 21 Nov 2026 10:20:30 GMT" {
					t.Errorf("%s: Date %q", w.service, resp.Header.Get("Date"))
				}
				if resp.Header.Get("X-Amzn-Requestid")+resp.Header.Get("X-Amz-Request-Id") == "" {
					t.Errorf("%s: no request id", w.service)
				}
				if strings.Contains(body, secret) || strings.Contains(body, token) {
					t.Errorf("%s: a secret in %s", w.service, body)
				}
			}
		})
	}
	if strings.Contains(p.logged(), secret) || strings.Contains(p.logged(), token) {
		t.Error("a secret in the log")
	}
}

func TestPresigned(t *testing.T) {
	p := fixedServer(t)
	p.s3.buckets["lake"] = map[string]object{"k": {data: []byte("hello")}}
	get := func(at time.Time, expires time.Duration, change ...string) string {
		r, err := http.NewRequest("GET", p.URL+"/lake/k", nil)
		must(t, err)
		u := signer("s3").Presign(r, at, expires)
		for i := 0; i < len(change); i += 2 {
			u = strings.Replace(u, change[i], change[i+1], 1)
		}
		r, err = http.NewRequest("GET", u, nil)
		must(t, err)
		resp, body := do(t, p, r)
		if resp.StatusCode == 200 {
			return "200 " + body
		}
		_, code, _ := strings.Cut(body, "<Code>")
		code, message, _ := strings.Cut(code, "</Code><Message>")
		message, _, _ = strings.Cut(message, "<")
		return resp.Status[:3] + " " + code + ": " + message
	}
	for name, tc := range map[string]struct{ got, want string }{
		"now":              {get(now, time.Hour), "200 hello"},
		"at its end":       {get(now.Add(-time.Hour), time.Hour), "200 hello"},
		"of last week":     {get(now.Add(-6*24*time.Hour), 7*24*time.Hour), "200 hello"},
		"expired":          {get(now.Add(-time.Hour-time.Second), time.Hour), "403 AccessDenied: Request has expired"},
		"from the future":  {get(now.Add(16*time.Minute), time.Hour), "403 AccessDenied: Request is not yet valid"},
		"for eight days":   {get(now, 8*24*time.Hour), "400 AuthorizationQueryParametersError: X-Amz-Expires must be less than a week"},
		"for no time":      {get(now, 0), "400 AuthorizationQueryParametersError: X-Amz-Expires must be at least"},
		"for a word":       {get(now, time.Hour, "Expires=3600", "Expires=abc"), "400 AuthorizationQueryParametersError: X-Amz-Expires should be a number"},
		"for longer":       {get(now, time.Hour, "Expires=3600", "Expires=3601"), "403 SignatureDoesNotMatch"},
		"negative":         {get(now, time.Hour, "Expires=3600", "Expires=-1"), "400 AuthorizationQueryParametersError: X-Amz-Expires must be non-negative"},
		"another object":   {get(now, time.Hour, "/lake/k", "/lake/l"), "403 SignatureDoesNotMatch"},
		"without its date": {get(now, time.Hour, "X-Amz-Date", "X-Amz-Dat"), "400 AuthorizationQueryParametersError"},
		"twice its date":   {get(now, time.Hour, "X-Amz-Date", "X-Amz-Date=20261121T102030Z&X-Amz-Date"), "400 AuthorizationQueryParametersError"},
		"of another scope": {get(now, time.Hour, "%2Faws4_request", "%2Faws5"), "400 AuthorizationQueryParametersError"},
	} {
		if !strings.HasPrefix(tc.got, tc.want) {
			t.Errorf("%s: %s, want %s", name, tc.got, tc.want)
		}
	}
}

// A key that was replaced must stop working though its derived signing key is remembered.
func TestReplacedSecret(t *testing.T) {
	current := &oneKey{keyID, secret}
	p := serve(t, false, func(c *awswire.Config) { c.Credentials, c.Clock = current, clock.Fixed(now) })
	call := func(s string) int {
		r := signed(queryCall.request(p.URL), awswire.Signer{AccessKeyID: keyID, Secret: s, Region: "us-east-1", Service: "sts"}, now)
		resp, _ := do(t, p, r)
		return resp.StatusCode
	}
	if got := call(secret); got != 200 {
		t.Fatalf("status %d", got)
	}
	current.secret = "another"
	if got := call(secret); got != 403 {
		t.Errorf("the old secret: status %d", got)
	}
	if got := call("another"); got != 200 {
		t.Errorf("the new secret: status %d", got)
	}
}

func TestLookupEndsWithTheRequest(t *testing.T) {
	// The lookup gets the request's context, so that it ends with the request.
	seen := make(chan context.Context, 1)
	p := serve(t, false, func(c *awswire.Config) { c.Credentials = watcher{seen} })
	do(t, p, signed(queryCall.request(p.URL), signer("sts"), time.Now()))
	select {
	case ctx := <-seen:
		<-ctx.Done() // the server ends it with the request
	default:
		t.Error("no lookup")
	}
}

type watcher struct{ seen chan context.Context }

func (w watcher) Lookup(ctx context.Context, id string) (awswire.Credential, error) {
	w.seen <- ctx
	return keys{}.Lookup(ctx, id)
}
