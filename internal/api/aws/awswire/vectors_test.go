package awswire_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/api/aws/awsgen/model"
	"sluice.dev/sluice/internal/api/aws/awswire"
)

// The vectors are the protocol tests that AWS publishes with its SDKs: requests and answers of
// made-up APIs, with the values they stand for. Each case is run in the direction it is given
// (a client writes the request, a client reads the answer) and inverted (a server reads the
// request, a server writes the answer).

// suite is the file format of the vectors: one API with cases.
type suite struct {
	Description string
	Metadata    json.RawMessage
	Shapes      json.RawMessage
	Cases       []struct {
		Given      json.RawMessage
		Params     map[string]any
		Serialized struct {
			URI     string
			Method  string
			Body    *string
			Headers map[string]string
			Forbid  []string `json:"forbidHeaders"`
		}
		Result   map[string]any
		Response struct {
			StatusCode int `json:"status_code"`
			Headers    map[string]string
			Body       string
		}
	}
}

var protocols = map[string]awswire.Protocol{
	"query": awswire.Query, "ec2": awswire.EC2, "json": awswire.JSON11, "rest-json": awswire.RestJSON, "rest-xml": awswire.RestXML,
}

// Cases that do not apply, by file, description and, where not all are meant, case number.
const (
	jsonValue    = "no API here has JSON in strings (the jsonvalue trait)"
	hostPrefix   = "the host prefix is for clients of many endpoints; here there is one"
	randomToken  = "the client's token is random; TestIdempotencyToken covers it"
	sparse       = "lists of null have no counterpart in Go slices; nulls are dropped on reading"
	emptyPayload = "an absent payload and an empty one look alike on the wire"
	noFilter     = "a header map without a prefix is not used by any API here"
)

var notApplicable = map[string]string{
	"input/rest-json JSON value trait":              jsonValue,
	"output/rest-json JSON value trait":             jsonValue,
	"input/query Endpoint host trait":               hostPrefix,
	"input/ec2 Endpoint host trait":                 hostPrefix,
	"input/json Endpoint host trait static prefix":  hostPrefix,
	"input/rest-json Endpoint host trait":           hostPrefix,
	"input/rest-xml Endpoint host trait":            hostPrefix,
	"input/query Idempotency token auto fill 1":     randomToken,
	"input/ec2 Idempotency token auto fill 1":       randomToken,
	"input/json Idempotency token auto fill 1":      randomToken,
	"input/rest-json Idempotency token auto fill 1": randomToken,
	"input/rest-xml Idempotency token auto fill 1":  randomToken,
	"output/json Lists 1":                           sparse,
	"output/rest-json Supports header maps":         noFilter,
}

// Cases that apply in one direction alone.
var writeOnly = map[string]string{
	"input/rest-xml Header whitespace 0":                "blanks around a header's value are lost on the wire",
	"input/rest-json Structure payload 1":               emptyPayload,
	"input/rest-json rest-json Content-Type and body 2": emptyPayload,
	"input/rest-json rest-json Content-Type and body 4": emptyPayload,
}

var readOnly = map[string]string{
	"input/query Recursive shapes 5": "the entries of a map are written in the order of their keys; the vector's order is another one",
}

func TestVectors(t *testing.T) {
	dir := vectorDir(t)
	var ran, skipped int
	for _, side := range []string{"input", "output"} {
		for _, file := range []string{"query", "ec2", "json", "rest-json", "rest-xml"} {
			b, err := os.ReadFile(filepath.Join(dir, side, file+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var suites []suite
			if err := json.Unmarshal(b, &suites); err != nil {
				t.Fatal(err)
			}
			for _, s := range suites {
				for i := range s.Cases {
					name := side + "/" + file + " " + s.Description
					id := fmt.Sprintf("%s %d", name, i)
					if reason := notApplicable[name] + notApplicable[id]; reason != "" {
						skipped++
						continue
					}
					ran++
					t.Run(id, func(t *testing.T) {
						s.run(t, protocols[file], i, side == "input", writeOnly[id] == "", readOnly[id] == "")
					})
				}
			}
		}
	}
	// A case that vanishes, or is quietly skipped, must be noticed.
	if ran != 206 || skipped != 22 {
		t.Errorf("%d cases ran and %d were skipped: the counts have changed", ran, skipped)
	}
}

var vectorDir = func() func(t *testing.T) string {
	find := sync.OnceValues(func() (string, error) {
		// Pinned and checksummed by the go.mod and go.sum of that directory.
		cmd := exec.Command("go", "mod", "download", "-json", "github.com/aws/aws-sdk-go@v1.55.8")
		cmd.Dir = filepath.Join("testdata", "vectors")
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		out, err := cmd.Output()
		if err != nil {
			return "", err
		}
		var m struct{ Dir string }
		err = json.Unmarshal(out, &m)
		return m.Dir, err
	})
	return func(t *testing.T) string {
		dir, err := find()
		if err != nil {
			t.Skipf("the vectors are not in the module cache and cannot be downloaded: %v", err)
		}
		return filepath.Join(dir, "models", "protocol_tests")
	}
}()

// run checks one case in both directions.
func (s *suite) run(t *testing.T, p awswire.Protocol, n int, input, read, write bool) {
	c := s.Cases[n]
	var op model.Operation
	must(t, json.Unmarshal(c.Given, &op))
	m, err := model.Parse([]byte(fmt.Sprintf(`{"metadata":%s,"shapes":%s}`, s.Metadata, s.Shapes)))
	must(t, err)
	ref := op.Input
	if !input {
		ref = op.Output
	}
	var given struct{ Input, Output struct{ Payload string } } // old vectors name the payload here
	must(t, json.Unmarshal(c.Given, &given))
	if payload := given.Input.Payload + given.Output.Payload; payload != "" {
		m.Shapes[ref.Shape].Payload = payload
	}
	typ := reflect.StructOf(nil)
	if ref != nil {
		typ = goType(m, ref.Shape, input, map[string]int{})
	}
	api := &awswire.API{Name: "vectors", Version: m.Metadata.APIVersion, Target: m.Metadata.TargetPrefix, Protocols: []awswire.Protocol{p}}
	wire := &awswire.Op{Name: op.Name, Method: op.HTTP.Method, URI: op.HTTP.RequestURI}
	codec := awswire.CodecOf(p)
	if input {
		if ref != nil {
			wire.In, wire.InNS = ref.LocationName, ref.XMLNamespace.URI
			if wire.In == "" {
				wire.In = ref.Shape
			}
		}
		api.Ops = []awswire.Op{*wire}
		value := reflect.New(typ)
		if ref != nil {
			fill(t, m, ref.Shape, value.Elem(), c.Params)
		}
		if write {
			got, err := codec.WriteRequest(api, wire, value.Interface())
			must(t, err)
			s.checkRequest(t, p, n, got)
		}
		if read {
			s.readRequest(t, codec, api, wire, n, typ, ref, m)
		}
		return
	}
	if ref != nil {
		if wire.Out = ref.ResultWrapper; wire.Out == "" && strings.Contains(c.Response.Body, op.Name+"Result") {
			wire.Out = op.Name + "Result" // a few vectors leave it out and have it in the answer
		}
	}
	s.readAnswer(t, codec, api, wire, n, typ, ref, m)
	s.writeAnswer(t, p, codec, api, wire, n, typ, ref, m)
}

// checkRequest compares what the client wrote with the vector.
func (s *suite) checkRequest(t *testing.T, p awswire.Protocol, n int, got awswire.Message) {
	t.Helper()
	want := s.Cases[n].Serialized
	u, err := url.Parse(want.URI)
	must(t, err)
	if got.Path != u.EscapedPath() {
		t.Errorf("path %s, want %s", got.Path, u.EscapedPath())
	}
	if diff := cmp.Diff(u.Query(), got.Query); diff != "" && len(u.Query())+len(got.Query) > 0 {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	if want.Method != "" && want.Method != got.Method {
		t.Errorf("method %s, want %s", got.Method, want.Method)
	}
	for k, v := range want.Headers {
		if g := got.Header.Get(k); g != v {
			t.Errorf("header %s: %q, want %q", k, g, v)
		}
	}
	for _, k := range want.Forbid {
		if g := got.Header.Get(k); g != "" {
			t.Errorf("header %s: %q, want none", k, g)
		}
	}
	if want.Body != nil {
		sameBody(t, p, *want.Body, string(got.Body))
	}
}

// readRequest lets the server read the vector.
func (s *suite) readRequest(t *testing.T, codec awswire.Codec, api *awswire.API, op *awswire.Op, n int, typ reflect.Type, ref *model.Ref, m *model.Model) {
	t.Helper()
	if ref == nil {
		return
	}
	c := s.Cases[n]
	u, err := url.Parse(c.Serialized.URI)
	must(t, err)
	msg := awswire.Message{Method: c.Serialized.Method, Path: u.EscapedPath(), Query: u.Query(), Header: headers(c.Serialized.Headers)}
	if c.Serialized.Body != nil {
		msg.Body = []byte(*c.Serialized.Body)
	}
	want, got := reflect.New(typ), reflect.New(typ)
	fill(t, m, ref.Shape, want.Elem(), c.Params)
	if err := codec.ReadRequest(api, op, msg, got.Interface()); err != nil {
		t.Fatalf("reading the request: %v", err)
	}
	same(t, "request", want, got)
}

// readAnswer lets the client read the vector.
func (s *suite) readAnswer(t *testing.T, codec awswire.Codec, api *awswire.API, op *awswire.Op, n int, typ reflect.Type, ref *model.Ref, m *model.Model) {
	t.Helper()
	c := s.Cases[n]
	want, got := reflect.New(typ), reflect.New(typ)
	if ref != nil {
		fill(t, m, ref.Shape, want.Elem(), c.Result)
	}
	msg := awswire.Message{Status: c.Response.StatusCode, Header: headers(c.Response.Headers), Body: []byte(c.Response.Body)}
	if err := codec.ReadAnswer(api, op, msg, got.Interface()); err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	same(t, "answer", want, got)
}

// writeAnswer lets the server write the value, and compares bodies and headers.
func (s *suite) writeAnswer(t *testing.T, p awswire.Protocol, codec awswire.Codec, api *awswire.API, op *awswire.Op, n int, typ reflect.Type, ref *model.Ref, m *model.Model) {
	t.Helper()
	if ref == nil {
		return
	}
	c := s.Cases[n]
	value := reflect.New(typ)
	fill(t, m, ref.Shape, value.Elem(), c.Result)
	got, err := codec.WriteAnswer(api, op, value.Interface())
	must(t, err)
	for k, v := range c.Response.Headers {
		if g := got.Header.Get(k); !strings.EqualFold(g, v) {
			t.Errorf("header %s: %q, want %q", k, g, v)
		}
	}
	// What we write is read back by the same client: that alone is what the clients ask of it.
	again := reflect.New(typ)
	if err := codec.ReadAnswer(api, op, got, again.Interface()); err != nil {
		t.Fatalf("reading what was written: %v", err)
	}
	value = reflect.New(typ)
	fill(t, m, ref.Shape, value.Elem(), c.Result)
	same(t, "answer read back", value, again)
	if p != awswire.JSON11 && p != awswire.RestJSON {
		sameAnswer(t, c.Response.Body, string(got.Body))
	}
}

func headers(m map[string]string) http.Header {
	h := http.Header{}
	for k, v := range m {
		h.Set(k, v)
	}
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
