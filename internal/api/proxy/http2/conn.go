package http2

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	wire "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Config bounds a connection.
type Config struct {
	Streams      int           // at a time, whatever more the peer would allow
	Window       int           // bytes of a stream's body that are held for its reader
	HeaderList   int           // bytes of a head, as RFC 9113 section 6.5.2 counts them
	WriteTimeout time.Duration // for one write to the connection
}

// Bounds that are nobody's to choose.
const (
	readBuffer     = 8 << 10   // what is larger is read past it
	maxIdleOut     = 16 << 10  // kept of a buffer to write while there are no streams
	connWindow     = 1 << 20   // received and not yet given credit for, of all streams
	maxOut         = 128 << 10 // waiting to be written, above which streams wait
	maxForcedOut   = 1 << 20   // waiting to be written, above which the connection ends
	maxFrame       = 16 << 10  // written and accepted
	maxPerRead     = 512 << 10 // bytes of one head with all its continuations
	maxID          = 1<<31 - 1
	defaultWindow  = 64<<10 - 1 // of RFC 9113 section 6.9.2
	maxWindow      = 1<<31 - 1
	defaultStreams = 100 // until the peer's settings say
)

// Errors of streams and connections.
var (
	// ErrUnprocessed is in the error of a stream that the peer has not acted upon.
	ErrUnprocessed = errors.New("http2: the peer has not processed the request")
	// ErrClosed says that the stream or connection was closed on this side.
	ErrClosed = errors.New("http2: closed")

	errSilent   = errors.New("http2: the peer does not answer a ping")
	errFlood    = errors.New("http2: the peer does not read what it must be answered")
	errProtocol = errors.New("http2: the peer does not keep to the protocol")
	errTooLarge = errors.New("http2: the header fields are larger than allowed")
	errLength   = errors.New("http2: the body is not as long as its Content-Length says")
)

// ResetError says that the peer gave up a stream, or left with it open.
type ResetError struct{ Code wire.ErrCode }

func (e *ResetError) Error() string { return fmt.Sprint("http2: the peer reset the stream: ", e.Code) }

// Conn is one connection, of the side that asks or of the side that answers. Its methods may be called by any goroutine.
type Conn struct {
	nc      net.Conn
	cfg     Config
	meter   meter
	fr      *wire.Framer // reads
	kick    chan struct{}
	settled chan struct{} // closed when the peer's settings have come
	done    chan struct{} // closed when the connection has ended
	wakes   []*Stream     // whose readers are to be woken when what was read has been handled

	mu          sync.Mutex
	out, spare  []byte // to be written; the buffer that is not in use
	wf          *wire.Framer
	head        Head
	writing     bool // the writer will look at out again by itself
	streams     map[uint32]*Stream
	open        int // streams, and places reserved for some
	waiting     int // streams that wait to send
	nextID      uint32
	sendWindow  int64
	recvWindow  int
	unpaid      int   // consumed, and no credit given for it yet
	peerWindow  int64 // of a new stream
	peerStreams int
	peerFrame   int
	leaving     bool // no new streams
	err         error
	failed      bool // nothing can be said to the peer any more
	idleSince   time.Time
	reads       int64    // frames read
	serving     *serving // nil on the side that asks
	lastID      uint32   // of the peer's streams
	suspect     int      // 0, or how many calls of Check a ping has been unanswered for, and one
}

// newConn makes a connection of either side, with its settings about to be written.
func newConn(nc net.Conn, cfg Config, preface string, setting wire.Setting) *Conn {
	c := &Conn{
		nc: nc, cfg: cfg, kick: make(chan struct{}, 1), settled: make(chan struct{}), done: make(chan struct{}),
		streams: map[uint32]*Stream{}, nextID: 1, sendWindow: defaultWindow, recvWindow: connWindow,
		peerWindow: defaultWindow, peerStreams: defaultStreams, peerFrame: maxFrame, idleSince: time.Now(),
	}
	c.meter.r = bufio.NewReaderSize(nc, readBuffer)
	c.fr = wire.NewFramer(nil, &c.meter)
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(maxFrame)
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.fr.MaxHeaderListSize = uint32(cfg.HeaderList)
	c.wf = wire.NewFramer((*sink)(c), nil)
	c.head.enc = hpack.NewEncoder(&c.head.block)
	c.out = append(c.out, preface...)
	c.wf.WriteSettings(setting,
		wire.Setting{ID: wire.SettingInitialWindowSize, Val: uint32(cfg.Window)},
		wire.Setting{ID: wire.SettingMaxHeaderListSize, Val: uint32(cfg.HeaderList)},
	)
	c.wf.WriteWindowUpdate(0, connWindow-defaultWindow)
	return c
}

// NewClient begins a connection as the side that asks. Its streams wait for nothing, but a
// caller that wants to keep to the peer's limits waits for Settled first.
func NewClient(nc net.Conn, cfg Config) *Conn {
	c := newConn(nc, cfg, wire.ClientPreface, wire.Setting{ID: wire.SettingEnablePush, Val: 0})
	c.flush()
	go c.write()
	go c.read()
	return c
}

// Settled waits until the peer's settings have come, which shows that it speaks HTTP/2.
func (c *Conn) Settled(ctx context.Context) error {
	select {
	case <-c.settled:
		return nil
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Reserve takes a place for a stream, which Open must then be called for. It says no where
// the peer's limit or ours is reached, or the connection takes no streams any more.
func (c *Conn) Reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.usable() || c.open >= c.limit() || c.suspect > 0 || len(c.out) > maxOut {
		return false
	}
	c.open++
	return true
}

// Usable reports whether there may be new streams, now or when others have ended.
func (c *Conn) Usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usable()
}

func (c *Conn) usable() bool { return c.err == nil && !c.leaving && c.nextID < maxID-1 }

func (c *Conn) limit() int { return min(c.peerStreams, c.cfg.Streams) }

// Limit is how many streams there may be at a time.
func (c *Conn) Limit() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limit()
}

// Check is to be called every now and then: it ends a connection that has had no stream for
// longer than idle, and one whose peer left a ping unanswered from one call to the next. It
// reports whether the connection is there still.
func (c *Conn) Check(idle time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
	case c.suspect > 1:
		c.fail(errSilent)
	case c.suspect > 0:
		c.suspect++
	case c.open == 0 && time.Since(c.idleSince) > idle:
		c.goAway(wire.ErrCodeNo, ErrClosed)
	}
	return c.err == nil
}

// suspectAfter is how long a stream must have waited in vain, with nothing read from the
// connection, for the connection to be in doubt. It is not short: there are servers that take
// it ill when they are pinged often.
const suspectAfter = 5 * time.Second

// doubt pings the peer of a connection that may be dead, which takes no new streams until
// something is read from it.
func (c *Conn) doubt() {
	if c.err == nil && c.suspect == 0 {
		c.suspect = 1
		c.wf.WritePing(false, [8]byte{})
		c.forced()
	}
}

// Close ends the connection and every stream of it.
func (c *Conn) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goAway(wire.ErrCodeNo, ErrClosed)
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// goAway ends the connection and tells the peer why. Callers hold the lock, as of all that
// follows.
func (c *Conn) goAway(code wire.ErrCode, err error) {
	if c.err != nil {
		return
	}
	c.wf.WriteGoAway(c.lastID, code, nil)
	c.end(err)
	c.flush() // the writer closes the connection when it has said so
	c.nc.SetReadDeadline(time.Unix(1, 0))
	c.nc.SetWriteDeadline(time.Now().Add(time.Second))
}

// fail ends the connection at once.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.end(err)
	}
	c.failed = true
	c.nc.Close()
	c.flush()
}

func (c *Conn) end(err error) {
	c.err = err
	for _, s := range c.streams {
		s.fail(err)
	}
	close(c.done)
}

// freed notes that a stream's place is free.
func (c *Conn) freed() {
	if c.open--; c.open > 0 {
		return
	}
	c.idleSince = time.Now()
	if cap(c.spare) > maxIdleOut {
		c.spare = nil
	}
	if c.leaving && (c.serving == nil || c.serving.running == 0) {
		c.goAway(wire.ErrCodeNo, ErrClosed)
	}
}
