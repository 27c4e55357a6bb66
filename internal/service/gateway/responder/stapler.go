package responder

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/clock"
)

const (
	maxAsking  = 4
	maxKept    = 4096 // certificates
	askTimeout = 10 * time.Second
	// again is how long after a question that had no good answer the next one is sent, and
	// unlimited how long an answer counts that does not tell.
	again     = 5 * time.Minute
	unlimited = time.Hour
)

// Deps is what a Stapler needs from others.
type Deps struct {
	Clock clock.Clock
	Log   *slog.Logger
}

// Stapler has answers about certificates. Close it when no handshake uses it any more.
type Stapler struct {
	d      Deps
	client *http.Client
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup

	mu   sync.Mutex
	kept map[*tls.Certificate]*kept
}

// kept is what is known of one certificate.
type kept struct {
	stapled atomic.Pointer[stapled]
	next    atomic.Int64 // when to ask again, in seconds since 1970
	asking  atomic.Bool
}

type stapled struct {
	cert  *tls.Certificate
	until time.Time
}

// NewStapler returns a stapler without answers.
func NewStapler(d Deps) *Stapler {
	s := &Stapler{d: d, kept: map[*tls.Certificate]*kept{}, slots: make(chan struct{}, maxAsking),
		client: &http.Client{Transport: &http.Transport{MaxIdleConns: maxAsking, IdleConnTimeout: 30 * time.Second}}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends questions under way.
func (s *Stapler) Close() {
	s.cancel()
	s.wg.Wait()
	s.client.CloseIdleConnections()
}

// Staple returns a certificate with an answer about it, or as it is while there is none; it
// does not wait for one. The certificate must have its Leaf, and be the same at each call.
func (s *Stapler) Staple(c *tls.Certificate) *tls.Certificate {
	if c.Leaf == nil || len(c.Leaf.OCSPServer) == 0 || len(c.Certificate) < 2 {
		return c
	}
	k := s.of(c)
	now := s.d.Clock.Now()
	if now.Unix() >= k.next.Load() && !k.asking.Swap(true) {
		s.ask(c, k)
	}
	if st := k.stapled.Load(); st != nil && now.Before(st.until) {
		return st.cert
	}
	return c
}

func (s *Stapler) of(c *tls.Certificate) *kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[c]
	if k == nil {
		if len(s.kept) >= maxKept { // most are of certificates that were replaced since
			clear(s.kept)
		}
		k = new(kept)
		s.kept[c] = k
	}
	return k
}

// ask asks in the background, where there is room; else the next handshake tries.
func (s *Stapler) ask(c *tls.Certificate, k *kept) {
	select {
	case s.slots <- struct{}{}:
	default:
		k.asking.Store(false)
		return
	}
	s.wg.Go(func() {
		defer func() { <-s.slots; k.asking.Store(false) }()
		ctx, cancel := context.WithTimeout(s.ctx, askTimeout)
		defer cancel()
		a, err := s.answer(ctx, c)
		now := s.d.Clock.Now()
		if err != nil {
			k.next.Store(now.Add(again).Unix())
			if errors.Is(err, ErrRevoked) {
				k.stapled.Store(nil)
			}
			s.d.Log.Warn("no OCSP answer to staple", "certificate", c.Leaf.Subject.String(), "err", err)
			return
		}
		if a.Until.IsZero() {
			a.Until = now.Add(unlimited)
		}
		with := *c
		with.OCSPStaple = a.Raw
		k.stapled.Store(&stapled{&with, a.Until})
		// Halfway to its end a new one is asked for, so that a responder that is away for a
		// while is not missed.
		k.next.Store(now.Add(max(a.Until.Sub(now)/2, time.Minute)).Unix())
	})
}

func (s *Stapler) answer(ctx context.Context, c *tls.Certificate) (Answer, error) {
	issuer, err := x509.ParseCertificate(c.Certificate[1])
	if err != nil {
		return Answer{}, err
	}
	var a Answer
	for _, where := range c.Leaf.OCSPServer {
		if a, err = Ask(ctx, s.client, where, c.Leaf, issuer, s.d.Clock.Now()); err == nil || errors.Is(err, ErrRevoked) {
			break
		}
	}
	return a, err
}
