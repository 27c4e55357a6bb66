package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// caller is a server of gRPC that answers in every way there is.
type caller struct {
	grpc_testing.UnimplementedTestServiceServer
	waiting chan struct{} // a call that waits has come
	ended   chan error    // how it ended
}

func (s *caller) UnaryCall(ctx context.Context, q *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	if q.GetFillUsername() { // it waits for the client to leave
		s.waiting <- struct{}{}
		<-ctx.Done()
		s.ended <- ctx.Err()
		return nil, ctx.Err()
	}
	if st := q.GetResponseStatus(); st != nil {
		grpc.SetTrailer(ctx, metadata.Pairs("why", "asked"))
		return nil, grpcstatus.Error(codes.Code(st.Code), st.Message)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	grpc.SetHeader(ctx, metadata.Pairs("said", metadata.Join(md).Get("say")[0]))
	return &grpc_testing.SimpleResponse{Payload: q.Payload}, nil
}

func (s *caller) StreamingOutputCall(q *grpc_testing.StreamingOutputCallRequest, out grpc_testing.TestService_StreamingOutputCallServer) error {
	for _, p := range q.ResponseParameters {
		if err := out.Send(&grpc_testing.StreamingOutputCallResponse{Payload: &grpc_testing.Payload{Body: make([]byte, p.Size)}}); err != nil {
			s.ended <- err
			return err
		}
	}
	return nil
}

func (s *caller) StreamingInputCall(in grpc_testing.TestService_StreamingInputCallServer) error {
	var n int32
	for {
		q, err := in.Recv()
		if err == io.EOF {
			return in.SendAndClose(&grpc_testing.StreamingInputCallResponse{AggregatedPayloadSize: n})
		}
		if err != nil {
			return err
		}
		n += int32(len(q.Payload.Body))
	}
}

func (s *caller) FullDuplexCall(both grpc_testing.TestService_FullDuplexCallServer) error {
	for {
		q, err := both.Recv()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = both.Send(&grpc_testing.StreamingOutputCallResponse{Payload: q.Payload})
		}
		if err != nil {
			return err
		}
	}
}

// callRig is a gateway between a client and a server of gRPC's own.
func callRig(t *testing.T, overTLS bool) (*caller, *grpc.Server, grpc_testing.TestServiceClient) {
	t.Helper()
	ln := listen(t)
	s := &caller{waiting: make(chan struct{}, 1), ended: make(chan error, 1)}
	scheme, creds, options := "grpc", insecure.NewCredentials(), []grpc.ServerOption{}
	if overTLS {
		scheme, creds = "grpcs", credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
		cert := selfSigned(t)
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	}
	server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(64<<20))...)
	grpc_testing.RegisterTestServiceServer(server, s)
	go server.Serve(ln)
	t.Cleanup(server.Stop)
	r := newRig(t, proxy.Config{})
	r.route(scheme+"://"+ln.Addr().String(), schema.Record{"protocols": []any{scheme}}, "/")
	addr := r.plain
	if overTLS {
		addr = r.secure
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return s, server, grpc_testing.NewTestServiceClient(conn)
}

// TestCalls makes calls of every kind between a client and a server of gRPC's own.
func TestCalls(t *testing.T) {
	for name, overTLS := range map[string]bool{"clear text": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			s, _, client := callRig(t, overTLS)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			said := metadata.AppendToOutgoingContext(ctx, "say", "hello")
			large := &grpc_testing.Payload{Body: bytes.Repeat([]byte("0123456789abcdef"), 256<<10)} // 4 MiB
			var wg sync.WaitGroup
			for _, p := range []*grpc_testing.Payload{{Body: []byte("x")}, large, nil} {
				wg.Go(func() {
					var h metadata.MD
					got, err := client.UnaryCall(said, &grpc_testing.SimpleRequest{Payload: p}, grpc.Header(&h))
					if err != nil || !bytes.Equal(got.GetPayload().GetBody(), p.GetBody()) || len(h.Get("said")) != 1 || h.Get("said")[0] != "hello" {
						t.Errorf("unary: %d bytes, %v, %v", len(got.GetPayload().GetBody()), h, err)
					}
				})
			}
			wg.Go(func() {
				var tr metadata.MD
				_, err := client.UnaryCall(ctx, &grpc_testing.SimpleRequest{ResponseStatus: &grpc_testing.EchoStatus{Code: 9, Message: "no"}}, grpc.Trailer(&tr))
				if st, _ := grpcstatus.FromError(err); st.Code() != 9 || st.Message() != "no" || len(tr.Get("why")) != 1 {
					t.Errorf("an error: %v %v", err, tr)
				}
			})
			wg.Go(func() {
				out, err := client.StreamingOutputCall(ctx, &grpc_testing.StreamingOutputCallRequest{
					ResponseParameters: []*grpc_testing.ResponseParameters{{Size: 1}, {Size: 3 << 20}, {Size: 5}}})
				if err != nil {
					t.Error(err)
					return
				}
				for _, size := range []int{1, 3 << 20, 5} {
					if m, err := out.Recv(); err != nil || len(m.Payload.Body) != size {
						t.Errorf("from the server: %d bytes, %v", len(m.GetPayload().GetBody()), err)
					}
				}
				if _, err := out.Recv(); err != io.EOF {
					t.Error(err)
				}
			})
			wg.Go(func() {
				in, err := client.StreamingInputCall(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				for range 20 {
					in.Send(&grpc_testing.StreamingInputCallRequest{Payload: &grpc_testing.Payload{Body: make([]byte, 100_000)}})
				}
				if sum, err := in.CloseAndRecv(); err != nil || sum.AggregatedPayloadSize != 2_000_000 {
					t.Errorf("from the client: %v %v", sum, err)
				}
			})
			wg.Go(func() {
				both, err := client.FullDuplexCall(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range 10 {
					q := &grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: make([]byte, i*10_000)}}
					if err := both.Send(q); err != nil {
						t.Error(err)
					}
					if m, err := both.Recv(); err != nil || len(m.Payload.GetBody()) != i*10_000 {
						t.Errorf("both ways: %v", err)
					}
				}
				both.CloseSend()
				if _, err := both.Recv(); err != io.EOF {
					t.Error(err)
				}
			})
			wg.Wait()
			left, leave := context.WithCancel(ctx)
			go func() { <-s.waiting; leave() }()
			if _, err := client.UnaryCall(left, &grpc_testing.SimpleRequest{FillUsername: true}); grpcstatus.Code(err) != codes.Canceled {
				t.Error(err)
			}
			if err := <-s.ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the server's call ended with %v", err)
			}
			late, end := context.WithTimeout(ctx, 50*time.Millisecond)
			defer end()
			if _, err := client.UnaryCall(late, &grpc_testing.SimpleRequest{FillUsername: true}); grpcstatus.Code(err) != codes.DeadlineExceeded {
				t.Error(err)
			}
			<-s.ended
			midway, stop := context.WithCancel(ctx)
			out, err := client.StreamingOutputCall(midway, &grpc_testing.StreamingOutputCallRequest{
				ResponseParameters: []*grpc_testing.ResponseParameters{{Size: 1}, {Size: 20 << 20}, {Size: 20 << 20}}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Recv(); err != nil {
				t.Error(err)
			}
			stop()
			<-s.ended // what nobody reads any more the server cannot send
		})
	}
}

// TestCallsGoOn: calls that a graceful stop of their server meets fare no worse, and those
// after it find the next server. A server that is killed costs its calls and no more.
func TestCallsGoOn(t *testing.T) {
	ln := listen(t)
	defer ln.Close()
	addr := ln.Addr().String()
	// The servers share a socket that stays, as those of a supervisor do: who connects between
	// two of them waits, and is not refused.
	start := func() *grpc.Server {
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		shared, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		grpc_testing.RegisterTestServiceServer(s, &caller{})
		go s.Serve(shared)
		return s
	}
	server := start()
	r := newRig(t, proxy.Config{})
	r.route("grpc://"+addr, schema.Record{"protocols": []any{"grpc"}, "retries": 5.0}, "/")
	conn, err := grpc.NewClient("passthrough:///"+r.plain, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := grpc_testing.NewTestServiceClient(conn)
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "say", "x"), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var calls, failed atomic.Int64
	stop := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := client.UnaryCall(ctx, &grpc_testing.SimpleRequest{}); err != nil {
					failed.Add(1)
					t.Log(err)
				}
				calls.Add(1)
			}
		})
	}
	some := func() {
		for from := calls.Load(); calls.Load() < from+100; {
			time.Sleep(time.Millisecond)
		}
	}
	for range 3 {
		some()
		go server.GracefulStop()
		server = start()
	}
	some()
	if n := failed.Swap(0); n > 0 {
		t.Errorf("%d calls failed while servers took over from one another", n)
	}
	server.Stop()
	server = start()
	defer server.Stop()
	some()
	failed.Store(0)
	some()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d calls failed after the killed server was replaced", n)
	}
	close(stop)
	wg.Wait()
}

// TestCallRepeated: a call whose server says that it has not begun with it is sent again, with
// what its client sent so far; one that the server may have begun with is not.
func TestCallRepeated(t *testing.T) {
	ln := listen(t)
	var conns atomic.Int32
	seen := make(chan string, 10)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n := conns.Add(1)
			go func() {
				defer c.Close()
				io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
				fr := http2.NewFramer(c, c)
				fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				fr.WriteSettings()
				body := ""
				for {
					f, err := fr.ReadFrame()
					if err != nil {
						return
					}
					d, ok := f.(*http2.DataFrame)
					if !ok {
						continue
					}
					body += string(d.Data())
					id := d.StreamID
					switch {
					case n == 1:
						fr.WriteGoAway(0, http2.ErrCodeNo, nil)
					case n == 2 && id == 1:
						body = ""
						fr.WriteRSTStream(id, http2.ErrCodeRefusedStream)
					case d.StreamEnded() && body == "broken":
						fr.WriteRSTStream(id, http2.ErrCodeInternal)
					case d.StreamEnded():
						seen <- body
						var b bytes.Buffer
						e := hpack.NewEncoder(&b)
						e.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
						e.WriteField(hpack.HeaderField{Name: "grpc-status", Value: "0"})
						fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true})
					}
					if d.StreamEnded() {
						body = ""
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { ln.Close() })
	r := newRig(t, proxy.Config{})
	r.route("grpc://"+ln.Addr().String(), schema.Record{"protocols": []any{"grpcs"}, "retries": 5.0}, "/")
	client := h2Client(t)
	post := func(body io.Reader) string {
		req, _ := http.NewRequest("POST", "https://"+r.secure+"/pkg.Svc/Do", body)
		req.Header.Set("Content-Type", "application/grpc")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status")
	}
	pr, pw := io.Pipe()
	go func() {
		io.WriteString(pw, "first,")
		for conns.Load() < 2 { // both refusals meet a client that is not done
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond)
		io.WriteString(pw, "second")
		pw.Close()
	}()
	if code := post(pr); code != "0" {
		t.Errorf("a call that was refused twice: %s", code)
	}
	if got := <-seen; got != "first,second" {
		t.Errorf("%q", got)
	}
	if code := post(bytes.NewReader([]byte("broken"))); code == "0" {
		t.Errorf("a call that was broken off: %s", code)
	}
	if code := post(bytes.NewReader([]byte("fine"))); code != "0" {
		t.Errorf("%s", code)
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// TestHTTP2Requests: what a client of HTTP/2 may put where an upstream of HTTP/1 would read
// something else is refused, and a cookie in pieces is put together.
func TestHTTP2Requests(t *testing.T) {
	r := newRig(t, proxy.Config{})
	r.route(echo(t).URL, schema.Record{"strip_path": false}, "/")
	nc, err := net.Dial("tcp", r.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(nc, http2.ClientPreface)
	fr := http2.NewFramer(nc, nc)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	fr.WriteSettings()
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	id := uint32(1)
	ask := func(method, path, authority string, more ...string) (status, body string) {
		b.Reset()
		fields := append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", authority}, more...)
		for i := 0; i < len(fields); i += 2 {
			enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true})
		id += 2
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				if status = f.PseudoValue("status"); f.StreamEnded() {
					return status, body
				}
			case *http2.DataFrame:
				if body += string(f.Data()); f.StreamEnded() {
					return status, body
				}
			}
		}
	}
	for _, c := range [][3]string{
		{"GET /x HTTP/1.1", "/", "a"}, {"", "/", "a"}, {"GET", "/?a HTTP/1.1", "a"}, {"GET", "/a b", "a"}, {"GET", "a", "a"}, {"GET", "http://b/", "a"},
		{"GET", "/", "a b"}, {"GET", "/", "a/b"}, {"GET", "/", "u@a"}, {"GET", "/%00/../b", "a"},
	} {
		if status, body := ask(c[0], c[1], c[2]); status != "400" {
			t.Errorf("%q: %s %s", c, status, body)
		}
	}
	if status, body := ask("GET", "/", "a", "expect", "more"); status != "417" {
		t.Errorf("an expectation that nobody knows: %s %s", status, body)
	}
	status, body := ask("GET", "/a/./b?c=%20d", "h:80", "cookie", "a=1", "cookie", "b=2", "x-a", "1", "x-a", "2")
	for _, want := range []string{"GET /a/b?c=%20d\n", "Cookie: a=1; b=2\r\n", "X-A: 1\r\nX-A: 2\r\n", "Via: 2 kong/"} {
		if status != "200" || !strings.Contains(body, want) {
			t.Errorf("%s without %q:\n%s", status, want, body)
		}
	}
}
