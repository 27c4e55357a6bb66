package awswire

import (
	"io"
	"net/http"
	"time"
)

// How slow a client may be. A body must arrive, and an answer be taken, at a kibibyte a
// second behind the first half minute; none may stand still for a minute.
const (
	paceGrace  = 30 * time.Second
	paceBytes  = 1 << 10 // a second
	paceStands = time.Minute
)

// pace sets the deadline of a connection by how far a transfer is, so that a client that
// stands still gives back what is held for it: buffers, places among the uploads, files.
type pace struct {
	set   func(time.Time) error
	began time.Time // the first step
	bytes int64
}

// next sets the deadline for the next step.
func (p *pace) next(now time.Time) {
	if p.began.IsZero() {
		p.began = now
	}
	slowest := p.began.Add(paceGrace + time.Duration(p.bytes/paceBytes)*time.Second)
	_ = p.set(earlier(now.Add(paceStands), slowest)) // a writer without deadlines has none
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

// pacedWriter is an answer under a pace.
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

// paced puts a request and its answer under a pace until done. The times are the
// machine's, as the deadlines are.
func paced(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
	control := http.NewResponseController(w)
	if r.Body != nil && r.Body != http.NoBody {
		r = r.WithContext(r.Context())
		r.Body = &pacedBody{r.Body, pace{set: control.SetReadDeadline}}
	}
	return &pacedWriter{w, pace{set: control.SetWriteDeadline}}, r, func() {
		_ = control.SetReadDeadline(time.Time{})  // the server sets its own for the next request
		_ = control.SetWriteDeadline(time.Time{}) // and none for its answer
	}
}
