package awswire

import (
	"context"
	"net/http"
	"reflect"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
)

// API is what a service looks like on the wire. awsgen writes one per front.
type API struct {
	Name            string     // the front's package: kinesis
	Signing         string     // the service in a credential scope
	Version         string     // the API version, by which query clients name the API
	Protocols       []Protocol // those accepted; Client speaks the first
	Target          string     // what stands before the dot of X-Amz-Target
	Namespace       string     // of XML answers
	QueryCompatible bool       // JSON errors also tell the code that query clients know
	Ops             []Op       // served
	Unserved        []Op       // REST operations that exist and are not served
}

// Op is the wire of one operation. What its shapes say is in their struct tags.
type Op struct {
	Name     string
	Method   string // default POST
	URI      string // default /; {Label} is one segment of the path, {Label+} the rest of it
	Needs    string // what else a REST request must carry: ?parameter and header names
	Status   int    // of a success; default 200
	In       string // root element of the request
	InNS     string // namespace of the root element of the request
	Out      string // query: the element around the result; rest-xml: the root element of the answer
	Checksum bool   // S3: the body must come with a checksum
}

func (o *Op) method() string { return orElse(o.Method, "POST") }
func (o *Op) uri() string    { return orElse(o.URI, "/") }

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// op returns the served operation of that name, or nil.
func (a *API) op(name string) *Op {
	for i := range a.Ops {
		if a.Ops[i].Name == name {
			return &a.Ops[i]
		}
	}
	return nil
}

// Service is a front: an API, the implementation of its operations, what they must be
// authorised for, and how the reasons of the service below are called on the wire.
type Service struct {
	API      *API
	Handlers []Handler

	// Resources lists for every operation the actions that it must put to the authoriser. An
	// empty list that is not nil says that a valid signature is enough. An operation
	// without an entry is refused.
	Resources map[string][]name.Action

	// Codes names the reasons that the API has an own code for; others fall back to what the
	// protocol says for their kind.
	Codes map[*fault.Reason]Code

	// Elements says, by error code, which member of the request S3's error document repeats: the name of
	// the XML element and that of the member (S3 API reference, "Error responses").
	Elements map[string]Element

	// Elsewhere, if not nil, gets every request to the API as it came, to pass it on to the
	// node that serves it, which authenticates it. Nothing else of the Service is used then,
	// but API and Codes to answer with the error that Elsewhere returns.
	Elsewhere func(w http.ResponseWriter, r *http.Request) error
}

// Element is an XML element of an error document that repeats a member of the request.
type Element struct {
	Name   string // BucketName
	Member string // Bucket
}

// Code is an error code of an API with its HTTP status.
type Code struct {
	Code   string
	Status int
	Query  string // what query clients know it as, where that differs
}

// Handler is one operation with its types erased.
type Handler struct {
	name    string
	in, out reflect.Type
	call    func(ctx context.Context, in any) (any, error)
}

// Do makes a Handler of a method of a front's Operations.
func Do[I, O any](name string, f func(context.Context, *I) (*O, error)) Handler {
	return Handler{
		name: name,
		in:   reflect.TypeFor[I](),
		out:  reflect.TypeFor[O](),
		call: func(ctx context.Context, in any) (any, error) {
			out, err := f(ctx, in.(*I))
			if err != nil {
				return nil, err
			}
			if out == nil {
				out = new(O)
			}
			return out, nil
		},
	}
}
