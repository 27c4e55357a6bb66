package awswire_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/clock"
)

// golden is the format of testdata/sigv4.json, which testdata/sigv4.py writes by botocore.
type golden struct {
	Time  time.Time
	Cases []struct {
		Name, Service, Method, Target, Body string
		Headers                             map[string]string
	}
}

func TestSignaturesOfBotocore(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "sigv4.json"))
	must(t, err)
	var g golden
	must(t, json.Unmarshal(b, &g))
	if len(g.Cases) != 108 {
		t.Errorf("%d cases, 108 are known", len(g.Cases))
	}
	for _, c := range g.Cases {
		request := func() *http.Request {
			r := httptest.NewRequest(c.Method, "/", strings.NewReader(c.Body))
			r.RequestURI, r.Host = c.Target, "host.example:4566"
			u, err := r.URL.Parse(c.Target)
			must(t, err)
			if strings.HasPrefix(c.Target, "//") {
				u, err = r.URL.Parse("/." + c.Target)
				must(t, err)
			}
			r.URL = u
			r.URL.Path, r.URL.RawPath = pathOf(t, c.Target)
			for k, v := range c.Headers {
				r.Header.Set(k, v)
			}
			return r
		}
		if err := awswire.VerifyRequest(keys{}, g.Time, c.Service, request()); err != nil {
			t.Errorf("%s %s %s: %v", c.Name, c.Method, c.Target, err)
		}
		// Whatever is signed must be covered: each change must break the signature.
		for what, change := range map[string]func(*http.Request){
			"method":  func(r *http.Request) { r.Method = "DELETE" },
			"path":    func(r *http.Request) { r.URL.Path += "x"; r.URL.RawPath = "" },
			"query":   func(r *http.Request) { r.URL.RawQuery += "&zz=1" },
			"host":    func(r *http.Request) { r.Host = "other.example" },
			"header":  func(r *http.Request) { r.Header.Set("X-Amz-Extra", "1") },
			"session": func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "other") },
		} {
			r := request()
			change(r)
			if err := awswire.VerifyRequest(keys{}, g.Time, c.Service, r); err == nil {
				t.Errorf("%s %s %s: a changed %s was accepted", c.Name, c.Method, c.Target, what)
			}
		}
	}
}

func pathOf(t *testing.T, target string) (path, raw string) {
	t.Helper()
	escaped, _, _ := strings.Cut(target, "?")
	r, err := http.NewRequest("GET", "http://h"+escaped, nil)
	must(t, err)
	return r.URL.Path, r.URL.RawPath
}

// The examples that the S3 API Reference gives for chunked uploads, with their signatures.
const (
	docKey    = "AKIAIOSFODNN7EXAMPLE"
	docSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

var docTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func docPut(t *testing.T, mode string, header map[string]string, signed, seed, body string) (*platform, *http.Response) {
	t.Helper()
	p := serve(t, false, func(c *awswire.Config) {
		c.Clock = clock.Fixed(docTime)
		c.Credentials = oneKey{docKey, docSecret}
	})
	p.s3.buckets["examplebucket"] = map[string]object{}
	r, err := http.NewRequest("PUT", p.URL+"/examplebucket/chunkObject.txt", strings.NewReader(body))
	must(t, err)
	r.Host = "s3.amazonaws.com"
	r.Header.Set("X-Amz-Date", "20130524T000000Z")
	r.Header.Set("X-Amz-Storage-Class", "REDUCED_REDUNDANCY")
	r.Header.Set("X-Amz-Content-Sha256", mode)
	r.Header.Set("Content-Encoding", "aws-chunked")
	r.Header.Set("X-Amz-Decoded-Content-Length", "66560")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+docKey+"/20130524/us-east-1/s3/aws4_request,SignedHeaders="+signed+",Signature="+seed)
	resp, err := p.Client().Do(r)
	must(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return p, resp
}

func chunk(size, signature, data string) string {
	return size + ";chunk-signature=" + signature + "\r\n" + data + "\r\n"
}

func TestChunksOfTheS3Reference(t *testing.T) {
	seed := "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	signed := "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class"
	body := chunk("10000", "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648", strings.Repeat("a", 65536)) +
		chunk("400", "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", strings.Repeat("a", 1024)) +
		chunk("0", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9", "")
	p, resp := docPut(t, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", nil, signed, seed, body)
	if resp.StatusCode != 200 {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%d %s", resp.StatusCode, b)
	}
	o := p.s3.buckets["examplebucket"]["chunkObject.txt"]
	if string(o.data) != strings.Repeat("a", 66560) || o.encoding != nil {
		t.Errorf("%d bytes were stored, with the encoding %v", len(o.data), o.encoding)
	}

	for name, change := range map[string]func(string) string{
		"a byte of the content":   func(b string) string { return strings.Replace(b, "aaa", "aba", 1) },
		"a chunk's signature":     func(b string) string { return strings.Replace(b, "0055627c", "1055627c", 1) },
		"the last signature":      func(b string) string { return strings.Replace(b, "b6c6ea8a", "c6c6ea8a", 1) },
		"no signature":            func(b string) string { return strings.Replace(b, ";chunk-signature=0", ";chunk-nonsense=00", 1) },
		"the order of the chunks": func(b string) string { return strings.Replace(b, "400;", "3ff;", 1) },
	} {
		p, resp := docPut(t, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", nil, signed, seed, change(body))
		if resp.StatusCode/100 != 4 || len(p.s3.buckets["examplebucket"]) != 0 {
			t.Errorf("%s changed: status %d, %d objects", name, resp.StatusCode, len(p.s3.buckets["examplebucket"]))
		}
	}
}

func TestTrailersOfTheS3Reference(t *testing.T) {
	seed := "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
	signed := "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer"
	body := chunk("10000", "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2", strings.Repeat("a", 65536)) +
		chunk("400", "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7", strings.Repeat("a", 1024)) +
		"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
		"x-amz-checksum-crc32c:sOO8/Q==\r\n" +
		"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
	header := map[string]string{"X-Amz-Trailer": "x-amz-checksum-crc32c"}
	p, resp := docPut(t, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", header, signed, seed, body)
	if resp.StatusCode != 200 {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%d %s", resp.StatusCode, b)
	}
	o := p.s3.buckets["examplebucket"]["chunkObject.txt"]
	if len(o.sums) != 1 || o.sums[0] != (awswire.Checksum{Algorithm: "CRC32C", Value: "sOO8/Q=="}) {
		t.Errorf("checksums %v", o.sums)
	}
	for name, change := range map[string]func(string) string{
		"the checksum":                 func(b string) string { return strings.Replace(b, "sOO8/Q", "sOO8/A", 1) },
		"the trailers' signature":      func(b string) string { return strings.Replace(b, "d81f82fc", "e81f82fc", 1) },
		"no trailers":                  func(b string) string { return b[:strings.Index(b, "x-amz-checksum")] + "\r\n" },
		"no signature of the trailers": func(b string) string { return b[:strings.Index(b, "x-amz-trailer-sig")] + "\r\n" },
		"another trailer": func(b string) string {
			return strings.Replace(b, "x-amz-checksum", "x-amz-meta-a:b\r\nx-amz-checksum", 1)
		},
	} {
		p, resp := docPut(t, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", header, signed, seed, change(body))
		if resp.StatusCode/100 != 4 || len(p.s3.buckets["examplebucket"]) != 0 {
			t.Errorf("%s changed: status %d, %d objects", name, resp.StatusCode, len(p.s3.buckets["examplebucket"]))
		}
	}
}
