// Package grpcweb is the plugin grpc-web: it takes gRPC-Web from browsers, in binary or as
// base64 text, and speaks gRPC to the upstream. With a .proto file messages may also be JSON,
// framed or, for application/json, bare. Trailers come back as a last frame of the body.
package grpcweb
