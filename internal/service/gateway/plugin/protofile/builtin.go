package protofile

import (
	"io"
	"strings"
)

// builtIn are the files of google.api that bindings need, reduced to what is read of them.
var builtIn = map[string]func() io.ReadCloser{
	"google/api/annotations.proto": text(`syntax = "proto3";
package google.api;
import "google/api/http.proto";
import "google/protobuf/descriptor.proto";
extend google.protobuf.MethodOptions { HttpRule http = 72295728; }
`),
	"google/api/http.proto": text(`syntax = "proto3";
package google.api;
message Http { repeated HttpRule rules = 1; bool fully_decode_reserved_expansion = 2; }
message HttpRule {
  string selector = 1;
  oneof pattern {
    string get = 2; string put = 3; string post = 4; string delete = 5; string patch = 6;
    CustomHttpPattern custom = 8;
  }
  string body = 7;
  string response_body = 12;
  repeated HttpRule additional_bindings = 11;
}
message CustomHttpPattern { string kind = 1; string path = 2; }
`),
}

func text(src string) func() io.ReadCloser {
	return func() io.ReadCloser { return io.NopCloser(strings.NewReader(src)) }
}
