package websession

import (
	"context"
	"errors"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Config is what a Keeper is made of.
type Config struct {
	Cookie   Cookie
	Secret   string
	Audience string
	Timeouts Timeouts
	// StaleTTL is how long a stored session that was issued anew can be used by its old cookie.
	StaleTTL time.Duration
	// Remember describes the cookie that outlives the browser; nil for none.
	Remember         *Cookie
	RememberTimeouts Timeouts
	// Stored keeps the data in the collection sessions.
	Stored bool

	Clock     clock.Clock
	Directory gateway.Directory
	Records   gateway.Records
}

// Keeper opens and keeps sessions.
type Keeper struct {
	Config
	main, remember *jar // remember is nil where there is none
}

// NewKeeper returns a keeper. The secret must not be empty.
func NewKeeper(c Config) (*Keeper, error) {
	if c.Secret == "" {
		return nil, errors.New("sessions need a secret")
	}
	s, err := newSealer(c.Secret)
	if err != nil {
		return nil, err
	}
	k := &Keeper{Config: c}
	k.main = &jar{keeper: k, sealer: s, cookie: c.Cookie, timeouts: c.Timeouts}
	if c.Remember != nil {
		k.remember = &jar{keeper: k, sealer: s, cookie: *c.Remember, timeouts: c.RememberTimeouts, lasting: true}
	}
	return k, nil
}

// Session is one browser's session.
type Session struct {
	main     *ticket
	remember *ticket // nil where there is none
	unsaved  bool    // main has not been issued yet
	ended    bool    // it counts no more, and the client has to be told
	written  bool    // the answer has the cookies
	came     gateway.Header
}

// Subject returns who the session is of.
func (s *Session) Subject() string { return s.main.subject }

// Data returns what the session holds. It must not be changed.
func (s *Session) Data() []byte { return s.main.data }

// Ended reports whether the session was destroyed.
func (s *Session) Ended() bool { return s.ended }

// ID returns the session's id, which opens nothing by itself.
func (s *Session) ID() string { return s.main.name() }

// Replace sets what the session holds; it is issued anew.
func (s *Session) Replace(subject string, data []byte) {
	s.main.hold(subject, data)
	s.unsaved = true
	if s.remember != nil {
		s.remember.hold(subject, data)
	}
}

// Open returns the session that a request brings, nil for none, and takes its cookies out
// of the request.
func (k *Keeper) Open(x *gateway.Exchange) *Session {
	h := &x.Request.Header
	if h.Get("Cookie") == "" {
		return nil
	}
	s := &Session{main: k.main.read(x)}
	if k.remember != nil {
		if s.remember = k.remember.read(x); s.main == nil && s.remember != nil {
			s.main, s.unsaved = newTicket(s.remember.subject, s.remember.data, k.now()), true
		}
	}
	for _, f := range h.Fields() { // to know which pieces the browser has
		if gateway.EqualFold(f.Name, "Cookie") {
			s.came.Add("Cookie", f.Value)
		}
	}
	k.main.cookie.strip(h)
	if k.remember != nil {
		k.remember.cookie.strip(h)
	}
	if s.main == nil {
		return nil
	}
	return s
}

// Start begins a session. It is the client's once Write has told it.
func (k *Keeper) Start(subject string, data []byte) *Session {
	return &Session{main: newTicket(subject, data, k.now()), unsaved: true}
}

// Write tells the client what it has to keep, where that differs from what it has: it
// belongs into the phase of the answer's head. An error says that the session was not kept.
func (k *Keeper) Write(x *gateway.Exchange, s *Session) error {
	if s.written {
		return nil
	}
	s.written = true
	if s.ended {
		k.main.cookie.clear(&x.Response.Header, &s.came, 0)
		if k.remember != nil {
			k.remember.cookie.clear(&x.Response.Header, &s.came, 0)
		}
		return nil
	}
	if k.remember != nil {
		fresh := s.remember == nil
		if fresh {
			s.remember = newTicket(s.main.subject, s.main.data, k.now())
		}
		if err := k.remember.renew(x, s, s.remember, fresh || s.unsaved, fresh); err != nil {
			return err
		}
	}
	return k.main.renew(x, s, s.main, s.unsaved, true)
}

// Forget lets the client forget a session, without anything against copies of it. Write
// tells it.
func (k *Keeper) Forget(s *Session) { s.ended = true }

// Destroy ends a session: its cookies open nothing any more. Write tells the client to
// forget them.
func (k *Keeper) Destroy(ctx context.Context, s *Session) error {
	s.ended = true
	err := k.main.end(ctx, s.main)
	if k.remember != nil && s.remember != nil {
		err = errors.Join(err, k.remember.end(ctx, s.remember))
	}
	return err
}

func (k *Keeper) now() int64 { return k.Clock.Now().Unix() }

// jar keeps the tickets of one cookie.
type jar struct {
	keeper   *Keeper
	sealer   sealer
	cookie   Cookie
	timeouts Timeouts
	lasting  bool // the browser keeps it when it ends
}

func (j *jar) bound() string { return j.cookie.Name + "\x00" + j.keeper.Audience }

// read returns the ticket that a request brings, nil where there is none that counts.
func (j *jar) read(x *gateway.Exchange) *ticket {
	text, ok := j.cookie.read(&x.Request.Header)
	if !ok {
		return nil
	}
	plain, ok := j.sealer.open(text, j.bound())
	if !ok {
		return nil
	}
	t, ok := unmarshal(plain)
	if !ok {
		return nil
	}
	if _, _, _, all := j.timeouts.left(t, j.keeper.now()); all == 0 {
		return nil
	}
	kept, found := j.keeper.Directory.ByUnique(Collection, "session_id", t.name())
	sealed, holds := kept["data"].(string)
	switch {
	case !j.keeper.Stored && !found:
		return t
	case !j.keeper.Stored || !holds:
		return nil // it was ended
	}
	if t.data, ok = j.sealer.open(sealed, t.name()); !ok {
		return nil
	}
	return t
}

// renew brings a ticket up to date, and tells the client where something changed. fresh
// says that it is to be issued in any case, first that the client has none yet.
func (j *jar) renew(x *gateway.Exchange, s *Session, t *ticket, fresh, first bool) error {
	now := j.keeper.now()
	idling, rolling, _, _ := j.timeouts.left(t, now)
	due := rolling >= 0 && rolling <= j.timeouts.Rolling/4
	switch {
	case fresh || due:
		old := *t
		t.issued, t.touched = now, now
		if j.keeper.Stored {
			if err := j.store(x.Context(), t, &old, due || !first); err != nil {
				return err
			}
		}
	case idling >= 0 && j.timeouts.Idling-idling >= min(time.Minute, j.timeouts.Idling/4):
		t.touched = now
		if j.keeper.Stored && j.timeouts.Rolling == 0 && j.timeouts.Absolute == 0 {
			if err := j.touch(x.Context(), t); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	told := *t
	if j.keeper.Stored {
		told.data = nil
	}
	var keep time.Duration
	if _, _, _, all := j.timeouts.left(t, now); j.lasting && all > 0 {
		keep = all
	}
	text := j.sealer.seal(told.marshal(), j.bound())
	if !j.cookie.write(&x.Response.Header, text, keep) {
		return errors.New("the session is too large for cookies")
	}
	j.cookie.clear(&x.Response.Header, &s.came, (len(text)+maxPiece-1)/maxPiece)
	return nil
}

// store keeps a ticket's data under a new id. What was kept under its old id can be used
// for a moment more, by requests that are under way.
func (j *jar) store(ctx context.Context, t, old *ticket, replaces bool) error {
	k := j.keeper
	*t = ticket{id: newTicket("", nil, 0).id, created: t.created, issued: t.issued, touched: t.touched, subject: t.subject, data: t.data}
	r := schema.Record{"session_id": t.name(), "data": j.sealer.seal(t.data, t.name())}
	if life := j.life(); life > 0 {
		r["ttl"], r["expires"] = life.Seconds(), float64(k.now())+life.Seconds()
	}
	_, err := k.Records.Create(ctx, Collection, r)
	if err != nil || !replaces {
		return err
	}
	if was, ok := k.Directory.ByUnique(Collection, "session_id", old.name()); ok {
		id, _ := was["id"].(string)
		if k.StaleTTL < time.Second {
			_, err = k.Records.Delete(ctx, Collection, id)
			return err
		}
		end := k.now() + int64(k.StaleTTL/time.Second)
		_, err = k.Records.Update(ctx, Collection, id, schema.Record{"ttl": float64(end - k.now()), "expires": float64(end)})
	}
	return err
}

// life is how long a record of a ticket issued now is kept. Being used does not prolong it
// where another time-out bounds it, so that it need not be written then.
func (j *jar) life() time.Duration {
	switch o := j.timeouts; {
	case o.Rolling > 0:
		return o.Rolling
	case o.Absolute > 0:
		return o.Absolute
	default:
		return o.Idling
	}
}

// touch prolongs the record of a ticket that only idling ends.
func (j *jar) touch(ctx context.Context, t *ticket) error {
	was, ok := j.keeper.Directory.ByUnique(Collection, "session_id", t.name())
	if !ok {
		return nil
	}
	id, _ := was["id"].(string)
	life := j.life().Seconds()
	_, err := j.keeper.Records.Update(ctx, Collection, id, schema.Record{"ttl": life, "expires": float64(j.keeper.now()) + life})
	return err
}

// end keeps a ticket from being used again.
func (j *jar) end(ctx context.Context, t *ticket) error {
	k := j.keeper
	if k.Stored {
		was, ok := k.Directory.ByUnique(Collection, "session_id", t.name())
		if !ok {
			return nil
		}
		id, _ := was["id"].(string)
		_, err := k.Records.Delete(ctx, Collection, id)
		return err
	}
	if _, ended := k.Directory.ByUnique(Collection, "session_id", t.name()); ended {
		return nil
	}
	// No copy of the ticket was issued later than now, so none counts for longer than this.
	r := schema.Record{"session_id": t.name()}
	if life := j.life(); life > 0 {
		r["ttl"], r["expires"] = life.Seconds(), float64(k.now())+life.Seconds()
	}
	_, err := k.Records.Create(ctx, Collection, r)
	return err
}
