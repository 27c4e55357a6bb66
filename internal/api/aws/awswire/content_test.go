package awswire_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/aws/awswire"
)

// A body must prove itself before it is taken for good.
func TestBodies(t *testing.T) {
	p := fixedServer(t)
	p.s3.buckets["lake"] = map[string]object{}
	sum := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	crc := "NhCmhg==" // CRC32 of hello
	for _, tc := range []struct {
		name   string
		body   string
		header []string
		want   string
	}{
		{"plain", "hello", nil, "200"},
		{"CRC32", "hello", []string{"X-Amz-Checksum-Crc32", crc}, "200"},
		{"wrong CRC32", "hellO", []string{"X-Amz-Checksum-Crc32", crc}, "400 BadDigest"},
		{"CRC64NVME", "hello", []string{"X-Amz-Checksum-Crc64nvme", "M3eFcAZSQlc="}, "200"},
		{"CRC32C", "hello", []string{"X-Amz-Checksum-Crc32c", "mnG7TA=="}, "200"},
		{"SHA1", "hello", []string{"X-Amz-Checksum-Sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00="}, "200"},
		{"SHA256", "hello", []string{"X-Amz-Checksum-Sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="}, "200"},
		{"two checksums", "hello", []string{"X-Amz-Checksum-Crc32", crc, "X-Amz-Checksum-Crc32c", "mnG7TA=="}, "400 InvalidRequest"},
		{"a checksum that is none", "hello", []string{"X-Amz-Checksum-Crc32", "x"}, "400 InvalidRequest"},
		{"a checksum too short", "hello", []string{"X-Amz-Checksum-Sha256", sum("short")}, "400 InvalidRequest"},
		{"an unknown checksum", "hello", []string{"X-Amz-Checksum-Xxhash3", sum("12345678")}, "400 InvalidRequest"},
		{"MD5", "hello", []string{"Content-MD5", "XUFAKrxLKna5cZ2REBfFkg=="}, "200"},
		{"wrong MD5", "hello", []string{"Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="}, "400 BadDigest"},
		{"no MD5", "hello", []string{"Content-MD5", "nonsense"}, "400 InvalidDigest"},
		{"wrong hash", "hello", []string{"X-Amz-Content-Sha256", strings.Repeat("ab", 32)}, "400 XAmzContentSHA256Mismatch"},
		{"no hash", "hello", []string{"X-Amz-Content-Sha256", "sometimes"}, "400 InvalidArgument"},
		{"unsigned payload", "hello", []string{"X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"}, "200"},
		{"trailer", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", trailer("5", "x-amz-checksum-crc32"), "200"},
		{"two chunks", "2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", trailer("5", "x-amz-checksum-crc32"), "200"},
		{"wrong trailer", "5\r\nhellO\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", trailer("5", "x-amz-checksum-crc32"), "400 BadDigest"},
		{"missing trailer", "5\r\nhello\r\n0\r\n\r\n", trailer("5", "x-amz-checksum-crc32"), "400 MalformedTrailerError"},
		{"unannounced trailer", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", trailer("5", ""), "400 MalformedTrailerError"},
		{"decoded length too small", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", trailer("4", "x-amz-checksum-crc32"), "400 IncompleteBody"},
		{"decoded length too great", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", trailer("6", "x-amz-checksum-crc32"), "400 IncompleteBody"},
		{"no decoded length", "5\r\nhello\r\n0\r\n\r\n", trailer("", ""), "411 MissingContentLength"},
		{"chunk without end", "5\r\nhel", trailer("5", ""), "400 IncompleteBody"},
		{"chunk longer than it says", "4\r\nhello\r\n0\r\n\r\n", trailer("5", ""), "400 IncompleteBody"},
		{"chunk without its end of line", "5\r\nhelloXX0\r\n\r\n", trailer("5", ""), "400 IncompleteBody"},
		{"chunk of nonsense", "five\r\nhello\r\n0\r\n\r\n", trailer("5", ""), "400 IncompleteBody"},
		{"negative chunk", "-5\r\nhello\r\n0\r\n\r\n", trailer("5", ""), "400 IncompleteBody"},
		{"more behind the end", "5\r\nhello\r\n0\r\n\r\nmore", trailer("5", ""), "400 "},
		{"endless line", strings.Repeat("5", 10000), trailer("5", ""), "400 IncompleteBody"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clear(p.s3.buckets["lake"])
			r, err := http.NewRequest("PUT", p.URL+"/lake/k", strings.NewReader(tc.body))
			must(t, err)
			for i := 0; i < len(tc.header); i += 2 {
				if tc.header[i+1] != "" {
					r.Header.Set(tc.header[i], tc.header[i+1])
				}
			}
			awswire.SignPayload(signer("s3"), r, []byte(tc.body), now)
			resp, body := do(t, p, r)
			status, code, _ := strings.Cut(tc.want, " ")
			if resp.Status[:3] != status || !strings.Contains(body, code) {
				t.Fatalf("%d %s, want %s", resp.StatusCode, body, tc.want)
			}
			o, stored := p.s3.buckets["lake"]["k"]
			if stored != (status == "200") || stored && string(o.data) != "hello" {
				t.Errorf("stored: %v, %q", stored, o.data)
			}
			if claimed := strings.Contains(strings.Join(tc.header, " ")+tc.body, "hecksum-"); stored && claimed != (len(o.sums) == 1) {
				t.Errorf("checksums %v", o.sums)
			}
			if stored && o.encoding != nil {
				t.Errorf("the framing was stored as the encoding %s", *o.encoding)
			}
		})
	}
}

func trailer(length, names string) []string {
	return []string{
		"X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "Content-Encoding", "aws-chunked",
		"X-Amz-Decoded-Content-Length", length, "X-Amz-Trailer", names,
	}
}
