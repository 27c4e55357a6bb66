// Package awswire speaks the wire of the AWS APIs: protocols, signatures, dispatch, errors.
// It knows no service. One handler serves all of them on one port, as AWS clients with a
// single endpoint URL expect.
//
// # Writing a front
//
// A front is a package beside this one. Its ops.txt lists the operations it serves; awsgen makes
// shapes_gen.go of it, with a struct for every request and answer, the interface Operations,
// and Service, which binds an implementation to the wire. What remains to be written is one
// method per operation and two tables:
//
//	type front struct{ streams *streams.Service }
//
//	var _ Operations = front{}
//
//	// New returns the Kinesis API over s.
//	func New(s *streams.Service) awswire.Service {
//		svc := Service(front{s})
//		svc.Resources, svc.Codes = resources, codes
//		return svc
//	}
//
//	func (f front) DeleteStream(ctx context.Context, in *DeleteStreamInput) (*DeleteStreamOutput, error) {
//		if err := f.streams.Delete(ctx, *in.StreamName); err != nil {
//			return nil, err
//		}
//		return &DeleteStreamOutput{}, nil
//	}
//
//	// resources.go: the actions each operation puts to the authoriser
//	var resources = map[string][]name.Action{
//		"DeleteStream":      {"kinesis:DeleteStream"},
//		"GetCallerIdentity": {}, // a valid signature is enough
//	}
//
//	// codes.go: what the service's reasons are called on this wire
//	var codes = map[*fault.Reason]awswire.Code{
//		streams.NoStream: {Code: "ResourceNotFoundException", Status: 400},
//	}
//
// Members that may be absent are pointers, slices or maps. An input has passed the
// constraints of its model before a method sees it: a required member is not nil. Some
// patterns of the models cannot be checked here and are left to the service; the generated
// source marks them.
//
// Errors are those of package fault. A reason without an entry in Codes is answered with what the
// protocol says for its kind; an error without a reason is logged and answered as an
// internal failure, without its text. A fault that only the wire knows may be an *Error.
//
// The context carries caller.Identity, caller.Request and a caller.Ledger. When a method has
// succeeded, the ledger must show every action of the operation's row; a call that was served
// without its check is answered as an internal failure and logged, never as a success. An
// operation without a row is refused before it is called.
//
// A streaming request has a Body, which is never nil. Its Read returns io.EOF only once
// length, hash, checksums and signatures of the content are verified, and an error otherwise,
// which the method returns, wrapped or not. A method that succeeds without having read the
// Body to io.EOF is answered as an internal failure. After io.EOF, Body.Checksums has the
// digests the client sent, those in trailers included. A streaming answer has an
// io.ReadCloser, which awswire closes. An S3 answer with ContentRange has the status 206.
//
// # The pipeline
//
// serve.go lists the stages of a call in order. Everything a client sends is bounded: headers, path,
// parameters, nesting, each body, and the bodies held in memory at one time.
//
// # Tags
//
// A struct tag of a member is aws:"wirename,option,…". Options: required; header, prefix (a map of
// headers that begin with the wire name), query, uri, status (places other than the body);
// payload (the member is the whole body); flat (items stand among their siblings); attr (an XML
// attribute); idem (clients fill it with a random token); secret (never shown in messages). Beside
// it stand
//
//	len:"1,128" range:"1," pattern:"…" enum:"A|B"   what the value must satisfy
//	time:"iso8601|http|unix"                        where it is not the usual of the place
//	ns:"uri" or ns:"prefix=uri"                     an XML namespace
//	ec2:"Name"                                      the name in an ec2 query
//	item:"Name" key:"Name" value:"Name"             of a list's items and a map's entries
//
// and the same for the items, keys and values themselves with item., key. or value. before
// the word, at any depth. Without an aws tag a member's wire name is its Go name.
//
// # Signatures
//
// Signature Version 4 in the Authorization header or in the query (presigned URLs), with S3's
// payload forms: a hash, UNSIGNED-PAYLOAD, and aws-chunked bodies with signed or unsigned
// chunks and trailers. The host and every x-amz- header must be signed. Clocks may differ by
// fifteen minutes. Signer makes the same signatures, and Client calls with them.
//
// # What it does not do
//
// Event streams, CBOR, Signature Version 4A and the older ones, browser uploads by POST to S3. It
// authorises nothing: services do, and awswire checks that they did.
package awswire
