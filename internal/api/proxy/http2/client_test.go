package http2_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	wire "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice.dev/sluice/internal/api/proxy/http2"
)

var config = http2.Config{Streams: 10, Window: 64 << 10, HeaderList: 8 << 10, WriteTimeout: 5 * time.Second}

// peer is the other side of a connection, frame by frame.
type peer struct {
	*wire.Framer
	t   testing.TB
	nc  net.Conn
	enc *hpack.Encoder
	buf bytes.Buffer
}

// connect returns a connection and its peer, which has sent its settings.
func connect(t testing.TB, c http2.Config, settings ...wire.Setting) (*http2.Conn, *peer) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn := http2.NewClient(ours, c)
	t.Cleanup(func() { conn.Close(); theirs.Close() })
	theirs.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(theirs, make([]byte, len(wire.ClientPreface))); err != nil {
		t.Fatal(err)
	}
	p := &peer{Framer: wire.NewFramer(theirs, theirs), t: t, nc: theirs}
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.buf)
	p.WriteSettings(settings...)
	if err := conn.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	return conn, p
}

// block is a header block of names and values in turn.
func (p *peer) block(fields ...string) []byte {
	p.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return p.buf.Bytes()
}

func (p *peer) head(id uint32, end bool, fields ...string) {
	p.WriteHeaders(wire.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndHeaders: true, EndStream: end})
}

// headWith is head of a whole request with a priority.
func (p *peer) headWith(id uint32, priority wire.PriorityParam, fields ...string) {
	p.WriteHeaders(wire.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndHeaders: true, EndStream: true, Priority: priority})
}

// await reads frames until one of the kind comes.
func await[F wire.Frame](p *peer) F {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatal(err)
		}
		if f, ok := f.(F); ok {
			return f
		}
	}
}

func open(t testing.TB, c *http2.Conn, method string, end bool) *http2.Stream {
	t.Helper()
	if !c.Reserve() {
		t.Fatal("no place for a stream")
	}
	s, err := c.Open(t.Context(), method, end, func(h *http2.Head) {
		h.Field(":method", method)
		h.Field(":path", "/")
		h.Field("X-Name", "value")
		h.Once("once", "only")
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExchange(t *testing.T) {
	c, p := connect(t, config)
	s := open(t, c, "POST", false)
	if f := await[*wire.MetaHeadersFrame](p); f.StreamID != 1 || f.PseudoValue("method") != "POST" || f.StreamEnded() ||
		len(f.RegularFields()) != 2 || f.RegularFields()[0].Name != "x-name" || f.RegularFields()[1].Value != "only" {
		t.Errorf("head: %v", f)
	}
	if err := s.Send([]byte("question"), true); err != nil {
		t.Fatal(err)
	}
	if f := await[*wire.DataFrame](p); string(f.Data()) != "question" || !f.StreamEnded() {
		t.Errorf("body: %q", f.Data())
	}
	p.head(1, false, ":status", "103", "link", "x")
	p.head(1, false, ":status", "200", "a", "b")
	if s.Ready() {
		t.Error("a body that has not come is ready")
	}
	status, fields, err := s.Answer()
	if status != 200 || len(fields) != 1 || fields[0].Value != "b" || err != nil || s.Length() != -1 {
		t.Errorf("%d %v %v", status, fields, err)
	}
	p.WriteDataPadded(1, false, []byte("ans"), make([]byte, 100))
	p.WriteData(1, false, []byte("wer"))
	p.head(1, true, "grpc-status", "0")
	if body, err := io.ReadAll(s); string(body) != "answer" || err != nil {
		t.Errorf("%q %v", body, err)
	}
	if tr := s.Trailer(); len(tr) != 1 || tr[0].Name != "grpc-status" {
		t.Errorf("trailer %v", tr)
	}
	s.Close()
	p.WritePing(false, [8]byte{1}) // what comes next must be its answer, not a reset
	if f := await[wire.Frame](p); !isAck(p, f) {
		t.Errorf("after the stream: %v", f)
	}
}

// isAck skips acknowledgements of settings and window updates.
func isAck(p *peer, f wire.Frame) bool {
	for {
		switch g := f.(type) {
		case *wire.PingFrame:
			return g.IsAck()
		case *wire.RSTStreamFrame:
			return false
		}
		var err error
		if f, err = p.ReadFrame(); err != nil {
			return false
		}
	}
}

// TestSendWindows: what is sent keeps to the windows of stream and connection, also when the
// peer takes back some of it.
func TestSendWindows(t *testing.T) {
	c, p := connect(t, config, wire.Setting{ID: wire.SettingInitialWindowSize, Val: 10})
	s := open(t, c, "POST", false)
	body := bytes.Repeat([]byte("0123456789"), 10)
	sent := make(chan error, 1)
	go func() { sent <- s.Send(body, true) }()
	var got []byte
	take := func(n int) {
		t.Helper()
		for n > 0 {
			f := await[*wire.DataFrame](p)
			got = append(got, f.Data()...)
			if n -= len(f.Data()); n < 0 {
				t.Fatalf("%d bytes beyond the window", -n)
			}
		}
	}
	take(10)
	p.WriteSettings(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 0}) // now 10 below
	p.WriteWindowUpdate(1, 15)
	take(5)
	p.WriteSettings(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 40})
	take(40)
	p.WriteWindowUpdate(1, 45)
	take(45)
	if err := <-sent; err != nil || !bytes.Equal(got, body) {
		t.Errorf("%q %v", got, err)
	}
}

// TestConnectionWindow: streams share the connection's window, and one whose own is empty
// does not hold up another.
func TestConnectionWindow(t *testing.T) {
	c, p := connect(t, config, wire.Setting{ID: wire.SettingInitialWindowSize, Val: 60000})
	a, b := open(t, c, "POST", false), open(t, c, "POST", false)
	var wg sync.WaitGroup
	for _, s := range []*http2.Stream{a, b} {
		wg.Go(func() {
			if err := s.Send(make([]byte, 100_000), true); err != nil {
				t.Error(err)
			}
		})
	}
	total, left, ended := 0, 65535, 0
	per := map[uint32]int{}
	for ended < 2 {
		f := await[*wire.DataFrame](p)
		n := len(f.Data())
		total, left, per[f.StreamID] = total+n, left-n, per[f.StreamID]+n
		if left < 0 {
			t.Fatal("beyond the connection's window")
		}
		if f.StreamEnded() {
			ended++
		}
		if left == 0 {
			left = 20_000
			p.WriteWindowUpdate(0, 20_000)
			p.WriteWindowUpdate(1, 10_000)
			p.WriteWindowUpdate(3, 10_000)
		}
	}
	if wg.Wait(); total != 200_000 {
		t.Errorf("%d bytes", total)
	}
}

// TestReceiveWindow: a reader who does not read stops the peer, on this stream alone.
func TestReceiveWindow(t *testing.T) {
	c, p := connect(t, config)
	slow, quick := open(t, c, "GET", true), open(t, c, "GET", true)
	p.head(1, false, ":status", "200")
	p.head(3, false, ":status", "200")
	piece := make([]byte, 16<<10)
	for range 4 {
		p.WriteData(1, false, piece)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		credit := 64 << 10
		for range 64 {
			for credit < len(piece) {
				if f := await[*wire.WindowUpdateFrame](p); f.StreamID == 3 {
					credit += int(f.Increment)
				}
			}
			p.WriteData(3, false, piece)
			credit -= len(piece)
		}
		p.WriteData(3, true, nil)
		p.WriteData(1, false, piece) // one too many
	})
	if body, err := io.ReadAll(quick); len(body) != 1<<20 || err != nil {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	wg.Wait()
	if f := await[*wire.RSTStreamFrame](p); f.StreamID != 1 || f.ErrCode != wire.ErrCodeFlowControl {
		t.Errorf("%v", f)
	}
	if err := readErr(slow); err == nil {
		t.Error("more than the window was taken")
	}
	if !c.Usable() {
		t.Error("the connection ended with the stream")
	}
}

func readErr(s *http2.Stream) error { _, err := io.ReadAll(s); return err }

// TestMisbehaviour: what a peer does wrong ends the stream or, where no frame can be
// trusted any more, the connection.
func TestMisbehaviour(t *testing.T) {
	long := strings.Repeat("x", 5<<10)
	for name, c := range map[string]struct {
		do      func(p *peer)
		usable  bool
		isError error
	}{
		"body before head": {func(p *peer) { p.WriteData(1, false, []byte("x")) }, true, nil},
		"no status":        {func(p *peer) { p.head(1, false, "a", "b") }, true, nil},
		"a request's head": {func(p *peer) { p.head(1, false, ":method", "GET") }, true, nil},
		"101":              {func(p *peer) { p.head(1, false, ":status", "101") }, true, nil},
		"interim for ever": {func(p *peer) {
			for range 40 {
				p.head(1, false, ":status", "103")
			}
		}, true, nil},
		"interim that ends": {func(p *peer) { p.head(1, true, ":status", "100") }, true, nil},
		"head too large":    {func(p *peer) { p.head(1, false, ":status", "200", "a", long, "b", long) }, true, nil},
		"upper case":        {func(p *peer) { p.head(1, false, ":status", "200", "A", "b") }, true, nil},
		"longer than said": {func(p *peer) {
			p.head(1, false, ":status", "200", "content-length", "1")
			p.WriteData(1, true, []byte("xx"))
		}, true, nil},
		"shorter than said": {func(p *peer) {
			p.head(1, false, ":status", "200", "content-length", "3")
			p.WriteData(1, true, []byte("xx"))
		}, true, nil},
		"two lengths":         {func(p *peer) { p.head(1, true, ":status", "200", "content-length", "3", "content-length", "2") }, true, nil},
		"a length that isn't": {func(p *peer) { p.head(1, true, ":status", "200", "content-length", "-3") }, true, nil},
		"trailer without end": {func(p *peer) { p.head(1, false, ":status", "200"); p.head(1, false, "a", "b") }, true, nil},
		"reset":               {func(p *peer) { p.WriteRSTStream(1, wire.ErrCodeInternal) }, true, nil},
		"refused":             {func(p *peer) { p.WriteRSTStream(1, wire.ErrCodeRefusedStream) }, true, http2.ErrUnprocessed},
		"goodbye":             {func(p *peer) { p.WriteGoAway(0, wire.ErrCodeNo, nil) }, false, http2.ErrUnprocessed},
		"gone":                {func(p *peer) { p.nc.Close() }, false, nil},
		"stream window":       {func(p *peer) { p.WriteWindowUpdate(1, 1<<31-1); p.WriteWindowUpdate(1, 1<<31-1) }, true, nil},
		"window":              {func(p *peer) { p.WriteWindowUpdate(0, 1<<31-1) }, false, nil},
		"initial window": {func(p *peer) {
			p.WriteWindowUpdate(1, 1<<30)
			p.WriteSettings(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 1<<31 - 1})
		}, false, nil},
		"promise": {func(p *peer) {
			p.WritePushPromise(wire.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: p.block(":path", "/"), EndHeaders: true})
		}, false, nil},
		"a stream never opened": {func(p *peer) { p.head(9, true, ":status", "200") }, false, nil},
		"a stream of its own":   {func(p *peer) { p.WriteRSTStream(2, wire.ErrCodeCancel) }, false, nil},
		"too large a frame": {func(p *peer) {
			p.AllowIllegalWrites = true
			p.WriteRawFrame(wire.FrameData, 0, 1, make([]byte, 17<<10))
		}, false, nil},
		"not compressed": {func(p *peer) {
			p.WriteRawFrame(wire.FrameHeaders, wire.FlagHeadersEndHeaders, 1, []byte{0xff, 0xff, 0xff})
		}, false, nil},
		"continued for ever": {func(p *peer) {
			p.WriteHeaders(wire.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(":status", "200")})
			for range 70_000 { // empty ones: nothing but their number is wrong
				if p.WriteContinuation(1, false, nil) != nil {
					return
				}
			}
		}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			conn, p := connect(t, config)
			s := open(t, conn, "GET", true)
			await[*wire.MetaHeadersFrame](p)
			go io.Copy(io.Discard, p.nc)
			c.do(p)
			_, _, err := s.Answer()
			if err == nil {
				err = readErr(s)
			}
			if err == nil || c.isError != nil && !errors.Is(err, c.isError) || c.isError == nil && errors.Is(err, http2.ErrUnprocessed) {
				t.Errorf("the stream's error: %v", err)
			}
			if !c.usable {
				for conn.Usable() { // the other stream windows' end may come a frame later
					time.Sleep(time.Millisecond)
				}
			} else if !conn.Usable() {
				t.Error("the connection has ended")
			}
		})
	}
}

// TestFlood: a peer that wants to be answered and does not read loses the connection.
func TestFlood(t *testing.T) {
	conn, p := connect(t, config)
	p.nc.SetDeadline(time.Now().Add(20 * time.Second))
	for p.WritePing(false, [8]byte{}) == nil {
	}
	<-conn.Done()
}

// TestGoodbye: streams that the peer knows of finish, and the connection with the last.
func TestGoodbye(t *testing.T) {
	c, p := connect(t, config)
	known, unknown := open(t, c, "GET", true), open(t, c, "GET", true)
	p.WriteGoAway(1, wire.ErrCodeNo, nil)
	if _, _, err := unknown.Answer(); !errors.Is(err, http2.ErrUnprocessed) {
		t.Errorf("%v", err)
	}
	if c.Reserve() {
		t.Error("a stream after the goodbye")
	}
	p.head(1, true, ":status", "204")
	if status, _, err := known.Answer(); status != 204 || err != nil {
		t.Errorf("%d %v", status, err)
	}
	<-c.Done()
}

// TestEarlyAnswer: an answer before the end of the request stands, whatever becomes of the rest.
func TestEarlyAnswer(t *testing.T) {
	c, p := connect(t, config, wire.Setting{ID: wire.SettingInitialWindowSize, Val: 1})
	s := open(t, c, "POST", false)
	sent := make(chan error, 1)
	go func() { sent <- s.Send([]byte("long"), true) }()
	p.head(1, true, ":status", "413")
	p.WriteRSTStream(1, wire.ErrCodeNo)
	if status, _, err := s.Answer(); status != 413 || err != nil {
		t.Errorf("%d %v", status, err)
	}
	if err := <-sent; err == nil {
		t.Error("a body that nobody took was sent")
	}
	if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d %v", n, err)
	}
}

// TestCancel: who leaves tells the peer, and gives the place back.
func TestCancel(t *testing.T) {
	c, p := connect(t, config, wire.Setting{ID: wire.SettingMaxConcurrentStreams, Val: 1})
	c.Reserve()
	ctx, cancel := context.WithCancelCause(t.Context())
	s, err := c.Open(ctx, "GET", true, func(h *http2.Head) { h.Field(":method", "GET") })
	if err != nil {
		t.Fatal(err)
	}
	if c.Reserve() {
		t.Error("more streams than the peer takes")
	}
	why := errors.New("why")
	cancel(why)
	if _, _, err := s.Answer(); err != why {
		t.Errorf("%v", err)
	}
	s.Close()
	if f := await[*wire.RSTStreamFrame](p); f.ErrCode != wire.ErrCodeCancel {
		t.Errorf("%v", f)
	}
	if !c.Reserve() {
		t.Error("the place is not free")
	}
}

// TestIdle: a connection without streams ends when it is looked at after its time.
func TestIdle(t *testing.T) {
	c, p := connect(t, config)
	if !c.Check(time.Hour) || c.Check(0) {
		t.Error("it ended too early, or not at all")
	}
	if f := await[*wire.GoAwayFrame](p); f.ErrCode != wire.ErrCodeNo {
		t.Errorf("%v", f)
	}
	<-c.Done()
}

// FuzzPeer: whatever a peer sends, the connection neither panics nor waits for ever.
func FuzzPeer(f *testing.F) {
	var b bytes.Buffer
	fr := wire.NewFramer(&b, nil)
	p := &peer{Framer: fr}
	p.enc = hpack.NewEncoder(&p.buf)
	fr.WriteSettings(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 100})
	settings := bytes.Clone(b.Bytes())
	f.Add(settings)
	p.head(1, false, ":status", "200", "content-length", "2")
	fr.WriteDataPadded(1, true, []byte("ok"), []byte{0})
	f.Add(bytes.Clone(b.Bytes()))
	p.head(3, true, ":status", "103")
	fr.WriteGoAway(1, wire.ErrCodeNo, nil)
	fr.WriteWindowUpdate(3, 7)
	fr.WriteRSTStream(3, wire.ErrCodeRefusedStream)
	f.Add(bytes.Clone(b.Bytes()))
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		c := http2.NewClient(ours, config)
		defer c.Close()
		var streams []*http2.Stream
		for range 2 {
			if !c.Reserve() {
				continue
			}
			if s, err := c.Open(t.Context(), "POST", false, func(h *http2.Head) { h.Field(":method", "POST") }); err == nil {
				streams = append(streams, s)
			}
		}
		theirs.Write(settings)
		theirs.Write(data)
		theirs.Close()
		for _, s := range streams {
			if _, _, err := s.Answer(); err == nil {
				io.Copy(io.Discard, s)
			}
			s.Send(make([]byte, 200), true)
			s.Close()
		}
		<-c.Done()
	})
}
