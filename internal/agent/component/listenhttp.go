package component

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/base/fault"
)

func listenHTTP() engine.Definition {
	return engine.Definition{
		Type: standard + "ListenHTTP", Description: "Takes requests by HTTP; each is a flow file. It answers 200 once the flow file is on the disk, and 503 while the agent is full.",
		Input: engine.InputForbidden,
		Properties: []engine.Property{
			{Name: "Base Path", Description: "Path that is served", Default: "contentListener", Required: true},
			{Name: "Listening Port", Required: true, Check: engine.Integer(0, 65535)},
			{Name: "Local Network Address", Description: "Address to listen on; every one if empty"},
			{Name: "SSL Context Service", Description: "Serves HTTPS with it", Service: sslAPI},
			{Name: "client-authentication", DisplayName: "Client Authentication", Description: "Whether clients need a certificate", Default: "AUTO",
				Allowed: []string{"AUTO", "WANT", "NEED", "REQUIRED", "NONE"}},
			{Name: "HTTP Headers to receive as Attributes (Regex)", Description: "Names of headers that become attributes", Check: engine.Regexp},
			{Name: "Return Code", Description: "Status of success", Default: "200", Check: engine.Integer(100, 599)},
			{Name: "Max Content Size", Description: "Longest body that is taken", Default: "64 MB", Check: engine.Size},
		},
		Relationships: []engine.Relationship{success},
		New: func(s *engine.Settings) (engine.Processor, error) {
			l := &listener{set: s, path: path.Join("/", s.Text("Base Path"))}
			if re := s.Text("HTTP Headers to receive as Attributes (Regex)"); re != "" {
				l.headers = regexp.MustCompile(`\A(?:` + re + `)\z`) // checked
			}
			return l, nil
		},
	}
}

type listener struct {
	set     *engine.Settings
	path    string
	headers *regexp.Regexp
	host    *engine.Host
	server  *http.Server
	done    chan struct{}
	slots   chan struct{}
}

// maxRequests are served at one time; more get 503.
const maxRequests = 256

// Start implements engine.Starter.
func (l *listener) Start(ctx context.Context, h *engine.Host) error {
	l.host, l.done, l.slots = h, make(chan struct{}), make(chan struct{}, maxRequests)
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(l.set.Text("Local Network Address"), l.set.Text("Listening Port")))
	if err != nil {
		return err
	}
	if ssl, ok := l.set.Service("SSL Context Service").(*sslContext); ok {
		ln = tls.NewListener(ln, ssl.server(l.set.Text("client-authentication")))
	}
	l.set.Log.Info("listening", "address", ln.Addr().String(), "path", l.path)
	l.server = &http.Server{Handler: http.HandlerFunc(l.serve), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 5 * time.Minute,
		IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	go func() {
		defer close(l.done)
		if err := l.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			l.set.Log.Error("the listener ended", "error", err)
		}
	}()
	return nil
}

// Stop implements engine.Stopper: requests at work are answered.
func (l *listener) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close() // cuts off who is too slow
	}
	<-l.done
}

// Trigger implements engine.Processor: the requests do the work.
func (l *listener) Trigger(_ context.Context, s *engine.Session) error {
	s.Yield()
	return nil
}

func (l *listener) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case path.Clean(r.URL.Path) != l.path:
		http.Error(w, "nothing is served here", http.StatusNotFound)
		return
	case r.Method == http.MethodHead:
		return
	case r.Method != http.MethodPost && r.Method != http.MethodPut:
		w.Header().Set("Allow", "HEAD, POST, PUT")
		http.Error(w, "POST is expected", http.StatusMethodNotAllowed)
		return
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		busy(w)
		return
	}
	if !l.host.Accepting() {
		busy(w)
		return
	}
	s := l.host.Session()
	err := l.take(s, w, r)
	if err == nil {
		err = s.Commit()
	}
	if err == nil {
		w.WriteHeader(l.set.Int("Return Code"))
		return
	}
	s.Rollback(false)
	l.refuse(w, err)
}

func busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "the agent is full: try again later", http.StatusServiceUnavailable)
}

func (l *listener) refuse(w http.ResponseWriter, err error) {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large), engine.TooLarge.Is(err):
		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
	case fault.KindOf(err) == fault.Exhausted, engine.Ended.Is(err):
		busy(w)
	default:
		l.set.Log.Warn("a request could not be taken", "error", err)
		http.Error(w, "the request could not be taken", http.StatusInternalServerError)
	}
}

func (l *listener) take(s *engine.Session, w http.ResponseWriter, r *http.Request) error {
	f := s.Create()
	body := http.MaxBytesReader(w, r.Body, l.set.Size("Max Content Size"))
	err := s.Write(f, func(w io.Writer) error {
		_, err := io.Copy(w, body)
		return err
	})
	if err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(r.RemoteAddr) // the server wrote it
	f.Attributes["restlistener.remote.source.host"] = host
	f.Attributes["restlistener.remote.source.port"] = port
	f.Attributes["restlistener.request.uri"] = r.URL.Path
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		f.Attributes["restlistener.remote.user.dn"] = r.TLS.PeerCertificates[0].Subject.String()
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		f.Attributes[engine.AttrMime] = t
	}
	if name := r.Header.Get("filename"); name != "" && path.Base(name) == name {
		f.Attributes[engine.AttrFilename] = name
	}
	for name, values := range r.Header {
		if l.headers != nil && l.headers.MatchString(name) {
			f.Attributes[name] = values[0]
		}
	}
	f.Attributes["http.content.length"] = strconv.FormatInt(f.Size(), 10)
	s.Transfer(f, success.Name)
	return nil
}
