package efm

import (
	"encoding/json"
	"net/http"
	"strings"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge"
)

// Config says where the front is.
type Config struct {
	// Context is the path that all of EFM's are under, such as /efm.
	Context string
	// Origins are of web pages that may use the API beside those of its own host.
	Origins []string
}

// Deps is what the front works with.
type Deps struct {
	Edge *edge.Service
	// Identify returns a request with who sends it in its context.
	Identify func(r *http.Request) (*http.Request, error)
	// Fingerprint is the SHA-256, in hex, of the certificate that an agent which enrols knows
	// this node by; "" if every machine trusts the node's, or it has none. nil: it has none.
	Fingerprint func() string
	// Fail answers with an error.
	Fail func(w http.ResponseWriter, err error)
}

var (
	badRequest = &fault.Reason{Kind: fault.Invalid, Name: "InvalidRequest"}
	badType    = &fault.Reason{Kind: fault.Invalid, Name: "UnsupportedMediaType"}
	crossSite  = &fault.Reason{Kind: fault.Denied, Name: "CrossSiteRequest"}
	noSuchPath = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchPath"}
	tooLarge   = &fault.Reason{Kind: fault.TooLarge, Name: "BodyTooLarge"}
)

// front serves the operations of the table.
type front struct {
	cfg    Config
	deps   Deps
	origin *http.CrossOriginProtection
	spec   []byte
}

// New returns the handler of {context}/api.
func New(c Config, d Deps) (http.Handler, error) {
	f := &front{cfg: c, deps: d, origin: http.NewCrossOriginProtection()}
	for _, o := range c.Origins {
		if err := f.origin.AddTrustedOrigin(strings.TrimSuffix(o, "/")); err != nil {
			return nil, err
		}
	}
	table := f.table()
	var err error
	if f.spec, err = document(c.Context+"/api", table); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, o := range table {
		mux.HandleFunc(o.method+" "+c.Context+"/api"+o.path, f.handler(o))
	}
	mux.HandleFunc(c.Context+"/api/", func(w http.ResponseWriter, r *http.Request) {
		d.Fail(w, noSuchPath.New("there is no %s %.200s: see %s/api/openapi.json", r.Method, r.URL.Path, c.Context))
	})
	return mux, nil
}

// table lists all operations.
func (f *front) table() []operation {
	var all []operation
	for _, part := range [][]operation{f.classes(), f.agents(), f.orders(), f.designer(), f.publishing(), f.resources()} {
		all = append(all, part...)
	}
	return append(all, on("GET", "/openapi.json", "The document of these operations", "about", func(*call, none) (any, error) {
		return content{media: "application/json", text: f.spec}, nil
	}).gives("application/json"))
}

// handler serves one operation.
func (f *front) handler(o operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := f.answer(o, w, r)
		if err == nil {
			if c, ok := out.(content); ok {
				err = c.send(w)
			} else if o.status == http.StatusNoContent {
				w.WriteHeader(o.status)
			} else {
				write(w, o.status, out)
			}
		}
		if err != nil {
			f.deps.Fail(w, err)
		}
	}
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if it fails
}

func (f *front) answer(o operation, w http.ResponseWriter, r *http.Request) (any, error) {
	if err := f.origin.Check(r); err != nil {
		return nil, crossSite.New("the request comes from another site")
	}
	r, err := f.deps.Identify(r)
	if err != nil {
		return nil, err
	}
	c := &call{Request: r, op: &o}
	if err := c.readQuery(); err != nil {
		return nil, err
	}
	if err := c.checkType(); err != nil {
		return nil, err
	}
	r.Body = http.MaxBytesReader(w, r.Body, o.limit)
	return o.serve(c)
}
