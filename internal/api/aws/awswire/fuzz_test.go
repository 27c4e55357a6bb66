package awswire_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/s3"
)

// What is accepted is written and read again to the same value; nothing may panic.

func roundTrip(t *testing.T, p awswire.Protocol, v everything) {
	t.Helper()
	op, api := &awswire.Op{Name: "Op"}, &awswire.API{}
	m, err := awswire.CodecOf(p).WriteRequest(api, op, &v)
	if err != nil {
		t.Fatal(err)
	}
	m.Method, m.Path = "POST", "/"
	var again everything
	if err := awswire.CodecOf(p).ReadRequest(api, op, m, &again); err != nil {
		t.Fatalf("%v\n%s", err, m.Body)
	}
	if diff := cmp.Diff(v, again, cmp.Comparer(sameFloat)); diff != "" {
		t.Fatalf("read again (-want +got):\n%s\n%s", diff, m.Body)
	}
}

func sameFloat(a, b float64) bool { return a == b || a != a && b != b }

func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"Str":"a\u00e9\ud83d\ude00","Int":1,"Float":"NaN","Bool":true,"Blob":"AP8=","Time":1.5,"List":["a"],"Map":{"a":"b"},"Many":[{"Str":""}]}`,
		`{"a":[[[]]],"b":{"c":null}}`, `{"Int":1e400}`, `{"Time":"2015-01-25T08:00:00Z"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v everything
		if awswire.ReadJSON(b, &v) != nil {
			return
		}
		if len(bytes.TrimSpace(b)) > 0 && !json.Valid(b) {
			t.Fatalf("accepted %q, which is not JSON", b)
		}
		roundTrip(t, awswire.JSON11, v)
	})
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"Str=a&Int=1", "List.member.1=a&Map.entry.1.key=k&Map.entry.1.value=v", "Many.member.3.Struct.Blob=AP8%3D", "a.b.c.d=1&a=2", "List="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, form string) {
		for _, p := range []awswire.Protocol{awswire.Query, awswire.EC2} {
			var v everything
			_ = awswire.CodecOf(p).ReadRequest(&awswire.API{}, &awswire.Op{}, awswire.Message{Body: []byte(form)}, &v)
		}
	})
}

func FuzzXML(f *testing.F) {
	for _, s := range []string{`<OpRequest><Str>a</Str><List><member>x</member></List></OpRequest>`, `<a b="c">&lt;<![CDATA[x]]></a>`, `<!DOCTYPE a><a/>`, `<a><b></a></b>`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = awswire.ParseXML(b)
		var v everything
		m := awswire.Message{Method: "POST", Path: "/", Body: b}
		_ = awswire.CodecOf(awswire.RestXML).ReadRequest(&awswire.API{}, &awswire.Op{Name: "Op"}, m, &v)
	})
}

func FuzzRest(f *testing.F) {
	svc := s3.Service(&fakeS3{})
	f.Add("GET", "/b/k?list-type=2&max-keys=7", "x-amz-copy-source", "/a/b")
	f.Add("PUT", "/b/%2F//x?uploadId=a&partNumber=1", "x-amz-meta-a", "b")
	f.Add("POST", "/%zz", "", "")
	f.Fuzz(func(t *testing.T, method, target, key, value string) {
		if u, err := url.Parse(target); err != nil || !strings.HasPrefix(u.EscapedPath(), "/") {
			return
		}
		h := http.Header{}
		if key != "" {
			h.Set(key, value)
		}
		_, labels, _ := awswire.Match(svc, method, target, h)
		if bucket, ok := labels["Bucket"]; ok && bucket == "" {
			t.Errorf("%s: a bucket without a name", target)
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=A/20261121/r/s/aws4_request, SignedHeaders=host, Signature=00", "20261121T102030Z", "")
	f.Add("", "", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20261121%2Fr%2Fs%2Faws4_request&X-Amz-Date=20261121T102030Z&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=0")
	f.Fuzz(func(t *testing.T, auth, date, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		h := http.Header{}
		if auth != "" {
			h.Set("Authorization", auth)
			h.Set("X-Amz-Date", date)
		}
		key, region, service, err := awswire.ParseAuthorization(h, q)
		if err == nil && (key == "" || region == "" || service == "") {
			t.Errorf("%q %q: accepted as %q/%q/%q", auth, query, key, region, service)
		}
	})
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), "")
	f.Add([]byte("2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"), "x-amz-checksum-crc32")
	f.Add([]byte("ffffffffffffffff\r\n"), "")
	f.Fuzz(func(t *testing.T, b []byte, trailer string) {
		var trailers []string
		if trailer != "" {
			trailers = []string{trailer}
		}
		got, err := awswire.ReadChunks(bytes.NewReader(b), trailers...)
		if err == nil && len(got) > len(b) {
			t.Errorf("%d bytes out of %d", len(got), len(b))
		}
	})
}

func FuzzServe(f *testing.F) {
	p := &platform{s3: &fakeS3{buckets: map[string]map[string]object{}, uploads: map[string]map[int64][]byte{}}, kinesis: &fakeKinesis{}}
	h := awswire.New(awswire.Config{Services: services(p), Credentials: keys{}, Log: quiet, Clock: fixedClock{}})
	f.Add("POST", "/", "Kinesis_20131202.CreateStream", "application/x-amz-json-1.1", []byte(`{"StreamName":"s"}`), "kinesis")
	f.Add("POST", "/", "", "application/x-www-form-urlencoded", []byte("Action=CreateUser&Version=2010-05-08&UserName=a"), "iam")
	f.Add("PUT", "/b/k?x=y", "", "", []byte("data"), "s3")
	f.Add("POST", "/b?delete", "", "", []byte("<Delete><Object><Key>a</Key></Object></Delete>"), "s3")
	f.Fuzz(func(t *testing.T, method, target, op, contentType string, body []byte, service string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || u.Host != "" || !token68(method) {
			return
		}
		r, err := http.NewRequest(method, "http://localhost/", bytes.NewReader(body))
		if err != nil {
			return
		}
		r.URL, r.RequestURI, r.RemoteAddr = u, target, "127.0.0.1:1"
		if op != "" {
			r.Header.Set("X-Amz-Target", op)
		}
		r.Header.Set("Content-Type", contentType)
		signer(service).Sign(r, body, now)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == 500 && !strings.Contains(w.Body.String(), "internal error") && !strings.Contains(w.Body.String(), "not set up") && method != "HEAD" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func token68(s string) bool { return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" }

type fixedClock struct{}

func (fixedClock) Now() time.Time { return now }
