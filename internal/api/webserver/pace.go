package webserver

import (
	"io"
	"net/http"
	"time"
)

// Rate is how fast a client must be, in bytes a second.
type Rate int64

// The rates of bodies.
const (
	// Streaming is of bodies that go straight to the disk, and of responses.
	Streaming Rate = 1 << 10
	// Buffered is of bodies that are read into memory before anything is known of their sender.
	Buffered Rate = 64 << 10
)

// How slow a client may be: grace passes before its rate counts, and none may stand still for longer than stall.
const (
	grace = 30 * time.Second
	stall = time.Minute
)

// pace sets the deadline of a connection by how far a transfer is, so that a client that
// stands still gives back what is held for it: buffers, places among the uploads, files.
type pace struct {
	set   func(time.Time) error
	rate  Rate
	began time.Time // the first step
	bytes int64
}

// next sets the deadline for the next step.
func (p *pace) next(now time.Time) {
	if p.began.IsZero() {
		p.began = now
	}
	slowest := p.began.Add(grace + time.Duration(p.bytes/int64(p.rate))*time.Second)
	_ = p.set(earlier(now.Add(stall), slowest)) // a writer without deadlines has none
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// pacedBody is a request's body under a pace.
type pacedBody struct {
	io.ReadCloser
	pace
}

func (b *pacedBody) Read(p []byte) (int, error) {
	b.next(time.Now())
	n, err := b.ReadCloser.Read(p)
	b.bytes += int64(n)
	if err != nil {
		_ = b.set(time.Time{}) // from here on the server watches whether the client is there, for as long as the call takes
	}
	return n, err
}

// pacedWriter is a response under a pace.
type pacedWriter struct {
	http.ResponseWriter
	pace
}

func (w *pacedWriter) Write(p []byte) (int, error) {
	w.next(time.Now())
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Paced puts a request's body and its response under a pace until done. The times are the
// machine's, as the deadlines are.
func Paced(w http.ResponseWriter, r *http.Request, body Rate) (http.ResponseWriter, *http.Request, func()) {
	control := http.NewResponseController(w)
	if r.Body != nil && r.Body != http.NoBody {
		r = r.WithContext(r.Context())
		r.Body = &pacedBody{r.Body, pace{set: control.SetReadDeadline, rate: body}}
	}
	return &pacedWriter{w, pace{set: control.SetWriteDeadline, rate: Streaming}}, r, func() {
		_ = control.SetReadDeadline(time.Time{})  // the server sets its own for the next request
		_ = control.SetWriteDeadline(time.Time{}) // and none for its response
	}
}

// SetRate changes the rate of a body of Paced.
func SetRate(body io.ReadCloser, rate Rate) {
	if b, ok := body.(*pacedBody); ok {
		b.rate = rate
	}
}
