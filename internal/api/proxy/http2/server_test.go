package http2_test

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	wire "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice.dev/sluice/internal/api/proxy/http2"
)

func serverConfig(handle func(*http2.Stream), w *http2.Workers) http2.ServerConfig {
	return http2.ServerConfig{Config: config, Handle: handle, Workers: w,
		IdleTimeout: 5 * time.Second, HeadTimeout: 5 * time.Second, PingTimeout: 5 * time.Second}
}

// serve returns a client of a connection that is served.
func serve(t testing.TB, handle func(*http2.Stream), edits ...func(*http2.ServerConfig)) (*http2.Conn, *peer) {
	t.Helper()
	w := http2.NewWorkers()
	cfg := serverConfig(handle, w)
	for _, edit := range edits {
		edit(&cfg)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := http2.NewServer(nc, cfg)
	served := make(chan struct{})
	go func() { c.Serve(); close(served) }()
	t.Cleanup(func() { client.Close(); <-served; w.Close() })
	client.SetDeadline(time.Now().Add(10 * time.Second))
	p := &peer{Framer: wire.NewFramer(client, client), t: t, nc: client}
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.buf)
	return c, p
}

// greet begins the client's side.
func (p *peer) greet(settings ...wire.Setting) *peer {
	io.WriteString(p.nc, wire.ClientPreface)
	p.WriteSettings(settings...)
	return p
}

// ask opens a stream, with more fields than a request needs.
func (p *peer) ask(id uint32, end bool, fields ...string) {
	p.head(id, end, append([]string{":method", "POST", ":scheme", "http", ":path", "/p?q", ":authority", "a"}, fields...)...)
}

// echoes answers with the request, and ends with a trailer.
func echoes(s *http2.Stream) {
	r, _ := s.Request()
	if r.Refuse != 0 {
		s.SendHead(r.Refuse, true, func(*http2.Head) {})
		return
	}
	s.SendHead(200, false, func(h *http2.Head) { h.Field("X-Target", r.Method+" "+r.Authority+r.Path) })
	buf := make([]byte, 100)
	for {
		s.Invite()
		n, err := s.Read(buf)
		if _, werr := s.Write(buf[:n]); werr != nil {
			return
		}
		if err == io.EOF {
			s.SendTrailer(func(h *http2.Head) { h.Field("Status", "0") })
		}
		if err != nil {
			return
		}
		s.Flush()
	}
}

func TestServe(t *testing.T) {
	_, p := serve(t, echoes)
	p.greet()
	p.ask(1, false, "expect", "100-continue")
	if f := await[*wire.MetaHeadersFrame](p); f.PseudoValue("status") != "200" || f.RegularFields()[0].Value != "POST a/p?q" {
		if f.PseudoValue("status") != "100" {
			t.Errorf("%v", f)
		}
	}
	p.WriteDataPadded(1, false, []byte("pi"), make([]byte, 9))
	p.WriteData(1, true, []byte("ng"))
	var body []byte
	for len(body) < 4 {
		f, err := p.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.(*wire.DataFrame); ok {
			body = append(body, d.Data()...)
		}
	}
	if f := await[*wire.MetaHeadersFrame](p); string(body) != "ping" || !f.StreamEnded() || f.Fields[0].Name != "status" {
		t.Errorf("%q %v", body, f)
	}
}

// TestServeHeads: what is no good as a request is told from what is.
func TestServeHeads(t *testing.T) {
	_, p := serve(t, echoes)
	p.greet()
	long := strings.Repeat("x", 3<<10)
	good := []string{":method", "GET", ":scheme", "http", ":path", "/"}
	for i, c := range []struct {
		fields []string
		want   string // "" for a reset
	}{
		{append(good, "te", "trailers"), "200"}, {append(good, "host", "h"), "200"}, {append(good, "content-length", "0"), "200"},
		{append(good, "te", "gzip"), "400"}, {append(good, "connection", "x"), "400"}, {append(good, "transfer-encoding", "chunked"), "400"},
		{append(good, "upgrade", "x"), "400"}, {append(good, ":authority", "a", "host", "b"), "400"}, {append(good, "host", "a", "host", "b"), "400"},
		{append(good, "content-length", "5"), "400"}, {append(good, "content-length", "0", "content-length", "1"), "400"}, {append(good, "content-length", "+1"), "400"},
		{append(good, "a", long, "b", long, "c", long), "431"}, {good[2:], "400"}, {good[:4], "400"}, {append(good, ":method", "GET"), ""},
		{append(good, "A", "b"), ""}, {append(good, "a", "b\nc"), ""}, {[]string{":method", "CONNECT", ":authority", "a"}, "200"},
	} {
		id := uint32(2*i + 1)
		p.head(id, true, c.fields...)
		got := ""
		for done := false; !done; {
			f, err := p.ReadFrame()
			if err != nil {
				t.Fatalf("%v: %v", c.fields[4:], err)
			}
			if f.Header().StreamID != id {
				continue
			}
			switch f := f.(type) {
			case *wire.MetaHeadersFrame:
				if got == "" {
					got = f.PseudoValue("status")
				}
				done = f.StreamEnded() && got != "400" // which a reset follows: the request is malformed
			case *wire.RSTStreamFrame:
				if done = true; f.ErrCode != wire.ErrCodeProtocol {
					t.Errorf("%.100q: reset with %v", c.fields, f.ErrCode)
				}
			}
		}
		if got != c.want {
			t.Errorf("%.100q: %q, want %q", c.fields, got, c.want)
		}
	}
}

// TestEndedStreams: what a frame on a stream that is not open means follows from how it ended.
func TestEndedStreams(t *testing.T) {
	handle := func(s *http2.Stream) {
		if r, _ := s.Request(); strings.HasPrefix(r.Path, "/leave") {
			return // with the request's body on its way
		}
		echoes(s)
	}
	get := func(p *peer, id uint32, end bool, path string) {
		p.head(id, end, ":method", "GET", ":scheme", "http", ":path", path, ":authority", "a")
	}
	ended := func(p *peer, id uint32) {
		get(p, id, true, "/")
		for {
			if f := await[*wire.MetaHeadersFrame](p); f.StreamID == id && f.StreamEnded() {
				return
			}
		}
	}
	itself := wire.PriorityParam{StreamDep: 1, Weight: 1}
	for name, c := range map[string]struct {
		do   func(p *peer)
		want string // the reset of stream 1, the goodbye, or "" where the connection goes on
	}{
		"body after the end": {func(p *peer) { ended(p, 1); p.WriteData(1, true, []byte("x")) }, "reset STREAM_CLOSED"},
		"head after the end": {func(p *peer) { ended(p, 1); get(p, 1, true, "/") }, "goodbye STREAM_CLOSED"},
		"body after the peer's reset": {func(p *peer) {
			get(p, 1, false, "/")
			p.WriteRSTStream(1, wire.ErrCodeCancel)
			p.WriteData(1, true, []byte("x"))
		}, "reset STREAM_CLOSED"},
		"head after the peer's reset": {func(p *peer) { get(p, 1, false, "/"); p.WriteRSTStream(1, wire.ErrCodeCancel); get(p, 1, true, "/") }, "goodbye STREAM_CLOSED"},
		"lower stream":                {func(p *peer) { ended(p, 3); get(p, 1, true, "/") }, "goodbye PROTOCOL_ERROR"},
		"on its way": {func(p *peer) {
			get(p, 1, false, "/leave")
			await[*wire.RSTStreamFrame](p)
			p.WriteData(1, false, []byte("x"))
			p.head(1, true, "trailer", "x")
		}, ""},
		"depends on itself":           {func(p *peer) { p.headWith(1, itself, ":method", "GET", ":scheme", "http", ":path", "/") }, "reset PROTOCOL_ERROR"},
		"open and depends on itself":  {func(p *peer) { get(p, 1, false, "/"); p.WritePriority(1, itself) }, "reset PROTOCOL_ERROR"},
		"idle and depends on itself":  {func(p *peer) { p.WritePriority(1, itself) }, "goodbye PROTOCOL_ERROR"},
		"frame larger than it may be": {func(p *peer) { get(p, 1, false, "/"); p.WriteRawFrame(wire.FrameData, 0, 1, make([]byte, 17<<10)) }, "goodbye FRAME_SIZE_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := serve(t, handle)
			p.greet()
			c.do(p)
			p.WritePing(false, [8]byte{7})
			for got := ""; got == ""; {
				f, err := p.ReadFrame()
				if err != nil {
					t.Fatalf("%v, want %q", err, c.want)
				}
				switch f := f.(type) {
				case *wire.RSTStreamFrame:
					got = "reset " + f.ErrCode.String()
				case *wire.GoAwayFrame:
					got = "goodbye " + f.ErrCode.String()
				case *wire.PingFrame:
					if c.want == "" {
						return
					}
				}
				if got != "" && got != c.want {
					t.Errorf("%s, want %q", got, c.want)
				}
			}
		})
	}
}

// TestAbuse: connections whose client costs more than its requests end, and say why.
func TestAbuse(t *testing.T) {
	waits := func(s *http2.Stream) { <-s.Context().Done() }
	stays := func(s *http2.Stream) { <-s.Context().Done(); time.Sleep(200 * time.Millisecond) }
	for name, c := range map[string]struct {
		handle func(*http2.Stream)
		do     func(p *peer, i int) // again and again
		code   wire.ErrCode
	}{
		"resets":       {waits, func(p *peer, i int) { p.ask(uint32(2*i+1), true); p.WriteRSTStream(uint32(2*i+1), wire.ErrCodeCancel) }, wire.ErrCodeEnhanceYourCalm},
		"handlers":     {stays, func(p *peer, i int) { p.ask(uint32(2*i+1), true); p.WriteRSTStream(uint32(2*i+1), wire.ErrCodeCancel) }, wire.ErrCodeEnhanceYourCalm},
		"streams":      {waits, func(p *peer, i int) { p.ask(uint32(2*i+1), true) }, wire.ErrCodeEnhanceYourCalm},
		"bad streams":  {waits, func(p *peer, i int) { p.head(uint32(2*i+1), true, "A", "b") }, wire.ErrCodeEnhanceYourCalm},
		"pings":        {waits, func(p *peer, i int) { p.WritePing(false, [8]byte{}) }, wire.ErrCodeEnhanceYourCalm},
		"settings":     {waits, func(p *peer, i int) { p.WriteSettings() }, wire.ErrCodeEnhanceYourCalm},
		"priorities":   {waits, func(p *peer, i int) { p.WritePriority(1, wire.PriorityParam{}) }, wire.ErrCodeEnhanceYourCalm},
		"empty pieces": {waits, func(p *peer, i int) { p.first(i); p.WriteData(1, false, nil) }, wire.ErrCodeEnhanceYourCalm},
		"small credit": {waits, func(p *peer, i int) { p.first(i); p.WriteWindowUpdate(1, 1) }, wire.ErrCodeEnhanceYourCalm},
		"too much": {waits, func(p *peer, i int) {
			id := uint32(2*(i/4) + 1)
			p.part(i, id)
			p.WriteData(id, false, make([]byte, 16<<10))
		}, wire.ErrCodeFlowControl},
		"even streams":  {waits, func(p *peer, i int) { p.ask(2, true) }, wire.ErrCodeProtocol},
		"continuations": {waits, func(p *peer, i int) { p.drip(i) }, wire.ErrCodeNo},
		"window":        {waits, func(p *peer, i int) { p.WriteWindowUpdate(0, 1<<31-1) }, wire.ErrCodeFlowControl},
		"promise": {waits, func(p *peer, i int) {
			p.first(i)
			p.WritePushPromise(wire.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}, wire.ErrCodeProtocol},
		"unknown stream": {waits, func(p *peer, i int) { p.WriteData(9, true, nil) }, wire.ErrCodeProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := serve(t, c.handle, func(cfg *http2.ServerConfig) { cfg.Streams = 100 })
			p.greet()
			go func() {
				for i := range 100_000 {
					c.do(p, i)
				}
				p.nc.Close() // nobody stopped it
			}()
			code, ended := wire.ErrCodeNo, false
			for {
				f, err := p.ReadFrame()
				if err != nil {
					ended = true
					break
				}
				if g, ok := f.(*wire.GoAwayFrame); ok {
					code = g.ErrCode
				}
			}
			if !ended || code != c.code {
				t.Errorf("it ended with %v", code)
			}
		})
	}
}

func (p *peer) first(i int) {
	if i == 0 {
		p.ask(1, false)
	}
}

func (p *peer) part(i int, id uint32) {
	if i%4 == 0 {
		p.ask(id, false)
	}
}

func (p *peer) drip(i int) {
	if i == 0 {
		p.WriteHeaders(wire.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
	}
	p.WriteContinuation(1, false, nil)
}

// TestServeTimeouts: a client that does not go on is not waited for.
func TestServeTimeouts(t *testing.T) {
	const short = 50 * time.Millisecond
	waits := func(s *http2.Stream) { <-s.Context().Done() }
	sends := func(s *http2.Stream) {
		s.SendHead(200, false, func(*http2.Head) {})
		if s.Send(make([]byte, 100), true) != nil {
			s.Close()
		}
	}
	for name, c := range map[string]struct {
		edit   func(*http2.ServerConfig)
		handle func(*http2.Stream)
		do     func(p *peer)
		reset  bool
	}{
		"nothing":     {func(c *http2.ServerConfig) { c.HeadTimeout = short }, waits, func(*peer) {}, false},
		"preface":     {func(c *http2.ServerConfig) { c.HeadTimeout = short }, waits, func(p *peer) { io.WriteString(p.nc, wire.ClientPreface) }, false},
		"cut preface": {func(c *http2.ServerConfig) { c.HeadTimeout = short }, waits, func(p *peer) { io.WriteString(p.nc, "PRI") }, false},
		"bad preface": {func(c *http2.ServerConfig) {}, waits, func(p *peer) { io.WriteString(p.nc, "GET / HTTP/1.1\r\n") }, false},
		"no settings": {func(c *http2.ServerConfig) {}, waits, func(p *peer) { io.WriteString(p.nc, wire.ClientPreface); p.WritePing(false, [8]byte{}) }, false},
		"idle":        {func(c *http2.ServerConfig) { c.IdleTimeout = short }, waits, func(p *peer) { p.greet() }, false},
		"cut frame":   {func(c *http2.ServerConfig) { c.HeadTimeout, c.IdleTimeout = short, short }, waits, func(p *peer) { p.greet(); p.ask(1, true); p.nc.Write([]byte{0, 0}) }, false},
		"silent":      {func(c *http2.ServerConfig) { c.IdleTimeout, c.PingTimeout = short, short }, waits, func(p *peer) { p.greet(); p.ask(1, true) }, false},
		"takes nothing": {func(c *http2.ServerConfig) { c.WriteTimeout = short }, sends, func(p *peer) {
			p.greet(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 10})
			p.ask(1, true)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := serve(t, c.handle, c.edit)
			c.do(p)
			for {
				f, err := p.ReadFrame()
				if err != nil {
					if ne, ok := err.(net.Error); ok && ne.Timeout() || c.reset {
						t.Errorf("it ended with %v", err)
					}
					return
				}
				if _, ok := f.(*wire.RSTStreamFrame); ok && c.reset {
					return
				}
			}
		})
	}
}

// TestDrain: streams in flight finish, those on their way are served, and then no more.
func TestDrain(t *testing.T) {
	release := make(chan struct{})
	c, p := serve(t, func(s *http2.Stream) {
		<-release
		s.SendHead(204, true, func(*http2.Head) {})
	})
	p.greet()
	p.ask(1, true)
	p.WritePing(false, [8]byte{1})
	await[*wire.PingFrame](p) // the stream is there
	c.Drain()
	if f := await[*wire.GoAwayFrame](p); f.LastStreamID != 1<<31-1 || f.ErrCode != wire.ErrCodeNo {
		t.Errorf("%v", f)
	}
	p.ask(3, true)
	ping := await[*wire.PingFrame](p)
	p.WritePing(true, ping.Data)
	if f := await[*wire.GoAwayFrame](p); f.LastStreamID != 3 {
		t.Errorf("%v", f)
	}
	p.ask(5, true)
	close(release)
	for range 2 {
		if f := await[*wire.MetaHeadersFrame](p); f.PseudoValue("status") != "204" || f.StreamID == 5 {
			t.Errorf("%v", f)
		}
	}
	<-c.Done()
}

// TestServeWindow: a client's connection holds no more than its window, and what was not read
// is paid for when its stream ends.
func TestServeWindow(t *testing.T) {
	n := 0
	_, p := serve(t, func(s *http2.Stream) {
		s.SendHead(200, true, func(h *http2.Head) {})
	})
	p.greet()
	go func() { // far more than the window, to handlers that read none of it
		for i := range 100 {
			p.ask(uint32(2*i+1), false)
			for range 3 {
				p.WriteData(uint32(2*i+1), false, make([]byte, 16<<10))
			}
			time.Sleep(time.Millisecond)
		}
	}()
	for n < 100 {
		f, err := p.ReadFrame()
		if err != nil {
			t.Fatal(strconv.Itoa(n), err)
		}
		switch f := f.(type) {
		case *wire.MetaHeadersFrame:
			n++
		case *wire.RSTStreamFrame:
			if f.ErrCode != wire.ErrCodeNo {
				t.Fatal(f)
			}
		}
	}
}

// FuzzClient: whatever a client sends, the connection neither panics nor waits for ever.
func FuzzClient(f *testing.F) {
	var b bytes.Buffer
	fr := wire.NewFramer(&b, nil)
	p := &peer{Framer: fr}
	p.enc = hpack.NewEncoder(&p.buf)
	p.ask(1, false, "content-length", "2")
	fr.WriteDataPadded(1, true, []byte("ok"), []byte{0})
	f.Add(bytes.Clone(b.Bytes()))
	p.ask(3, true, "expect", "100-continue")
	fr.WriteWindowUpdate(3, 7)
	fr.WriteRSTStream(3, wire.ErrCodeCancel)
	fr.WritePing(true, [8]byte{})
	f.Add(bytes.Clone(b.Bytes()))
	w := http2.NewWorkers()
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		go func() {
			io.WriteString(theirs, wire.ClientPreface)
			wire.NewFramer(theirs, nil).WriteSettings(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 100})
			theirs.Write(data)
			theirs.Close()
		}()
		http2.NewServer(ours, serverConfig(echoes, w)).Serve()
	})
}
