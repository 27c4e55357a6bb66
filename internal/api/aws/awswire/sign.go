package awswire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signer signs requests with one key.
type Signer struct {
	AccessKeyID  string
	Secret       string
	SessionToken string // of temporary keys
	Region       string
	Service      string // as a credential scope names it
}

func (s Signer) scope(t time.Time) scope {
	return scope{key: s.AccessKeyID, date: t.UTC().Format("20060102"), region: s.Region, service: s.Service}
}

// Sign adds the headers that authenticate r, which carries body, at the time t.
func (s Signer) Sign(r *http.Request, body []byte, t time.Time) {
	s.sign(r, hexHash(body), t)
}

// sign signs r with a payload hash, or with what stands for one, and returns key and
// signature, from which chunk signatures go on.
func (s Signer) sign(r *http.Request, payload string, t time.Time) (key []byte, signature string) {
	r.Header.Set("X-Amz-Date", t.UTC().Format(dateForm))
	if s.SessionToken != "" {
		r.Header.Set("X-Amz-Security-Token", s.SessionToken)
	}
	if s.Service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", payload)
	}
	c := s.canonical(r, payload)
	c.signed = signable(r.Header)
	sc := s.scope(t)
	key = sc.signingKey(s.Secret)
	signature = sign(key, stringToSign(t, sc, c.hash()))
	r.Header.Set("Authorization", algorithm+" Credential="+s.AccessKeyID+"/"+sc.String()+
		", SignedHeaders="+strings.Join(c.signed, ";")+", Signature="+signature)
	return key, signature
}

// Presign returns the URL of r signed for expires from t on, for whoever holds it.
func (s Signer) Presign(r *http.Request, t time.Time, expires time.Duration) string {
	u := *r.URL
	q := u.Query()
	q.Set("X-Amz-Algorithm", algorithm)
	q.Set("X-Amz-Credential", s.AccessKeyID+"/"+s.scope(t).String())
	q.Set("X-Amz-Date", t.UTC().Format(dateForm))
	q.Set("X-Amz-Expires", strconv.FormatInt(int64(expires/time.Second), 10))
	q.Set("X-Amz-SignedHeaders", "host")
	if s.SessionToken != "" {
		q.Set("X-Amz-Security-Token", s.SessionToken)
	}
	payload := emptyHash
	if s.Service == "s3" {
		payload = unsignedPayload
	}
	c := s.canonical(r, payload)
	c.query, c.signed = q, []string{"host"}
	sc := s.scope(t)
	q.Set("X-Amz-Signature", sign(sc.signingKey(s.Secret), stringToSign(t, sc, c.hash())))
	u.RawQuery = q.Encode()
	return u.String()
}

func (s Signer) canonical(r *http.Request, payload string) *canonical {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	return &canonical{
		method: r.Method, path: r.URL.EscapedPath(), query: r.URL.Query(), header: r.Header, host: host,
		length: r.ContentLength, s3: s.Service == "s3", payload: payload,
	}
}

// signable returns the headers worth signing: all but those that proxies and transports change.
func signable(h http.Header) []string {
	names := []string{"host"}
	for k := range h {
		switch k = strings.ToLower(k); k {
		case "authorization", "user-agent", "expect", "connection", "transfer-encoding", "x-amzn-trace-id", "content-length", "accept-encoding":
		default:
			names = append(names, k)
		}
	}
	slices.Sort(names)
	return names
}

// chunkSize is how much of a stream one chunk signature covers.
const chunkSize = 64 << 10

// chunkWriter frames content as STREAMING-AWS4-HMAC-SHA256-PAYLOAD: every chunk is signed on top
// of the one before, so a stream needs to be read only once.
type chunkWriter struct {
	src      io.Reader
	key      []byte
	date     string
	scope    scope
	previous string
	out      bytes.Buffer
	buf      []byte
	done     bool
}

func newChunkWriter(src io.Reader, key []byte, t time.Time, s scope, seed string) *chunkWriter {
	return &chunkWriter{src: src, key: key, date: t.UTC().Format(dateForm), scope: s, previous: seed, buf: make([]byte, chunkSize)}
}

// Read produces the framed stream.
func (w *chunkWriter) Read(p []byte) (int, error) {
	for w.out.Len() == 0 {
		if w.done {
			return 0, io.EOF
		}
		n, err := io.ReadFull(w.src, w.buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		if n > 0 {
			w.chunk(w.buf[:n])
		}
		if err != nil {
			w.chunk(nil)
			w.done = true
		}
	}
	return w.out.Read(p)
}

func (w *chunkWriter) chunk(data []byte) {
	sum := sha256.Sum256(data)
	w.previous = sign(w.key, chunkToSign(w.date, w.scope, w.previous, hex.EncodeToString(sum[:])))
	w.out.WriteString(strconv.FormatInt(int64(len(data)), 16) + ";chunk-signature=" + w.previous + "\r\n")
	w.out.Write(data)
	w.out.WriteString("\r\n")
}

// framedLength returns the length of n bytes in chunkWriter's frames.
func framedLength(n int64) int64 {
	frame := func(size int64) int64 {
		return int64(len(strconv.FormatInt(size, 16))) + int64(len(";chunk-signature=")) + 64 + 4 + size
	}
	total := n / chunkSize * frame(chunkSize)
	if rest := n % chunkSize; rest > 0 {
		total += frame(rest)
	}
	return total + frame(0)
}

// chunkToSign returns what the signature of a chunk covers.
func chunkToSign(date string, s scope, previous, hash string) string {
	return algorithm + "-PAYLOAD\n" + date + "\n" + s.String() + "\n" + previous + "\n" + emptyHash + "\n" + hash
}

// trailerToSign returns what the signature of the trailers covers.
func trailerToSign(date string, s scope, previous, hash string) string {
	return algorithm + "-TRAILER\n" + date + "\n" + s.String() + "\n" + previous + "\n" + hash
}
