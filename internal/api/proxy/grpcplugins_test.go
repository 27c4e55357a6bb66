package proxy_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcstatus "google.golang.org/grpc/status"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/grpcgateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/grpcweb"
	"sluice.dev/sluice/internal/service/gateway/plugin/protofile"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// interop is a server of gRPC with the test service of gRPC's own.
type interop struct {
	grpc_testing.UnimplementedTestServiceServer
}

func (interop) UnaryCall(ctx context.Context, q *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	if s := q.GetResponseStatus(); s.GetCode() != 0 {
		return nil, grpcstatus.Error(codes.Code(s.Code), s.Message)
	}
	return &grpc_testing.SimpleResponse{Username: strings.ToValidUTF8(string(q.GetPayload().GetBody()), "?"), ServerId: q.GetResponseType().String(),
		Hostname: map[bool]string{true: "filled"}[q.GetFillUsername()]}, nil
}

func (interop) StreamingOutputCall(q *grpc_testing.StreamingOutputCallRequest, s grpc_testing.TestService_StreamingOutputCallServer) error {
	for _, p := range q.GetResponseParameters() {
		if err := s.Send(&grpc_testing.StreamingOutputCallResponse{Payload: &grpc_testing.Payload{Body: bytes.Repeat([]byte("x"), int(p.Size))}}); err != nil {
			return err
		}
	}
	return grpcstatus.Error(codes.ResourceExhausted, "no more")
}

// The service's description, with bindings that the original does not have.
const interopProto = `syntax = "proto3";
package grpc.testing;
import "google/api/annotations.proto";
import "parts/messages.proto";
service TestService {
  rpc UnaryCall(SimpleRequest) returns (SimpleResponse) {
    option (google.api.http) = {
      get: "/v1/{payload.body}/call"
      additional_bindings { post: "/v1/call" body: "*" }
      additional_bindings { put: "/v1/{payload.body=a/*}:fill" body: "response_status" }
    };
  }
  rpc StreamingOutputCall(StreamingOutputCallRequest) returns (stream StreamingOutputCallResponse) {
    option (google.api.http) = { post: "/v1/stream" body: "*" };
  }
}
`

const interopMessages = `syntax = "proto3";
package grpc.testing;
enum PayloadType { COMPRESSABLE = 0; OTHER = 1; }
message Payload { PayloadType type = 1; bytes body = 2; }
message EchoStatus { int32 code = 1; string message = 2; }
message SimpleRequest {
  PayloadType response_type = 1; int32 response_size = 2; Payload payload = 3; bool fill_username = 4; EchoStatus response_status = 7;
}
message SimpleResponse { Payload payload = 1; string username = 2; string oauth_scope = 3; string server_id = 4; string hostname = 6; }
message ResponseParameters { int32 size = 1; }
message StreamingOutputCallRequest { repeated ResponseParameters response_parameters = 2; }
message StreamingOutputCallResponse { Payload payload = 1; }
`

func interopRig(t *testing.T, plugin string, config schema.Record) *rig {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "parts"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"test.proto": interopProto, "parts/messages.proto": interopMessages} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, interop{})
	go server.Serve(ln)
	t.Cleanup(server.Stop)
	r := newRig(t, proxy.Config{BufferAnswer: 1 << 20}, grpcgateway.New(), grpcweb.New())
	r.route("grpc://"+ln.Addr().String(), nil, "/")
	config["proto"] = filepath.Join(dir, "test.proto")
	gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": plugin, "config": config})
	return r
}

// send sends a request over HTTP/1.1 and HTTP/2 and returns what both were answered with.
func send(t *testing.T, r *rig, method, path, contentType, body string) (status int, header http.Header, answer string) {
	t.Helper()
	for i, url := range []string{"http://" + r.plain, "https://" + r.secure} {
		q, err := http.NewRequest(method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", contentType)
		resp, err := h2Client(t).Do(q)
		if err != nil {
			t.Fatalf("%s %s: %v", method, url+path, err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatalf("%s %s: %v", method, url+path, err)
		}
		if i > 0 && (resp.StatusCode != status || string(got) != answer && !strings.Contains(answer, "request_id") || resp.ProtoMajor != 2) {
			t.Errorf("%s %s: HTTP/2 %d %q, HTTP/1 %d %q", method, path, resp.StatusCode, got, status, answer)
		}
		status, header, answer = resp.StatusCode, resp.Header, string(got)
	}
	return status, header, answer
}

func TestGRPCGateway(t *testing.T) {
	r := interopRig(t, "grpc-gateway", schema.Record{})
	for _, c := range []struct {
		method, path, body string
		status             int
		answer             string // a part, without spaces
	}{
		{"GET", "/v1/aGVsbG8=/call", "", 200, `"username":"hello"`},
		{"GET", "/v1/aGVsbG8=/call?fill_username=true&response_type=1&unknown=x", "", 200, `"server_id":"1","hostname":"filled"`},
		{"GET", "/v1/aGVsbG8=/call", "", 200, `"oauth_scope":""`},
		{"POST", "/v1/call", `{"payload":{"body":"eA=="},"fill_username":true}`, 200, `"username":"x"`},
		{"PUT", "/v1/a/eHh4:fill?fill_username=true", ``, 200, `"hostname":"filled"`},
		{"PUT", "/v1/a/eHh4:fill", `{"code":5,"message":"gone"}`, 404, ``},
		{"POST", "/v1/call", `{"response_status":{"code":16}}`, 401, ``},
		{"POST", "/v1/call", `{"response_status":{"code":99}}`, 500, ``},
		{"POST", "/v1/stream", `{"response_parameters":[{"size":3},{"size":6}]}`, 200, `{"payload":{"type":"COMPRESSABLE","body":"eHh4"}}{"payload":`},
		{"POST", "/v1/call", `{"payload":`, 400, "thebodyisnotJSON"},
		{"POST", "/v1/call", `[1]`, 400, "bodymustbeatable"},
		{"GET", "/v1/aGVsbG8=/call?fill_username=maybe", "", 400, "fill_username:notaboolean"},
		{"GET", "/v1/other", "", 400, `failedtotranscode`},
		{"DELETE", "/v1/call", "", 400, `failedtotranscode`},
		{"OPTIONS", "/v1/call", "", 200, "OK"},
	} {
		status, header, answer := send(t, r, c.method, c.path, "application/json", c.body)
		if status != c.status || !strings.Contains(strings.ReplaceAll(answer, " ", ""), c.answer) || header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s %s: %d %s %v", c.method, c.path, c.body, status, answer, header)
		}
	}
	if status, _, _ := send(t, r, "POST", "/v1/call", "application/json", strings.Repeat(" ", 8<<20+1)); status != 413 {
		t.Errorf("a large body: %d", status)
	}
}

func TestGRPCWeb(t *testing.T) {
	r := interopRig(t, "grpc-web", schema.Record{"allow_origin_header": "https://a.example"})
	const unary, stream = "/grpc.testing.TestService/UnaryCall", "/grpc.testing.TestService/StreamingOutputCall"
	frame := func(flags byte, s string) string { return string(protofile.AppendFrame(nil, flags, []byte(s))) }
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	hello := frame(0, "\x1a\x04\x12\x02hi") // payload { body: "hi" }
	answer := frame(0, "\x12\x02hi\x22\x0cCOMPRESSABLE")
	fine := frame(0x80, "grpc-status:0\r\ngrpc-message:\r\n")
	for _, c := range []struct {
		name, path, kind, body string
		status                 int
		want                   string // of text forms, decoded
	}{
		{"binary", unary, "application/grpc-web+proto", hello, 200, answer + fine},
		{"text", unary, "application/grpc-web-text", b64(hello), 200, answer + fine},
		{"text in pieces", unary, "application/grpc-web-text+proto", b64(hello[:4]) + b64(hello[4:]), 200, answer + fine},
		{"status in the header", "/grpc.testing.TestService/EmptyCall", "application/grpc-web", frame(0, ""), 200,
			frame(0x80, "grpc-status:12\r\ngrpc-message:method EmptyCall not implemented\r\n")},
		{"status in the trailer", stream, "application/grpc-web", frame(0, "\x12\x02\x08\x01"), 200,
			frame(0, "\x0a\x03\x12\x01x") + frame(0x80, "grpc-status:8\r\ngrpc-message:no more\r\n")},
		{"no base64", unary, "application/grpc-web-text", "!!!", 400, "the request cannot be read: not base64"},
		{"no frame", unary, "application/grpc-web+json", "xx", 400, "the request cannot be read: " + protofile.ErrFrame.Error()},
		{"another type", unary, "text/plain", hello, 400, "transcoding requests require a .proto file defining the service"},
		{"unknown method", "/x/Y", "application/json", "{}", 400, `Unkown path "/x/Y"`},
		{"no message", unary, "application/json", "[]", 400, "the request cannot be read: not a grpc.testing.SimpleRequest"},
	} {
		status, header, got := send(t, r, "POST", c.path, c.kind, c.body)
		if status == 200 && strings.Contains(c.kind, "-text") {
			var whole []byte
			for piece := range strings.SplitAfterSeq(got, "=") { // each chunk has its own padding
				raw, _ := base64.RawStdEncoding.DecodeString(strings.TrimRight(piece, "="))
				whole = append(whole, raw...)
			}
			got = string(whole)
		}
		if status != c.status || got != c.want || header.Get("Access-Control-Allow-Origin") != "https://a.example" {
			t.Errorf("%s: %d %q %v\nwant %q", c.name, status, got, header, c.want)
		}
		if kind := header.Get("Content-Type"); status == 200 && kind != c.kind {
			t.Errorf("%s: %s", c.name, kind)
		}
	}
	if _, _, got := send(t, r, "POST", unary, "application/json", `{"payload":{"body":"aGk="}}`); !strings.Contains(strings.ReplaceAll(got, " ", ""), `"username":"hi"`) {
		t.Errorf("bare JSON: %s", got)
	}
	if _, _, got := send(t, r, "POST", unary, "application/grpc-web+json", frame(0, `{"payload":{"body":"aGk="}}`)); !strings.HasSuffix(got, fine) {
		t.Errorf("framed JSON: %q", got)
	}
	if status, header, _ := send(t, r, "OPTIONS", unary, "", ""); status != 200 || header.Get("Access-Control-Allow-Headers") != "content-type,x-grpc-web,x-user-agent" {
		t.Errorf("preflight: %d %v", status, header)
	}
}
