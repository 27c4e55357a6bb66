// Package grpcgateway is the plugin grpc-gateway: it takes requests of HTTP with JSON for
// methods of an upstream's gRPC, as the google.api.http options of a .proto file bind them,
// and answers with the JSON form of what the upstream answers. An answer of one message is
// read as a whole, so that its gRPC status becomes the HTTP status; the messages of a stream
// go out one behind the other as they come.
package grpcgateway
