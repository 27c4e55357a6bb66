package awswire

import (
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
)

// Protocol is one of the forms in which AWS APIs put operations on the wire.
type Protocol uint8

// The protocols spoken.
const (
	Query    Protocol = iota + 1 // form in, XML out
	EC2                          // Query with EC2's names, lists and errors
	JSON10                       // X-Amz-Target and JSON, application/x-amz-json-1.0
	JSON11                       // the same, 1.1
	RestJSON                     // method and path name the operation; JSON bodies
	RestXML                      // method and path name the operation; XML bodies
	S3                           // RestXML with S3's hosts, errors, ids and payload signatures
)

// codec translates between Go values and messages, in both directions. Values are structs,
// given as addressable reflect.Values of the types that awsgen writes.
type codec interface {
	writeRequest(a *API, op *Op, in reflect.Value, m *message) error
	readRequest(a *API, op *Op, m *message, in reflect.Value) error
	writeAnswer(a *API, op *Op, out reflect.Value, m *message) error
	readAnswer(a *API, op *Op, m *message, out reflect.Value) error
	writeError(a *API, e *Error, m *message)
	readError(m *message) *Error
}

// codecs is the table of protocols; a new one is one entry here and one case in route.
var codecs = map[Protocol]codec{
	Query:    queryCodec{},
	EC2:      queryCodec{ec2: true},
	JSON10:   jsonCodec{version: "1.0"},
	JSON11:   jsonCodec{version: "1.1"},
	RestJSON: restCodec{body: restJSON{}},
	RestXML:  restCodec{body: restXML{}},
	S3:       restCodec{body: restXML{s3: true}},
}

// message is a request or an answer as codecs see it, apart from connections.
type message struct {
	// of a request
	method string
	path   string            // escaped
	labels map[string]string // what the route took from the path, unescaped
	query  url.Values

	// of an answer
	status    int
	requestID string
	resource  string // path of the request, for S3's errors

	header http.Header
	body   []byte
	stream io.Reader // in place of body, where the operation streams
}

func newMessage() *message {
	return &message{header: http.Header{}, query: url.Values{}, status: http.StatusOK}
}

// setEntry sets a header that is an entry of a map. Clients take the key of the entry from the header of
// an answer as it stands, so there it is in lower case, as S3 writes it; that of a request is
// read without regard to case.
func (m *message) setEntry(name, value string) {
	if m.method == "" {
		m.header[strings.ToLower(name)] = []string{value}
	} else {
		m.header.Set(name, value)
	}
}
