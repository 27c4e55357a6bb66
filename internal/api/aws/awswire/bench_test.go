package awswire_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/base/name"
)

var quiet = slog.New(slog.DiscardHandler)

// putRecords is a request of 500 records of 1 KiB.
func putRecords() []byte {
	var b bytes.Buffer
	b.WriteString(`{"StreamName":"clicks","Records":[`)
	data := make([]byte, 1024)
	for i := range 500 {
		if i > 0 {
			b.WriteByte(',')
		}
		_, _ = rand.Read(data)
		fmt.Fprintf(&b, `{"Data":%q,"PartitionKey":"user-%d"}`, base64.StdEncoding.EncodeToString(data), i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func BenchmarkDecodePutRecords(b *testing.B) {
	body := putRecords()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var in kinesis.PutRecordsInput
		if err := awswire.ReadJSON(body, &in); err != nil || len(in.Records) != 500 {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidatePutRecords(b *testing.B) {
	body := putRecords()
	var in kinesis.PutRecordsInput
	if err := awswire.ReadJSON(body, &in); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := awswire.Validate(&in); err != nil {
			b.Fatal(err)
		}
	}
}

type sink struct{ kinesis.Operations }

func (sink) PutRecords(_ context.Context, in *kinesis.PutRecordsInput) (*kinesis.PutRecordsOutput, error) {
	return &kinesis.PutRecordsOutput{FailedRecordCount: new(int64(0)), Records: make([]kinesis.PutRecordsResultEntry, len(in.Records))}, nil
}

func (sink) CreateStream(context.Context, *kinesis.CreateStreamInput) (*kinesis.CreateStreamOutput, error) {
	return &kinesis.CreateStreamOutput{}, nil
}

func sinkHandler() http.Handler {
	svc := kinesis.Service(sink{})
	svc.Resources = map[string][]name.Action{"PutRecords": {}, "CreateStream": {}}
	return awswire.New(awswire.Config{Services: []awswire.Service{svc}, Credentials: keys{}, Log: quiet, Clock: fixedClock{}})
}

// BenchmarkServePutRecords is the whole pipeline: body, signature, decoding, validation, answer.
func BenchmarkServePutRecords(b *testing.B) {
	serveBench(b, "PutRecords", putRecords())
}

// BenchmarkServeSmall is the pipeline's own cost.
func BenchmarkServeSmall(b *testing.B) {
	serveBench(b, "CreateStream", []byte(`{"StreamName":"clicks","ShardCount":1}`))
}

func serveBench(b *testing.B, op string, body []byte) {
	h := sinkHandler()
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("X-Amz-Target", "Kinesis_20131202."+op)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	signer("kinesis").Sign(r, body, now)
	r.ContentLength = int64(len(body))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r.Body = io.NopCloser(bytes.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	body := strings.Repeat("x", 100)
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.PutRecord")
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	signer("kinesis").Sign(r, []byte(body), now)
	verify := awswire.Verifier(keys{}, now, "kinesis")
	b.ReportAllocs()
	for b.Loop() {
		if err := verify(r, []byte(body)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	var framed bytes.Buffer
	data := make([]byte, 64<<10)
	for range 16 {
		fmt.Fprintf(&framed, "%x\r\n%s\r\n", len(data), data)
	}
	framed.WriteString("0\r\n\r\n")
	b.SetBytes(16 * int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := awswire.ReadChunks(bytes.NewReader(framed.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
